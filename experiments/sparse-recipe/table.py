"""Print what the searches of ``run.py`` found, in Markdown.

    python experiments/sparse-recipe/table.py --runs runs/choose --rows choose.json
    python experiments/sparse-recipe/table.py --runs runs/judge --rows judge.json --table nats-bench-tss-cifar10.csv

This prints the three criteria by which a recipe is chosen, and their ranks. ``--rows`` keeps a line for each run, with
the accuracies that a table gives its cell, if there is one.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

sys.path.insert(1, str(Path(__file__).parents[1]))
from common import keep, short
from scipy.stats import rankdata

from diffnas.api.compare import compared
from diffnas.report.compare import Found, Grid, Group, to_markdown
from diffnas.report.compare.columns import COLUMNS
from diffnas.report.compare.likeness import agreement

BENCHMARK = "cifar10_test_200"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--rows", type=Path)
    parser.add_argument("--table", type=Path)
    options = parser.parse_args()
    judged = sorted(options.runs.glob("*/held-out.json"))
    groups = compared([path.parent for path in judged], options.table, BENCHMARK if options.table else None)
    held_out = {path.parent.name: json.loads(path.read_text()) for path in judged}
    print(to_markdown(criteria(groups, held_out)))
    if options.rows:
        runs = sorted((run for group in groups for run in group.runs), key=lambda run: run.name)
        keep(options.rows, ({**row(run), **held_out[run.name]} for run in runs))


def row(run: Found) -> dict[str, Any]:
    """A run in a few numbers."""
    return {
        "run": run.name,
        "cell": short(run.genotype),
        "cell_without_none": short(run.without_none),
        "accuracy": run.benchmark and run.benchmark.accuracy,
        "accuracy_without_none": COLUMNS["without_none"].value(run),
        "rank": run.benchmark and run.benchmark.rank,
        "discarded": round(COLUMNS["discarded"].value(run), 4),
        "live": run.lines[-1]["indicators"]["live_ops"],
        "seconds": round(sum(line["seconds"] for line in run.lines)),
    }


def criteria(groups: Sequence[Group], held_out: dict[str, Any]) -> Grid:
    """A row for each recipe with the three criteria, the sum of their ranks, and a number beside them."""
    names, alike = [group.runs[0].name.rpartition("-")[0] for group in groups], []
    for group in groups:
        agreed = agreement([run.genotype for run in group.runs])
        alike.append(agreed[1] if agreed else 0.0)
    weights = [mean(map(COLUMNS["discarded"].value, group.runs)) for group in groups]
    losses, mixtures = (
        [mean(held_out[run.name][name] for run in group.runs) for group in groups]
        for name in ("held_out_loss", "mixture_loss")
    )
    ranks = sum(rankdata(each, method="min") for each in (weights, [-share for share in alike], losses))
    columns = (
        names,
        [str(len(group.runs)) for group in groups],
        map("{:.2f}".format, weights),
        map("{:.0%}".format, alike),
        map("{:.3f}".format, losses),
        map("{:.0f}".format, ranks),
        map("{:.3f}".format, mixtures),
    )
    header = (
        "recipe",
        "seeds",
        "weight discarded",
        "same edges",
        "held-out loss",
        "sum of ranks",
        "loss of the mixture",
    )
    return Grid(title="Criteria", header=header, rows=tuple(zip(*columns, strict=True)))


if __name__ == "__main__":
    main()
