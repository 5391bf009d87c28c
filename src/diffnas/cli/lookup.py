"""The command ``diffnas lookup``, which finds cells in a benchmark's table."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as Grid

from diffnas.cli import options as o

if TYPE_CHECKING:
    from diffnas.tables import Entry


def lookup(
    table: Annotated[
        Path, typer.Option(help="A CSV or .npz file, or one of NATS-Bench (a folder or .pickle.pbz2; takes minutes).")
    ],
    genotypes: Annotated[
        list[str] | None,
        typer.Argument(metavar="GENOTYPE...", help="A NAS-Bench-201 string, a genotype's file or a run folder."),
    ] = None,
    column: Annotated[list[str] | None, typer.Option(help="May be repeated. Default: all columns.")] = None,
    save_as: Annotated[
        Path | None, typer.Option("--save", metavar="FILE.npz", help="Save the table in a form that loads at once.")
    ] = None,
    as_json: o.Json = False,
) -> None:
    """Look up cells in a table of NAS-Bench-201: accuracy, rank, distance to the best, and equivalent cells."""
    from diffnas.genotype import read
    from diffnas.tables import load, save

    if not genotypes and save_as is None:
        raise ValueError("name a GENOTYPE to look up, or where to --save the table.")
    loaded = load(table)
    if save_as is not None:
        save(loaded, save_as)
        Console(stderr=True).print(
            f"{len(loaded.cells)} cells, {len(loaded.columns)} columns: {save_as}", highlight=False, soft_wrap=True
        )
    found = [(name, loaded.lookup(read(name), c)) for name in genotypes or () for c in column or loaded.columns]
    if as_json:
        print(json.dumps({"cells": [_numbers(name, entry) for name, entry in found]}))
    elif found:
        _show(Console(), found)


def _numbers(name: str, entry: Entry) -> dict[str, Any]:
    return {"genotype": name, **asdict(entry), "regret": entry.regret, "twins": [t._asdict() for t in entry.twins]}


def _show(console: Console, found: list[tuple[str, Entry]]) -> None:
    for cell in dict.fromkeys(entry.cell for _, entry in found):
        entries = {entry.column: entry for _, entry in found if entry.cell == cell}
        names = [name for name in dict.fromkeys(name for name, entry in found if entry.cell == cell) if name != cell]
        # A cell is printed unchanged and never wrapped, so that it can be copied.
        console.print("  ".join([*names, cell]), style="bold", highlight=False, markup=False, soft_wrap=True)
        grid = Grid(box=SIMPLE_HEAD, pad_edge=False, padding=0)
        grid.add_column("measured", no_wrap=True)
        for title in ("accuracy", "rank", "cells", "best", "regret", "equivalents"):
            grid.add_column(title, justify="right", no_wrap=True)
        for column, entry in entries.items():
            grid.add_row(
                column,
                f"{entry.accuracy:.2f}",
                f"{entry.rank:,}",
                f"{entry.of:,}",
                f"{entry.best:.2f}",
                f"{entry.regret:.2f}",
                _twins(entry),
            )
        console.print(grid)


def _twins(entry: Entry) -> str:
    if not entry.twins:
        return "none"
    low, high = entry.twins[-1].accuracy, entry.twins[0].accuracy
    return f"{len(entry.twins)} ({low:.2f} to {high:.2f})" if low < high else f"{len(entry.twins)} ({low:.2f})"
