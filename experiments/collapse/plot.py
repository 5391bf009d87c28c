"""Draw searches in deep supernets by epoch: what a table says of the cell, what wins its edges, and the eigenvalue.

    python experiments/collapse/plot.py nas-bench-201 --table nats-bench-tss-cifar10.csv --out collapse.svg
    python experiments/collapse/plot.py s2 --out s2.svg

A thick line for each method is the mean over its seeds; a thin one is one seed.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(1, str(Path(__file__).parents[1]))
from drawing import COLORS, panels

from diffnas.api.compare import compared
from diffnas.report.compare import Found, Group
from diffnas.report.compare.columns import columns_of

Values = Callable[[Found], Sequence[Any]]
"""Gives a number of a run for each epoch, None where it is not known."""


def column(name: str) -> Values:
    """What gives a column as if the search had ended after each epoch."""

    def by_epoch(run: Found) -> Sequence[Any]:
        value = columns_of([run])[name].value
        return [value(run.after(epoch)) for epoch in range(len(run.lines))]

    return by_epoch


def eigenvalue(run: Found) -> Sequence[Any]:
    """The largest eigenvalue of the Hessian for alpha."""
    return [line["eigenvalue"] for line in run.lines]


PANELS: Mapping[str, Mapping[str, tuple[Values, str]]] = {
    "nas-bench-201": {
        "accuracy in the table, %": (column("benchmark"), "linear"),
        "skips, of 6 edges": (column("skips"), "linear"),
        "largest eigenvalue": (eigenvalue, "log"),
    },
    "s2": {
        "skips in the normal cell": (column("normal/skip_connect"), "linear"),
        "skips in the reduction cell": (column("reduce/skip_connect"), "linear"),
        "largest eigenvalue": (eigenvalue, "log"),
    },
    "s4": {
        "noise in the normal cell": (column("normal/noise"), "linear"),
        "noise in the reduction cell": (column("reduce/noise"), "linear"),
        "largest eigenvalue": (eigenvalue, "log"),
    },
}
"""What is drawn of the searches in a space."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("space", choices=PANELS)
    parser.add_argument("--runs", type=Path, default=Path(__file__).with_name("traces"))
    parser.add_argument("--table", type=Path, help="needed for nas-bench-201")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    if options.space == "nas-bench-201" and options.table is None:
        parser.error("nas-bench-201 is drawn with the accuracies of a table: --table FILE")
    groups = compared([options.runs / options.space], options.table, "cifar10_test_200")
    wanted = PANELS[options.space]
    with panels(options.out, len(wanted), (2.4 * len(wanted) + 1.0, 2.4), sharex=True) as all_axes:
        for axes, (label, (values, scale)) in zip(all_axes, wanted.items(), strict=True):
            for group, color in zip(groups, COLORS * len(groups), strict=False):
                draw(axes, group, values, color)
            axes.set(xlabel="epoch", ylabel=label, yscale=scale)
        all_axes[-1].legend(fontsize=6, loc="upper left", bbox_to_anchor=(1.02, 1.0))


def draw(axes: Any, group: Group, values: Values, color: str) -> None:
    """A thin line for each run of a group, and a thick one for their mean, as far as all of them go."""
    drawn = [known(values(run)) for run in group.runs]
    for line in drawn:
        axes.plot(*line.T, color=color, linewidth=0.5, alpha=0.5)
    shortest = min(len(line) for line in drawn)
    axes.plot(*np.mean([line[:shortest] for line in drawn], axis=0).T, color=color, label=group.label)


def known(numbers: Sequence[Any]) -> Any:
    """The epochs in which a number is known, from 1 on, and the numbers, ``(epochs, 2)``."""
    return np.array([(epoch, number) for epoch, number in enumerate(numbers, 1) if number is not None])


if __name__ == "__main__":
    main()
