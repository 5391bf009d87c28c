"""Draw all plots from the traces.

python experiments/theory/plots.py --runs experiments/theory/traces --out experiments/theory/plots
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import e1
import e2
import e3
import e4
import e5
import numpy as np
import windows
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from stats import by_seed, picked, spearman
from train import read

# Hues that color-blind readers can distinguish, and a mark for each.
LOOKS = (("#0072b2", "o"), ("#d55e00", "s"), ("#009e73", "^"), ("#7a3e8e", "D"))
SLOPE = "slope of −log loss per 100 steps"
SETTINGS = ("analyzed", "practical")


def swept(
    axes: Axes, x: Sequence[float], lines: Sequence[Sequence[Mapping]], look: int, label: str, **more: Any
) -> None:
    """Slopes against ``x``: the mean over seeds as a line, every seed as a mark."""
    color, mark = LOOKS[look]
    each = [list(by_seed(group).values()) for group in lines]
    axes.plot(x, [np.mean(values) for values in each], color=color, label=label, **more)
    for at, values in zip(x, each, strict=True):
        axes.plot([at] * len(values), values, mark, color=color, ms=4, alpha=0.6, mew=0)


def curves(axes: Axes, lines: Sequence[Mapping], look: int, label: str) -> None:
    """The training loss of some seeds: mean, and from the least to the most."""
    sound = [line for line in lines if not line["diverged"]]
    if not sound:
        return
    color, _ = LOOKS[look]
    losses = np.array([line["loss"] for line in sound])
    axes.plot(sound[0]["steps"], losses.mean(0), color=color, label=label)
    axes.fill_between(sound[0]["steps"], losses.min(0), losses.max(0), color=color, alpha=0.15, lw=0)


def finish(axes: Axes, title: str, x: str, y: str, *, legend: bool = True) -> None:
    """Title, names of the axes, legend."""
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.25)
    if legend:
        axes.legend(fontsize=8, framealpha=0.9)


def plot_e1(lines: list[dict[str, Any]]) -> Figure:
    """Slope against the weight that is swept; and the curves for skips on all edges."""
    figure = Figure(figsize=(12, 7.4), layout="constrained")
    grid = figure.subplots(2, 3)
    places = {"one": "first chain edge swept", "all": "all edges swept"}
    for row, setting in zip(grid, SETTINGS, strict=True):
        for axes, (place, about) in zip(row, places.items(), strict=False):
            for look, op in enumerate(e1.OPS):
                mine = picked(lines, setting=setting)
                groups = [e1.group(mine, place, op, weight) for weight in e1.WEIGHTS]
                swept(axes, e1.WEIGHTS, groups, look, op)
            finish(axes, f"{setting}: {about}", "weight of the operation", SLOPE)
        for look, weight in enumerate(e1.WEIGHTS):
            mine = e1.group(picked(lines, setting=setting), "all", "skip", weight)
            curves(row[2], mine, look, f"skip {weight:.2f}")
        finish(row[2], f"{setting}: skip on all edges", "step", "training loss")
    return figure


def plot_e2(lines: list[dict[str, Any]]) -> Figure:
    """Slopes of the four cells at either strength, and the curves at the greater one."""
    figure = Figure(figsize=(10, 7.4), layout="constrained")
    pairs = [("skip", "conv"), ("conv", "skip"), ("skip", "skip"), ("conv", "conv")]
    for row, setting in zip(figure.subplots(2, 2), SETTINGS, strict=True):
        for look, strength in enumerate(e2.STRENGTHS):
            mine = picked(lines, setting=setting, strength=strength)
            groups = [picked(mine, shared=shared, last=last) for shared, last in pairs]
            swept(
                row[0],
                range(len(pairs)),
                groups,
                look,
                f"favored weight {strength}",
                linestyle="none",
                marker="_",
                ms=22,
            )
        row[0].set_xticks(range(len(pairs)), [f"shared {shared}\nlast {last}" for shared, last in pairs], fontsize=8)
        row[0].set_xlim(-0.5, len(pairs) - 0.5)
        row[0].margins(y=0.22)  # room for the legend
        finish(row[0], f"{setting}: where skip and conv are strong", "", SLOPE)
        for look, (shared, last) in enumerate(pairs):
            mine = picked(lines, setting=setting, strength=e2.STRENGTHS[-1], shared=shared, last=last)
            curves(row[1], mine, look, f"shared {shared}, last {last}")
        finish(row[1], f"{setting}: favored weight {e2.STRENGTHS[-1]}", "step", "training loss")
    return figure


def plot_e3(lines: list[dict[str, Any]]) -> Figure:
    """Slope against depth, and the curves of the convolutions at the whole learning rate."""
    figure = Figure(figsize=(12, 7.4), layout="constrained")
    for row, setting in zip(figure.subplots(2, 3), SETTINGS, strict=True):
        for axes, (kind, about) in zip(
            row, {"conv": "convolutions", "half": "half skip, half conv"}.items(), strict=False
        ):
            for look, factor in enumerate(e3.FACTORS):
                mine = picked(lines, setting=setting, kind=kind, factor=factor)
                groups = [picked(mine, depth=depth) for depth in e3.PARENTS]
                swept(axes, list(e3.PARENTS), groups, look, f"learning rate ×{factor:g}")
            axes.set_xticks(list(e3.PARENTS))
            finish(axes, f"{setting}: {about}", "depth (4: the chain; 1: all on the stem)", SLOPE)
        for look, depth in enumerate(e3.PARENTS):
            mine = picked(lines, setting=setting, kind="conv", factor=1.0, depth=depth)
            curves(row[2], mine, look, f"depth {depth}")
        finish(row[2], f"{setting}: convolutions, learning rate ×1", "step", "training loss")
    return figure


def plot_windows(traces: windows.Traces) -> Figure:
    """The lead in log loss of the cell that the theory favors, by step: the mean, and the range over seeds."""
    figure = Figure(figsize=(12, 7.4), layout="constrained")
    for row, setting in zip(figure.subplots(2, 3), SETTINGS, strict=True):
        duels = windows.duels(traces, setting)
        for axes, title in zip(row, ("E1", "E2", "E3"), strict=True):
            mine = [(name, pair) for name, pair in duels.items() if name.startswith(title)]
            for look, (name, pair) in enumerate(mine):
                favored, other = (
                    np.log([line["loss"] for line in sorted(lines, key=lambda line: line["seed"])]) for lines in pair
                )
                ahead, steps, color = other - favored, pair[0][0]["steps"], LOOKS[look][0]
                axes.plot(steps, ahead.mean(0), color=color, label=name.partition(", ")[2])
                axes.fill_between(steps, ahead.min(0), ahead.max(0), color=color, alpha=0.15, lw=0)
            axes.axhline(0, color="#1f2937", lw=0.8)
            finish(axes, f"{setting}: {title}", "step", "log loss of the other − of the favored")
    return figure


def plot_e4(lines: list[dict[str, Any]]) -> Figure:
    """Measured slopes of the random cells against what predicts them."""
    figure = Figure(figsize=(12, 7.4), layout="constrained")
    shown = ("log rate, to the letter", "skip in all", "gradient at the start")
    for row, setting in zip(figure.subplots(2, 3), SETTINGS, strict=True):
        predicted, mean, each = e4.columns(lines, setting)
        for look, (axes, name) in enumerate(zip(row, shown, strict=True)):
            color, mark = LOOKS[look]
            x = predicted[name]
            axes.vlines(x, each.min(0), each.max(0), color=color, alpha=0.4, lw=1)
            axes.plot(x, mean, mark, color=color, ms=5)
            finish(axes, f"{setting}: Spearman {spearman(x, mean):+.2f}", name, SLOPE, legend=False)
    return figure


def plot_e5(lines: list[dict[str, Any]], benchmark: dict[str, float]) -> Figure:
    """Accuracies of the NAS-Bench-201 cells against the speed at which they began to learn."""
    found = e5.summary(lines, benchmark)
    speed = found["speed, first two epochs"]
    wanted = {"test accuracy after 12 epochs": 100 * found["test accuracy"]}
    if benchmark:
        wanted["benchmark: accuracy after 200 epochs"] = found["benchmark"]
    figure = Figure(figsize=(5.5 * len(wanted), 4.6), layout="constrained")
    grid = figure.subplots(1, len(wanted), squeeze=False)
    for axes, (name, y) in zip(grid[0], wanted.items(), strict=True):
        points = axes.scatter(speed, y, c=found["skips"], cmap="cividis", s=42, edgecolor="#1f2937", lw=0.6)
        finish(axes, f"{name}: Spearman {spearman(speed, y):+.2f}", SLOPE + ", first two epochs", "%", legend=False)
        ticks = range(int(found["skips"].max()) + 1)
        figure.colorbar(points, ax=axes, label="skips in the cell", ticks=list(ticks))
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True, help="the folder of the traces")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--format", choices=["svg", "png"], default="svg")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    draw = {"e1": plot_e1, "e2": plot_e2, "e3": plot_e3, "e4": plot_e4}
    # Without own settings of the user, a date and random names, the same traces give the same bytes.
    undated = {"Date": None} if given.format == "svg" else None
    with style.context(["default", {"svg.fonttype": "none", "svg.hashsalt": "theory", "font.size": 9}]):
        for name in ("e1", "e2", "e3", "e4", "e5"):
            lines = read(given.runs / f"{name}.jsonl")
            if lines:
                figure = plot_e5(lines, e5.from_table(None, given.runs)) if name == "e5" else draw[name](lines)
                figure.savefig(given.out / f"{name}.{given.format}", dpi=110, metadata=undated)
        traces = {name: read(given.runs / f"{name}.jsonl") for name in ("e1", "e2", "e3")}
        if all(traces.values()):
            plot_windows(traces).savefig(given.out / f"windows.{given.format}", dpi=110, metadata=undated)


if __name__ == "__main__":
    main()
