"""How the plots of several experiments are drawn. Each is an SVG that comes out the same from the same results."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib as mpl

from diffnas.report.plots import drawing

COLORS = ("#1c4fc4", "#c2571a", "#1f6f54", "#7a5ca8", "#8a8780", "#b03060", "#d4a72c", "#2f9aa0", "#5b4636")
"""One for each method or group, in turn."""


@contextmanager
def panels(path: Path, count: int, size: tuple[float, float], **shared: bool) -> Iterator[Sequence[Any]]:
    """Axes beside each other, of a figure of this size in inches; the figure is written at the end."""
    mpl.use("svg")
    from matplotlib import pyplot as plt

    with drawing():
        figure, axes = plt.subplots(1, count, figsize=size, squeeze=False, layout="constrained", **shared)
        yield axes[0]
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)


def dots(axes: Any, groups: Mapping[str, Sequence[float]], label: str) -> None:
    """A row of dots for each group, from top to bottom, and a line at its mean."""
    for place, (values, color) in enumerate(zip(groups.values(), COLORS * len(groups), strict=False)):
        axes.plot(values, [place] * len(values), "o", color=color, markersize=4, alpha=0.6, markeredgewidth=0)
        if values:
            axes.plot([fmean(values)] * 2, [place - 0.25, place + 0.25], color=color)
    axes.set_yticks(range(len(groups)), list(groups))
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.set_xlabel(label)
