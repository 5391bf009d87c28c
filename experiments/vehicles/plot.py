"""Draw the test accuracies of a contest, with their intervals.

    python experiments/vehicles/plot.py experiments/vehicles/run/verdict.json docs/contest.svg

A dot is a mean, and a stroke one seed.
"""

import json
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt

COLORS = {"found": "#1f6f54", "random": "#8a8780", "hand": "#b0591b"}


def main() -> None:
    verdict, picture = map(Path, sys.argv[1:])
    told = sorted(json.loads(verdict.read_text())["contenders"], key=lambda each: each["accuracy"])
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "contest", "font.size": 8})
    figure, axes = plt.subplots(figsize=(6, 2.3))
    for row, each in enumerate(told):
        low, high = (100 * edge for edge in each["interval"])
        color = COLORS[each["kind"]]
        axes.plot([low, high], [row, row], color=color, linewidth=2, solid_capstyle="butt")
        axes.plot(100 * each["accuracy"], row, "o", color=color, markersize=6)
        axes.plot([100 * one for one in each["accuracies"]], [row] * len(each["accuracies"]), "|", color=color)
        axes.annotate(f"{each['accuracy']:.1%}", (100 * each["accuracy"], row + 0.22), ha="center", color=color)
    names = [f"{each['name']}, {each['macs'] / 1e6:.2f} M" for each in told]
    axes.set(yticks=range(len(told)), yticklabels=names, ylim=(-0.5, len(told) - 0.3), xlabel="test accuracy, %")
    axes.grid(axis="x", color="#d8d6cf", linewidth=0.4)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    figure.tight_layout()
    figure.savefig(picture, metadata={"Date": None})


if __name__ == "__main__":
    main()
