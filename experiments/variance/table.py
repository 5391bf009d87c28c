"""Print how far searches with one thing changed are from the first one, and from each other, in Markdown.

    python experiments/variance/table.py --runs runs/variance --table nats-bench-tss-cifar10.csv

The table is any that ``diffnas lookup`` takes, with the column ``cifar10_test_200``. ``--rows`` keeps a line for each
run, and ``--plot`` draws how far each run is from the unchanged one.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

sys.path.insert(1, str(Path(__file__).parents[1]))
from common import keep, short
from drawing import dots, panels
from run import CHANGES

from diffnas.api.compare import compared
from diffnas.report.compare import Found
from diffnas.report.compare.likeness import agreement, same_edges

HEADER = """\
| method | changed | runs | same edges as unchanged | same edges among themselves | mixing weights differ by | cells | \
in the table |
|---|---|--:|--:|--:|--:|---|---|"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--rows", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    groups = compared([options.runs], options.table, "cifar10_test_200")
    runs = {run.name: run for group in groups for run in group.runs}
    methods = sorted({method_of(name) for name in runs})
    print(HEADER)
    for method in methods:
        for change, own in changed(method, runs).items():
            print(line(method, change, runs[f"{method}-nothing"], own))
    if options.rows:
        keep(options.rows, (row(runs[name]) for name in sorted(runs)))
    if options.plot:
        with panels(options.plot, len(methods), (7.2, 2.0), sharex=True, sharey=True) as all_axes:
            for axes, method in zip(all_axes, methods, strict=True):
                first, found = runs[f"{method}-nothing"], changed(method, runs)
                distances = {change: [distance(first, run) for run in own] for change, own in found.items()}
                dots(axes, distances, "mixing weights differ by")
                axes.set_title(method)
                axes.set_xlim(left=0)


def changed(method: str, runs: Mapping[str, Found]) -> dict[str, list[Found]]:
    """The runs of a method by what was changed."""
    found: dict[str, list[Found]] = {}
    for change in CHANGES:
        if change != "nothing" and f"{method}-{change}" in runs:
            found.setdefault(change.partition("-")[0], []).append(runs[f"{method}-{change}"])
    return found


def distance(first: Found, other: Found) -> float:
    """The mean absolute difference of the mixing weights at the end."""
    one, two = (np.asarray(run.lines[-1]["mix"]) for run in (first, other))
    return float(np.abs(one - two).mean())


def method_of(name: str) -> str:
    """The method of a run, from its name: ``sparse`` for ``sparse-weights-41``."""
    return next(name.removesuffix(f"-{change}") for change in CHANGES if name.endswith(f"-{change}"))


def row(run: Found) -> dict[str, Any]:
    """A run in a few numbers."""
    return {"run": run.name, "cell": short(run.genotype), "mix": np.round(run.lines[-1]["mix"], 3).tolist()}


def line(method: str, change: str, first: Found, runs: list[Found]) -> str:
    """A row: how far runs are from the first, and from each other."""
    apart = mean(distance(first, run) for run in runs)
    to_first = mean(same_edges(first.genotype, run.genotype) for run in runs)
    among = agreement([run.genotype for run in runs])
    cells = ", ".join(short(run.genotype) for run in runs)
    accuracies = ", ".join(f"{run.benchmark.accuracy:.2f}" for run in runs if run.benchmark)
    said = f"{among[1]:.0%}" if among else ""
    return f"| {method} | {change} | {len(runs)} | {to_first:.0%} | {said} | {apart:.3f} | {cells} | {accuracies} |"


if __name__ == "__main__":
    main()
