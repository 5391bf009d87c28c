"""The command ``diffnas compare``, which shows runs side by side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from diffnas.cli import options as o

if TYPE_CHECKING:
    from diffnas.report.compare import Grid, Group


Across = Annotated[
    str | None, typer.Option(metavar="SETTING,...", help="Settings that may differ within a group, as seeds may.")
]
Against = Annotated[
    str | None, typer.Option(metavar="GROUP", help="Compare each group with this one, instead of every two.")
]
By = Annotated[str | None, typer.Option(metavar="SETTING,...", help="How much cells change with a setting.")]
Base = Annotated[
    str | None, typer.Option("--changes-from", metavar="NAME", help="How others differ from the run in this folder.")
]
Published = Annotated[
    bool, typer.Option("--table1", help="As Table 1 of the sparse-connections paper, beside its numbers.")
]


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders, or folders that hold some.")],
    table: Annotated[
        Path | None, typer.Option(help="Look up NAS-Bench-201 cells in this table; as for diffnas lookup.")
    ] = None,
    column: Annotated[str | None, typer.Option(help="A column of the table; needed if it has several.")] = None,
    columns: Annotated[
        str | None, typer.Option(metavar="NAME,...", help="What to show; a wrong name lists all.")
    ] = None,
    epochs: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A column or number after each epoch; may be repeated.")
    ] = None,
    every: Annotated[int, typer.Option(metavar="N", min=1, help="Of these numbers, those N epochs apart.")] = 1,
    across: Across = None,
    against: Against = None,
    by: By = None,
    base: Base = None,
    cells: Annotated[bool, typer.Option("--cells", help="Each run's cells as text, too.")] = False,
    published: Published = False,
    page: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a page, too.")] = None,
    numbers: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write all numbers, too.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    as_json: o.Json = False,
) -> None:
    """Compare runs: mean and spread over seeds, tests between methods, how far cells agree, and costs."""
    from diffnas.api.compare import compared
    from diffnas.files import write_atomically
    from diffnas.report import compare as c

    groups, names = compared(runs, table, column, _names(across)), _names(columns) or None
    grids = [*_asked(groups, by, base, published=published), c.group_grid(groups, names), c.run_grid(groups, names)]
    grids += [c.differing_grid(groups), c.differences_grid(groups, against)]
    grids += [c.epochs_grid(groups, name, every) for name in epochs or ()]
    grids += [c.cells_grid(groups)] if cells else []
    if page is not None:
        c.write_page(groups, grids, page)
    if numbers is not None:
        write_atomically(numbers, c.to_csv(groups))
    _print(grids, as_json=as_json, markdown=markdown)


def _names(text: str | None) -> list[str]:
    """Names that are separated by commas; none if the option is not given."""
    names = [] if text is None else [name.strip() for name in text.split(",")]
    if "" in names:
        raise ValueError(f"{text!r} is no list of names. Separate them by commas: one,two.")
    return names


def _asked(groups: Sequence[Group], by: str | None, base: str | None, *, published: bool) -> list[Grid]:
    """The tables that come first, because they answer a question of the user."""
    from diffnas.report import compare as c

    runs = [run for group in groups for run in group.runs]
    return [
        *([c.table1(groups)] if published else []),
        *([] if by is None else [c.by_grid(runs, _names(by))]),
        *([] if base is None else [c.changes_grid(runs, base)]),
    ]


def _print(grids: Sequence[Grid], *, as_json: bool, markdown: bool) -> None:
    if as_json:
        print(json.dumps({"tables": [asdict(grid) for grid in grids]}))
    elif markdown:
        print("\n\n".join(_markdown(grid) for grid in grids if grid.rows))
    else:
        show_grids(Console(), grids)


def _markdown(grid: Grid) -> str:
    """A table with its title and its note."""
    from diffnas.report.compare import to_markdown

    return f"**{grid.title}**\n\n{to_markdown(grid)}\n\n{grid.note}".rstrip()


def show_grids(console: Console, grids: Sequence[Grid]) -> None:
    """Print tables, without those that have no rows."""
    for grid in grids:
        if not grid.rows:
            continue
        shown = Table(box=SIMPLE_HEAD, title=grid.title, title_justify="left", title_style="bold", pad_edge=False)
        for index, title in enumerate(grid.header):
            shown.add_column(title, no_wrap=True, justify="left" if index == 0 or _is_text(grid, index) else "right")
        for row in grid.rows:
            shown.add_row(*row)
        # Lines are never folded, even in a narrow terminal, because a number on two lines is hard to read.
        columns = zip(grid.header, *grid.rows, strict=True)
        wide = sum(max(map(len, texts)) + 3 for texts in columns)
        Console(width=max(wide, console.width)).print(shown, highlight=False, markup=False)
        if grid.note:
            console.print(f"{grid.note}\n", style="dim", highlight=False, markup=False)


def _is_text(grid: Grid, index: int) -> bool:
    return not all(row[index][:1].isdigit() or not row[index] for row in grid.rows)
