"""Print what the searches of ``run.py`` found, in Markdown, and keep it as JSON.

    python experiments/initialisation/table.py --runs runs/initialisation --table nats-bench-tss-cifar10.csv

The table is any that ``diffnas lookup`` takes, with the column ``cifar10_test_200``. It is read only here, after all
searches are done. ``--out FILE`` writes a line for each run: cell, accuracy, rank, node variances, pretext, seconds.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).parents[1]))
from common import keep

from diffnas.api.compare import compared
from diffnas.genotype import to_text
from diffnas.report.compare import Found, by_grid, run_grid, to_markdown
from diffnas.report.reading import read_run

BY = ("initial", "pretext", "pretext_epochs", "epochs")


def summary(run: Found, folder: Path) -> dict[str, Any]:
    """A run in a few numbers."""
    search = read_run(folder).search
    assert search is not None
    last = search.pretext[-1].train if search.pretext else {}
    return {
        "run": run.name,
        "cell": to_text(run.genotype),
        "accuracy": run.benchmark and run.benchmark.accuracy,
        "rank": run.benchmark and run.benchmark.rank,
        "variances": search.start.variances if search.start else {},
        "pretext": last,
        "seconds": round(sum(line["seconds"] for line in run.lines) + run.pretext_seconds),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    finished = [path.parent for path in sorted(options.runs.glob("*/genotype.json"))]
    groups = compared(finished, options.table, "cifar10_test_200")
    runs = sorted((run for group in groups for run in group.runs), key=lambda run: run.name)
    # The arm ``torch`` comes first in its family, so that kappa is to it.
    runs.sort(key=lambda run: "-torch-" not in run.name)
    grid = by_grid(runs, BY)
    print(to_markdown(run_grid(groups, ["benchmark", "rank", "skips", "empty", "live", "seconds"])))
    print(f"\n{to_markdown(grid)}\n\n{grid.note}")
    if options.out:
        keep(options.out, (summary(run, options.runs / run.name) for run in runs))


if __name__ == "__main__":
    main()
