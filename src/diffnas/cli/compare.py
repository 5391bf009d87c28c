"""The command ``diffnas compare``: runs side by side."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from diffnas.cli import options as o

if TYPE_CHECKING:
    from diffnas.report.compare import Found, Grid


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders, or folders that hold some.")],
    table: Annotated[
        Path | None, typer.Option(help="Look NAS-Bench-201 cells up here; what diffnas lookup takes.")
    ] = None,
    column: Annotated[str | None, typer.Option(help="Of that table; needed if it has several.")] = None,
    columns: Annotated[
        str | None, typer.Option(metavar="NAME,...", help="What to show; a wrong name lists what there is.")
    ] = None,
    epochs: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A number of every epoch, such as live_ops or seconds; may be repeated."),
    ] = None,
    published: Annotated[
        bool, typer.Option("--table1", help="As Table 1 of the sparse-connections paper, beside its numbers.")
    ] = False,
    page: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a page, too.")] = None,
    numbers: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write all numbers, too.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    as_json: o.Json = False,
) -> None:
    """Compare runs: mean and spread over seeds, how far their cells agree, where they differ, and what they cost."""
    from diffnas.engine.run import write_atomically
    from diffnas.report import compare as c
    from diffnas.report.compare.columns import USUAL

    found = [c.read_found(folder) for folder in _folders(runs)]
    groups = c.grouped(_looked_up(found, table, column) if table else found)
    names = columns.split(",") if columns else USUAL
    grids = [c.group_grid(groups, names), c.run_grid(groups, names), c.differing_grid(groups)]
    grids += [c.epochs_grid(groups, name) for name in epochs or ()]
    if published:
        grids.insert(0, c.table1(groups))
    if page is not None:
        c.write_page(groups, grids, page)
    if numbers is not None:
        write_atomically(numbers, c.to_csv(groups))
    if as_json:
        print(json.dumps({"tables": [asdict(grid) for grid in grids]}))
    elif markdown:
        print("\n\n".join(f"{c.to_markdown(grid)}\n\n{grid.note}".rstrip() for grid in grids if grid.rows))
    else:
        _show(Console(), grids)


def _folders(places: Sequence[Path]) -> Iterator[Path]:
    """Run folders as they are; other folders stand for the run folders in them."""
    for place in places:
        if not place.is_dir():
            raise ValueError(f"there is no run folder {str(place)!r}.")
        inner = [] if _is_run(place) else sorted(path for path in place.iterdir() if path.is_dir() and _is_run(path))
        yield from inner or [place]


def _is_run(place: Path) -> bool:
    return any((place / name).is_file() for name in ("run.json", "genotype.json"))


def _looked_up(found: Sequence[Found], table: Path, column: str | None) -> list[Found]:
    """The same runs with what a benchmark's table says of the cells that it can hold."""
    from diffnas import tables

    loaded = tables.load(table)
    entries = [
        loaded.lookup(run.genotype, column) if run.genotype.skeleton == "nas-bench-201" else None for run in found
    ]
    return [
        replace(run, benchmark=(entry.accuracy, entry.rank)) if entry else run
        for run, entry in zip(found, entries, strict=True)
    ]


def _show(console: Console, grids: Sequence[Grid]) -> None:
    for grid in grids:
        if not grid.rows:
            continue
        shown = Table(box=SIMPLE_HEAD, title=grid.title, title_justify="left", title_style="bold", pad_edge=False)
        for index, title in enumerate(grid.header):
            shown.add_column(title, no_wrap=True, justify="left" if index == 0 or _is_text(grid, index) else "right")
        for row in grid.rows:
            shown.add_row(*row)
        # Never folded, however narrow the terminal: a number that is broken in two is of no use.
        columns = zip(grid.header, *grid.rows, strict=True)
        wide = sum(max(map(len, texts)) + 3 for texts in columns)
        Console(width=max(wide, console.width)).print(shown, highlight=False, markup=False)
        if grid.note:
            console.print(f"{grid.note}\n", style="dim", highlight=False, markup=False)


def _is_text(grid: Grid, index: int) -> bool:
    return not all(row[index][:1].isdigit() or not row[index] for row in grid.rows)
