"""Print what the searches of ``run.py`` found, in Markdown.

    python experiments/sparse-recipe/table.py --runs runs/choose --rows choose.json
    python experiments/sparse-recipe/table.py --runs runs/judge --rows judge.json --table nats-bench-tss-cifar10.csv

Without a table, this prints the three criteria by which a recipe is chosen, and their ranks. With one, it also prints
the accuracies that the table gives the cells, and how methods differ over the seeds that they share. ``--rows`` keeps a
line for each run.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

sys.path.insert(1, str(Path(__file__).parents[1]))
from common import discarded, keep, short, without_none
from scipy.stats import rankdata

from diffnas import tables
from diffnas.api.compare import compared
from diffnas.report.compare import Column, Found, Grid, Group, group_grid, paired_grid, to_markdown
from diffnas.report.compare.likeness import agreement

BENCHMARK = "cifar10_test_200"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--rows", type=Path)
    parser.add_argument("--table", type=Path)
    options = parser.parse_args()
    table = tables.load(options.table) if options.table else None
    judged = sorted(options.runs.glob("*/held-out.json"))
    groups = compared([path.parent for path in judged], table, BENCHMARK if table else None)
    held_out = {path.parent.name: json.loads(path.read_text()) for path in judged}
    print(to_markdown(criteria(groups, held_out)))
    without = lookup_without_none(table)
    if table:
        otherwise = Column("without none", without, "{:.2f}".format)
        print(f"\n{to_markdown(group_grid(groups, ['benchmark', otherwise, 'live', 'seconds']))}")
        print(f"\n{to_markdown(paired_grid(groups))}")
    if options.rows:
        runs = sorted((run for group in groups for run in group.runs), key=lambda run: run.name)
        keep(options.rows, ({**row(run, without(run)), **held_out[run.name]} for run in runs))


def lookup_without_none(table: tables.Table | None) -> Callable[[Found], float | None]:
    """What gives the accuracy of a run's cell if ``none`` cannot win an edge; always None without a table."""
    return lambda run: table.lookup(without_none(run), BENCHMARK).accuracy if table else None


def row(run: Found, without: float | None) -> dict[str, Any]:
    """A run in a few numbers."""
    return {
        "run": run.name,
        "cell": short(run.genotype),
        "cell_without_none": short(without_none(run)),
        "accuracy": run.benchmark and run.benchmark.accuracy,
        "accuracy_without_none": without,
        "rank": run.benchmark and run.benchmark.rank,
        "discarded": round(discarded(run), 4),
        "live": run.lines[-1]["indicators"]["live_ops"],
        "seconds": round(sum(line["seconds"] for line in run.lines)),
    }


def criteria(groups: Sequence[Group], held_out: dict[str, Any]) -> Grid:
    """A row for each recipe with the three criteria, the sum of their ranks, and a number beside them."""
    names, alike = [group.runs[0].name.rpartition("-")[0] for group in groups], []
    for group in groups:
        agreed = agreement([run.genotype for run in group.runs])
        alike.append(agreed[1] if agreed else 0.0)
    weights = [mean(map(discarded, group.runs)) for group in groups]
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
