"""Print the results of the runs of ``run.py`` in a folder as Markdown: a selection from ``diffnas compare``.

python experiments/cifar/table.py --runs runs/cifar10
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(1, str(Path(__file__).parents[1]))
from common import finished

from diffnas.api.compare import compared
from diffnas.genotype import to_text
from diffnas.report.compare import epochs_grid, group_grid, run_grid, to_markdown

COST = ("empty", "live", "first", "last", "macs_first", "macs_last")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True)
    groups = compared(finished(parser.parse_args().runs))
    print(to_markdown(run_grid(groups, ["connections", "skips", "convolutions", *COST, "parameters", "accuracy"])))
    print()
    print(to_markdown(group_grid(groups, ["parameters", "accuracy"])))
    print("\nLive operations after each epoch, of 224:\n")
    print(to_markdown(epochs_grid(groups, "live_ops")))
    print("\nThe cells:\n")
    for group in groups:
        for run in group.runs:
            print(f"- {run.name}: `{to_text(run.genotype)}`")


if __name__ == "__main__":
    main()
