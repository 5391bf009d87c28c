"""Print how far searches with one thing changed are from the first one, and from each other, in Markdown.

    python experiments/variance/table.py
    python experiments/variance/table.py --runs runs/variance --table nats-bench-tss-cifar10.csv --plot variance.svg

The searches that are finished in ``--runs`` are written to ``results.json`` beside this file first, with what a table
says of their cells: any that ``diffnas lookup`` takes, with the column ``cifar10_test_200``.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator
from itertools import combinations
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

sys.path.insert(1, str(Path(__file__).parents[1]))
from common import keep, kept, short
from drawing import dots, panels
from run import CHANGES

from diffnas.api.compare import compared
from diffnas.report.compare import Found

RESULTS = Path(__file__).with_name("results.json")
Row = dict[str, Any]

HEADER = """\
| method | changed | runs | same edges as unchanged | same edges among themselves | mixing weights differ by | cells | \
in the table |
|---|---|--:|--:|--:|--:|---|---|"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, help="where run.py put its folders")
    parser.add_argument("--table", type=Path, help="what says how good their cells are")
    parser.add_argument("--plot", type=Path, help="draw how far each run is from the unchanged one into this file")
    options = parser.parse_args()
    if options.runs:
        keep(RESULTS, rows_of(options.runs, options.table))
    rows = kept(RESULTS)
    print(HEADER)
    for method, (first, changes) in by_method(rows).items():
        for change, own in changes.items():
            print(line(method, change, first, own))
    if options.plot:
        draw(rows, options.plot)


def rows_of(runs: Path, table: Path | None) -> Iterator[Row]:
    """A row for each run."""
    groups = compared([runs], table, "cifar10_test_200" if table else None)
    for run in sorted((run for group in groups for run in group.runs), key=lambda run: run.name):
        change = next(change for change in CHANGES if run.name.endswith(f"-{change}"))
        yield {"method": run.name.removesuffix(f"-{change}"), "change": change, **numbers(run)}


def numbers(run: Found) -> Row:
    """A run in a few numbers."""
    return {
        "cell": short(run.genotype),
        "accuracy": run.benchmark and run.benchmark.accuracy,
        "seconds": round(sum(line["seconds"] for line in run.lines)),
        "mix": np.round(run.lines[-1]["mix"], 4).tolist(),
    }


def by_method(rows: Iterable[Row]) -> dict[str, tuple[Row, dict[str, list[Row]]]]:
    """For each method, the unchanged run, and the others by what was changed."""
    runs = {(row["method"], row["change"]): row for row in rows}
    found: dict[str, tuple[Row, dict[str, list[Row]]]] = {}
    for method in dict.fromkeys(method for method, _ in runs):
        changes: dict[str, list[Row]] = {}
        for change in CHANGES:
            if change != "nothing" and (method, change) in runs:
                changes.setdefault(change.partition("-")[0], []).append(runs[method, change])
        found[method] = runs[method, "nothing"], changes
    return found


def distance(one: Row, other: Row) -> float:
    """The mean absolute difference of the mixing weights at the end."""
    return float(np.abs(np.asarray(one["mix"]) - np.asarray(other["mix"])).mean())


def same(one: Row, other: Row) -> float:
    """The share of edges with the same operation."""
    return mean(a == b for a, b in zip(one["cell"], other["cell"], strict=True))


def line(method: str, change: str, first: Row, rows: list[Row]) -> str:
    """A line of the table: how far runs are from the unchanged one, and from each other."""
    among = [same(*pair) for pair in combinations(rows, 2)]
    told = [
        f"{mean(same(first, row) for row in rows):.0%}",
        f"{mean(among):.0%}" if among else "",
        f"{mean(distance(first, row) for row in rows):.3f}",
        ", ".join(row["cell"] for row in rows),
        ", ".join(f"{row['accuracy']:.2f}" for row in rows if row["accuracy"]),
    ]
    return f"| {method} | {change} | {len(rows)} | {' | '.join(told)} |"


def draw(rows: list[Row], path: Path) -> None:
    """A dot for each changed run of a method, by how far it is from the unchanged one."""
    methods = by_method(rows)
    with panels(path, len(methods), (7.2, 2.0), sharex=True, sharey=True) as all_axes:
        for axes, (method, (first, changes)) in zip(all_axes, methods.items(), strict=True):
            distances = {change: [distance(first, row) for row in own] for change, own in changes.items()}
            dots(axes, distances, "mixing weights differ by")
            axes.set_title(method)
        # Both panels share this axis, and it must be set after everything is drawn.
        all_axes[0].set_xlim(left=0)


if __name__ == "__main__":
    main()
