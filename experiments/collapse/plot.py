"""Draw searches in deep supernets by epoch: what a table says of the cell, its skips, and the eigenvalue.

    python experiments/collapse/plot.py --table nats-bench-tss-cifar10.csv --out experiments/collapse/collapse.svg

A line for each method is the mean over its seeds; a thin one is one seed.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(1, str(Path(__file__).parents[1]))
from drawing import COLORS, panels

from diffnas.api.compare import compared
from diffnas.report.compare import Found
from diffnas.report.compare.columns import COLUMNS

PANELS: Mapping[str, tuple[Callable[[Found, int], Any], str]] = {
    "accuracy in the table, %": (lambda run, epoch: COLUMNS["benchmark"].value(run.after(epoch)), "linear"),
    "skips, of 6 edges": (lambda run, epoch: COLUMNS["skips"].value(run.after(epoch)), "linear"),
    "largest eigenvalue": (lambda run, epoch: run.lines[epoch]["eigenvalue"], "log"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path(__file__).with_name("traces"))
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    groups = compared([options.runs], options.table, "cifar10_test_200")
    with panels(options.out, len(PANELS), (7.2, 2.4), sharex=True) as all_axes:
        for axes, (label, (value, scale)) in zip(all_axes, PANELS.items(), strict=True):
            for group, color in zip(groups, COLORS, strict=False):
                drawn = [course(run, value) for run in group.runs]
                for line in drawn:
                    axes.plot(*line, color=color, linewidth=0.5, alpha=0.5)
                epochs = drawn[0][0]
                mean = np.mean([line[1] for line in drawn if len(line[1]) == len(epochs)], axis=0)
                axes.plot(epochs, mean, color=color, label=group.label)
            axes.set(xlabel="epoch", ylabel=label, yscale=scale)
        all_axes[0].legend(fontsize=6)


def course(run: Found, value: Callable[[Found, int], Any]) -> tuple[list[int], list[float]]:
    """The epochs in which a number of a run is known, and the numbers."""
    numbers = [(epoch + 1, value(run, epoch)) for epoch in range(len(run.lines))]
    known = [(epoch, number) for epoch, number in numbers if number is not None]
    return [epoch for epoch, _ in known], [number for _, number in known]


if __name__ == "__main__":
    main()
