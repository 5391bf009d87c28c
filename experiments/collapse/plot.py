"""Draw searches in deep supernets by epoch: what a table says of the cell, what wins its edges, and the eigenvalue.

    python experiments/collapse/plot.py nas-bench-201 --table nats-bench-tss-cifar10.csv --out collapse.svg
    python experiments/collapse/plot.py s2 s4 --out s2-s4.svg

A thick line for each method is the mean over its seeds; a thin one is one seed.
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
from diffnas.report.compare import Found, Group
from diffnas.report.compare.columns import columns_of

Value = Callable[[Found, int], Any]
"""Gives a number of a run after an epoch."""


def column(name: str) -> Value:
    """What gives a column as if the search had ended there."""
    return lambda run, epoch: columns_of([run])[name].value(run.after(epoch))


def eigenvalue(run: Found, epoch: int) -> Any:
    """The largest eigenvalue of the Hessian for alpha."""
    return run.lines[epoch]["eigenvalue"]


PANELS: Mapping[str, Mapping[str, tuple[Value, str]]] = {
    "nas-bench-201": {
        "accuracy in the table, %": (column("benchmark"), "linear"),
        "skips, of 6 edges": (column("skips"), "linear"),
        "largest eigenvalue": (eigenvalue, "log"),
    },
    "s2": {
        "S2: skips in the normal cell": (column("normal/skip_connect"), "linear"),
        "S2: largest eigenvalue": (eigenvalue, "log"),
    },
    "s4": {
        "S4: noise in the normal cell": (column("normal/noise"), "linear"),
        "S4: largest eigenvalue": (eigenvalue, "log"),
    },
}
"""What is drawn of the searches in a space."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("spaces", nargs="+", choices=PANELS)
    parser.add_argument("--runs", type=Path, default=Path(__file__).with_name("traces"))
    parser.add_argument("--table", type=Path, help="needed for nas-bench-201")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    if "nas-bench-201" in options.spaces and options.table is None:
        parser.error("nas-bench-201 is drawn with the accuracies of a table: --table FILE")
    wanted = [(space, label, *panel) for space in options.spaces for label, panel in PANELS[space].items()]
    found = {space: compared([options.runs / space], options.table, "cifar10_test_200") for space in options.spaces}
    methods = dict.fromkeys(group.label for groups in found.values() for group in groups)
    colors = dict(zip(methods, COLORS, strict=False))
    with panels(options.out, len(wanted), (2.4 * len(wanted) + 1.0, 2.4), sharex=True) as all_axes:
        for axes, (space, label, value, scale) in zip(all_axes, wanted, strict=True):
            for group in found[space]:
                draw(axes, group, value, colors[group.label])
            axes.set(xlabel="epoch", ylabel=label, yscale=scale)
        lines = [all_axes[-1].plot([], [], color=colors[method], label=method)[0] for method in methods]
        all_axes[-1].legend(handles=lines, fontsize=6, loc="upper left", bbox_to_anchor=(1.02, 1.0))


def draw(axes: Any, group: Group, value: Value, color: str) -> None:
    """A thin line for each run of a group, and a thick one for their mean."""
    drawn = [course(run, value) for run in group.runs]
    for line in drawn:
        axes.plot(*line, color=color, linewidth=0.5, alpha=0.5)
    epochs = drawn[0][0]
    mean = np.mean([line[1] for line in drawn if len(line[1]) == len(epochs)], axis=0)
    axes.plot(epochs, mean, color=color)


def course(run: Found, value: Value) -> tuple[list[int], list[float]]:
    """The epochs in which a number of a run is known, and the numbers."""
    numbers = [(epoch + 1, value(run, epoch)) for epoch in range(len(run.lines))]
    known = [(epoch, number) for epoch, number in numbers if number is not None]
    return [epoch for epoch, _ in known], [number for _, number in known]


if __name__ == "__main__":
    main()
