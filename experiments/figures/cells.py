"""How a cell is found, in four drawings (DARTS, Liu et al., 2019, figure 1; the sparse-connections paper's figure 1).

(a) a cell whose operations are not known; (b) every operation on every edge; (c) the supernet while it learns, where
some operations have more weight than others; (d) the strongest operation of each edge.

python experiments/figures/cells.py --out experiments/figures/plots
"""

import argparse
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

from diffnas.report.palette import tone
from diffnas.report.plots import drawing, save

NODES = ((0.0, 3.0), (1.2, 2.0), (0.0, 1.0), (1.2, 0.0))
OPS = ("sep_conv_3x3", "max_pool_3x3", "skip_connect")
# For each edge, the operation that the search prefers, and its weight.
LEARNED = ((0, 0.7), (1, 0.5), (2, 0.45), (0, 0.6), (2, 0.5), (1, 0.65))


def arrow(axes: Any, start: int, end: int, bend: float, **look: Any) -> None:
    """An arrow between two nodes."""
    shape = {
        "connectionstyle": f"arc3,rad={bend}",
        "arrowstyle": "-|>",
        "mutation_scale": 7,
        "shrinkA": 9,
        "shrinkB": 9,
    }
    axes.add_patch(FancyArrowPatch(NODES[start], NODES[end], **shape, **look))


def cell(axes: Any, title: str, weights: Sequence[Sequence[float]] | None) -> None:
    """Draw one cell; ``weights`` has the weights of the operations on each edge, or None if they are not known."""
    for edge, (start, end) in enumerate(combinations(range(len(NODES)), 2)):
        far = 0.35 if end - start == 2 else 0.12
        if weights is None:
            arrow(axes, start, end, far, color="#8b9099", linestyle="--", linewidth=1)
            continue
        for place, (op, weight) in enumerate(zip(OPS, weights[edge], strict=True)):
            if weight:
                bend = far + 0.17 * (place - 1)
                arrow(axes, start, end, bend, color=tone(op).light, linewidth=0.4 + 2.6 * weight)
    for node, (x, y) in enumerate(NODES):
        axes.text(
            x,
            y,
            str(node),
            ha="center",
            va="center",
            bbox={"boxstyle": "round,pad=0.45", "fc": "#eef2f7", "ec": "#1c1c1a"},
        )
    axes.set(xlim=(-0.8, 2.0), ylim=(-0.6, 3.6), title=title)
    axes.axis("off")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path())
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    even = [[1 / 3] * 3] * len(LEARNED)
    learned = [[w if op == best else (1 - w) / 2 for op in range(3)] for best, w in LEARNED]
    found = [[float(op == best) for op in range(3)] for best, _ in LEARNED]
    with drawing():
        figure = Figure(figsize=(7.2, 2.8), layout="constrained")
        panels = (("(a) unknown", None), ("(b) all of them", even), ("(c) learning", learned), ("(d) found", found))
        for axes, (title, weights) in zip(figure.subplots(1, 4), panels, strict=True):
            cell(axes, title, weights)
        for path in save(figure, out / "cells"):
            print(path)


if __name__ == "__main__":
    main()
