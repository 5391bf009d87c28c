"""Draw what a table of CIFAR-10 says of the cells that the three methods found, a dot for each seed.

python experiments/sparse-recipe/plot.py --out experiments/sparse-recipe/judged.svg
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(1, str(Path(__file__).parents[1]))
from common import kept
from drawing import dots, panels

METHODS = ("rate-10-late-pruning", "single-level", "darts")
SEARCHED = {"searched on CIFAR-10": "judge.json", "searched on CIFAR-100": "judge100.json"}
BEST = 94.37


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    with panels(parser.parse_args().out, len(SEARCHED), (7.2, 1.8), sharex=True, sharey=True) as all_axes:
        for axes, (title, file) in zip(all_axes, SEARCHED.items(), strict=True):
            rows = kept(Path(__file__).with_name(file))
            found = {
                name: [row["accuracy"] for row in rows if row["run"].rpartition("-")[0] == name] for name in METHODS
            }
            dots(axes, found, "accuracy in the table of CIFAR-10, %")
            axes.axvline(BEST, color="#8a8780", linewidth=0.6, linestyle=":")
            axes.set_title(title)


if __name__ == "__main__":
    main()
