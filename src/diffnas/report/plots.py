"""Plots for papers: the plots of the report, drawn by matplotlib as SVG and PNG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffnas.genotype import collapse
from diffnas.report import measure, palette
from diffnas.report.contest import read_verdict
from diffnas.report.draw import SOFTWARE, draw
from diffnas.report.layout import node_name, short
from diffnas.report.reading import Kind, Run, Search, read_run
from diffnas.report.records import Line
from diffnas.report.verdict import Contender
from diffnas.report.words import count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STYLE = {
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8b9099",
    "axes.linewidth": 0.6,
    "axes.titlesize": 8,
    "axes.titlelocation": "left",
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.2,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "diffnas",  # the same run gives the same bytes
}
_INK, _ACCENT, _WARM = "#1c1c1a", "#1c4fc4", "#9a5b00"


def write_figures(path: str | Path, folder: str | Path) -> list[Path]:
    """Draw a run for a paper, and return the paths of the files.

    The figures are the cells, the weights of every kind of cell, learning, cost, and the contest if there was one, each
    as SVG and as PNG.

    Args:
        path: the run folder.
        folder: where the figures go.

    Raises:
        ValueError: if there is no run, or it is damaged.
    """
    run, place = read_run(path), Path(folder)
    cells = run.search.cells if run.search else run.evaluation.genotype if run.evaluation else None
    place.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    if cells:
        written += [file for suffix in (".svg", ".png") for file in draw(cells, place / f"cells{suffix}")]
    said = read_verdict(Path(path))
    with drawing():
        for name, figure in _figures(run):
            written += save(figure, place / name)
        if said:
            written += save(contest(said.contenders), place / "contest")
    return written


@contextmanager
def drawing() -> Iterator[None]:
    """A context in which matplotlib draws in the style of our figures, whatever the user's own settings are."""
    from matplotlib import style

    with style.context(["default", _STYLE]):
        yield


def save(figure: Figure, path: Path) -> list[Path]:
    """Write a figure as SVG and as PNG, and return the paths of both files."""
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    figure.savefig(path.with_suffix(".png"), dpi=200, metadata=SOFTWARE)
    return [path.with_suffix(".svg"), path.with_suffix(".png")]


def _figures(run: Run) -> Iterator[tuple[str, Figure]]:
    if run.search and run.search.lines:
        for kind in run.search.kinds:
            yield f"weights-{kind.name}", weights(run.search, kind)
        yield "cost", cost(run.search)
    if any(phase and phase.lines for phase in (run.search, run.evaluation)):
        yield "learning", learning(run)


def weights(search: Search, kind: Kind) -> Figure:
    """The mixing weights on every edge of a kind of cell, over the epochs.

    Each plot is one edge: its column is the source node, its row the target node. A line that ends in a dot was pruned
    there. A bold line is an operation that would be read off at the end.
    """
    sources, targets = (sorted({edge[end] for edge in kind.edges}) for end in (0, 1))
    figure = _sheet(1.65 * len(sources), 1.15 * len(targets) + 0.5)
    grid = figure.subplots(len(targets), len(sources), sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat:
        axes.set_visible(False)
    for edge, (source, target) in enumerate(kind.edges):
        axes = grid[targets.index(target)][sources.index(source)]
        axes.set_visible(True)
        axes.tick_params(labelleft=source == sources[0], labelbottom=True)
        _edge(axes, search, kind, edge)
    grid[0][0].set_ylim(bottom=0)  # for all plots, which share this axis; set after all lines are drawn
    grid[0][0].xaxis.get_major_locator().set_params(integer=True)
    used = dict.fromkeys(op for ops in kind.offered for op in ops)
    handles = [_sample(search.ops[op]) for op in used]
    figure.legend(handles=handles, loc="upper right", ncols=2, fontsize=8)
    figure.supxlabel("epoch", fontsize=8)
    figure.supylabel("weight", fontsize=8)
    return figure


def _edge(axes: Axes, search: Search, kind: Kind, edge: int) -> None:
    row, (source, target) = kind.first + edge, kind.edges[edge]
    epochs = [line.epoch + 1 for line in search.lines]
    cell = search.genotypes[-1].cells.get(kind.name)
    read = [c.op for c in cell.connections if (c.source, c.target) == (source, target)] if cell else []
    for op in kind.offered[edge]:
        name = search.ops[op]
        lived = [
            (epoch, line.mix[row][op]) for epoch, line in zip(epochs, search.lines, strict=True) if line.keep[row][op]
        ]
        look = {**_look(name), "linewidth": 1.8} if name in read else _look(name)
        if not lived:
            continue
        axes.plot(*zip(*lived, strict=True), **look)
        if lived[-1][0] < epochs[-1]:
            axes.plot(*lived[-1], ".", color=palette.tone(name).light, markersize=5)
    title = f"{node_name(kind.inputs, source)} → {node_name(kind.inputs, target)}"
    axes.set_title(f"{title}   {' + '.join(map(short, read))}" if read else title)


def _look(op: str) -> dict[str, Any]:
    dots = {"linestyle": (0, (1, 1.6))} if op == collapse.NONE else {}
    return {"color": palette.tone(op).light, **dots}


def _sample(op: str) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], label=short(op), **_look(op))


def learning(run: Run) -> Figure:
    """The loss and the metrics of the task over the epochs, of the supernet and of the network."""
    phases = [(name, phase) for name, phase in (("supernet", run.search), ("network", run.evaluation)) if phase]
    quantities = run.task.numbers
    figure = _sheet(3.2 * len(phases), 2.1 * len(quantities))
    grid = figure.subplots(len(quantities), len(phases), sharey="row", squeeze=False)
    for column, (name, phase) in enumerate(phases):
        for row, quantity in enumerate(quantities):
            axes = grid[row][column]
            _curve(axes, phase.lines, "train", quantity, "training", _INK)
            _curve(axes, phase.lines, "held_out", quantity, "held out", _ACCENT)
            axes.set_title(f"{quantity} of the {name}")
            axes.set_xlabel("epoch")
            axes.xaxis.get_major_locator().set_params(integer=True)
    if run.evaluation and run.evaluation.result:
        tested = run.evaluation.result.test
        for row, quantity in enumerate(quantities):
            if quantity in tested:
                grid[row][-1].axhline(tested[quantity], color=_WARM, linestyle="--", label="test, at the end")
    for axes in grid.flat:
        if axes.get_legend_handles_labels()[0]:
            axes.legend()
    return figure


def _curve(axes: Axes, lines: Sequence[Line], split: str, quantity: str, label: str, color: str) -> None:
    measured = [(line.epoch + 1, getattr(line, split, None) or {}) for line in lines]
    known = [(epoch, numbers[quantity]) for epoch, numbers in measured if quantity in numbers]
    if known:
        axes.plot(*zip(*known, strict=True), color=color, label=label)


def cost(search: Search) -> Figure:
    """Operations alive, seconds for a step, and multiply-adds, over the epochs.

    If some epoch of the trace does not have its number of steps, the seconds are those for an epoch.
    """
    epochs = [line.epoch + 1 for line in search.lines]
    steps = [value for value in measure.step_seconds(search.lines) if value is not None]
    seconds = steps if len(steps) == len(epochs) else [line.seconds for line in search.lines]
    figure = _sheet(9, 2.2)
    alive, time, macs = figure.subplots(1, 3)
    alive.plot(epochs, measure.live(search), color=_INK, label="all")
    alive.plot(epochs, measure.live(search, learning=True), color=_ACCENT, label="with weights of their own")
    alive.legend()
    time.plot(epochs, seconds, color=_INK)
    macs.plot(epochs, [line.macs / 1e6 for line in search.lines], color=_INK)
    of = "step" if seconds is steps else "epoch"
    for axes, title in ((alive, "operations alive"), (time, f"seconds a {of}"), (macs, "multiply-adds, millions")):
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.set_ylim(bottom=0)
        axes.xaxis.get_major_locator().set_params(integer=True)
    return figure


def contest(contenders: Sequence[Contender]) -> Figure:
    """The test accuracy of each network of a contest, the best one on top, with its interval and its multiply-adds."""
    ordered = sorted(contenders, key=lambda each: each.accuracy)
    figure = _sheet(6.0, 0.32 * len(ordered) + 0.7)
    axes = figure.subplots()
    for row, each in enumerate(ordered):
        color = {"found": _ACCENT, "hand": _WARM}.get(each.kind, _INK)
        axes.plot([100 * end for end in each.span()], [row, row], color=color)
        axes.plot(100 * each.accuracy, row, "o", color=color)
    axes.set_yticks(range(len(ordered)), [f"{each.name}, {count(each.macs)}" for each in ordered])
    axes.set_ylim(-0.6, len(ordered) - 0.4)
    axes.set_xlabel("test accuracy in %, beside the multiply-adds")
    axes.grid(axis="x", linewidth=0.4, color="#d8d6cf")
    return figure


def _sheet(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(max(width, 3.2), height), layout="constrained")
