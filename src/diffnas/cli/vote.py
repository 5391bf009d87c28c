"""The command ``diffnas vote``: a cell from the mean mixing weights of several seeds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from diffnas.cli import options as o
from diffnas.cli import show
from diffnas.names import showable
from diffnas.report.words import duration

if TYPE_CHECKING:
    from diffnas.api.vote import Vote


def vote(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders, or folders that hold some.")],
    out: Annotated[
        Path | None, typer.Option(parser=o.place, metavar="FILE", help="The genotype. Default: vote.json.")
    ] = None,
    as_json: o.Json = False,
) -> None:
    """Read a cell off the mean mixing weights of several seeds. It trains nothing; evaluate its file then."""
    from diffnas.api.compare import run_folders
    from diffnas.api.vote import vote as voted

    found = voted(run_folders(runs), out or o.unused(Path("vote.json")))
    if as_json:
        print(json.dumps(numbers_of(found)))
    else:
        show_vote(Console(), found)


def numbers_of(vote: Vote) -> dict[str, Any]:
    """A vote as plain data."""
    from diffnas.genotype import to_json

    return {
        "label": vote.label,
        "genotype": json.loads(to_json(vote.genotype)),
        "runs": [str(run) for run in vote.runs],
        "edges": [
            {"cell": kind, "source": source, "target": target, "op": op, "agreement": share}
            for (kind, source, target), (op, share) in vote.edges.items()
        ],
        "agreement": vote.agreement,
        "seconds": vote.seconds,
        "file": None if vote.path is None else str(vote.path),
    }


def show_vote(console: Console, vote: Vote) -> None:
    """Print the cells of a vote, how far the seeds agree on each edge, and what the vote costs."""
    console.print(f"The vote of {len(vote.runs)} seeds of {vote.label}", style="bold", highlight=False, markup=False)
    show.cells(console, vote.genotype)
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title in ("edge", "the vote has", "seeds with the same"):
        table.add_column(title, justify="right" if title.startswith("seeds") else "left")
    for (kind, source, target), (op, share) in vote.edges.items():
        table.add_row(f"{kind} {source} → {target}", op, f"{share:.0%}")
    console.print(table, highlight=False)
    said = (
        f"The seeds agree with the vote on {vote.agreement:.0%} of the edges. The {len(vote.runs)} searches took "
        f"{duration(vote.seconds)} together; the vote trains nothing, and an evaluation trains one network."
    )
    console.print(said, highlight=False, markup=False)
    if vote.path is not None:
        told = f"diffnas evaluate {showable(str(vote.path))} DATA"
        console.print(told, style="dim", highlight=False, markup=False, soft_wrap=True)
