"""Stopping rules: functions from the history of a search and its space to a reason to stop, or None."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from diffnas.components.traits import traits
from diffnas.genotype.collapse import EIGENVALUE
from diffnas.skeleton import skeleton_of
from diffnas.space import WEIGHTLESS_OPS, SearchSpace

# The trace so far, one mapping an epoch, as the run folder keeps it.
History = Sequence[Mapping[str, Any]]
Stopping = Callable[[History, SearchSpace], str | None]


def all_decided(history: History, space: SearchSpace) -> str | None:
    """Stop when each edge has one operation left, because then nothing can change.

    >>> from diffnas.space import s2
    >>> all_decided([{"keep": [[True, False], [False, True]]}], s2)
    'every edge is decided'
    """
    decided = bool(history) and all(sum(row) == 1 for row in history[-1]["keep"])
    return "every edge is decided" if decided else None


def all_single(history: History, space: SearchSpace) -> str | None:
    """Stop when the edges into each node have one operation left in all, because no node can then lose more.

    ``none`` does not count.
    """
    if not history:
        return None
    none, left = space.column("none"), dict[tuple[str, int], int]()
    for (kind, edge), row in zip(space.edges, history[-1]["keep"], strict=True):
        kept = sum(kept for column, kept in enumerate(row) if column != none)
        left[kind, edge.target] = left.get((kind, edge.target), 0) + kept
    return "every node has one operation left" if all(count <= 1 for count in left.values()) else None


def macs_left(history: History, space: SearchSpace, *, share: float = 0.12) -> str | None:
    """Stop when the operations in play have at most ``share`` of the multiply-adds of all offered operations.

    This is the lower limit of GOLD-NAS (Bi et al., 2020), told as a share, for supernets of any size. The default is
    their value: 240 of 777 million, of which 166 million are not in the operations.

    >>> from diffnas.space import s2
    >>> macs_left([{"macs_left": 0.1}], s2)
    'the operations have 10.0% of their multiply-adds left, at most 12.0% were wanted'
    """
    left = history[-1]["macs_left"] if history else 1.0
    if left > share:
        return None
    return f"the operations have {left:.1%} of their multiply-adds left, at most {share:.1%} were wanted"


def few_macs(history: History, space: SearchSpace, *, macs: float = 240e6) -> str | None:
    """Stop when the supernet, with the operations in play, has at most ``macs`` multiply-adds for one picture.

    >>> from diffnas.space import s2
    >>> few_macs([{"macs": 239_000_000}], s2)
    'the supernet has 239.0 million multiply-adds left, at most 240.0 million were wanted'
    """
    left = history[-1]["macs"] if history else math.inf
    if left > macs:
        return None
    return f"the supernet has {left / 1e6:.1f} million multiply-adds left, at most {macs / 1e6:.1f} million were wanted"


def small_enough(history: History, space: SearchSpace, *, parameters: float = 1e6) -> str | None:
    """Stop when the network of the cells read off, at its published size, has at most ``parameters`` parameters.

    An optional end of single-level sigmoid DARTS (Hou & Jin, 2020). We do not know the paper's target.

    >>> from diffnas.space import s2
    >>> small_enough([{"found_parameters": 900_000}], s2)
    'the network of the cells has 900,000 parameters, at most 1,000,000 were wanted'
    """
    size = history[-1]["found_parameters"] if history else None
    if size is None or size > parameters:
        return None
    return f"the network of the cells has {size:,} parameters, at most {parameters:,.0f} were wanted"


@traits(needs_skips=True)
def skip_count(history: History, space: SearchSpace, *, count: int = 2) -> str | None:
    """Stop once the normal cell that would be read off has ``count`` or more skip connections.

    If there are several normal cells, one is enough. Criterion 1 of DARTS+ (Liang et al., 2019): skips soon win once
    the weights begin to overfit.
    """
    skips = count_skips(history[-1]) if history else 0
    return f"the normal cell has {skips} skip connections" if skips >= count else None


def count_skips(line: Mapping[str, Any]) -> int:
    """How many connections of the normal cell are skips, in a line of the trace; the most of several normal cells."""
    genotype: Mapping[str, Any] = line["genotype"]
    cells = [
        genotype["cells"][name] for name in skeleton_of(genotype["skeleton"]).normal_cells(list(genotype["cells"]))
    ]
    counts: list[int] = [
        [connection["op"] for connection in cell["connections"]].count("skip_connect") for cell in cells
    ]
    return max(counts)


def stable_ranks(
    history: History,
    space: SearchSpace,
    *,
    epochs: int = 10,
    edges: Literal["all", "any"] = "all",
    ranks: Literal["first", "full"] = "first",
) -> str | None:
    """Stop once the ranking of operations with network weights is the same for ``epochs`` epochs, in the normal cell.

    Criterion 2 of DARTS+ (Liang et al., 2019). Reports disagree on which edges and ranks must be stable, so these are
    options. Edges with fewer than two such operations have no ranking.

    Args:
        history: the trace.
        space: the space of the rows and columns.
        epochs: for how many epochs the rankings must not change.
        edges: whether all edges must be stable, or any one is enough.
        ranks: whether only the first operation of a ranking must stay, or the full order.
    """
    recent = [_rankings(line, space, ranks) for line in history[-epochs - 1 :]]
    stable = [len(set(of_edge)) == 1 for of_edge in zip(*recent, strict=True)]
    if len(recent) <= epochs or not stable or not (all(stable) if edges == "all" else any(stable)):
        return None
    return f"the ranking of operations that learn has not changed for {epochs} epochs"


def _rankings(line: Mapping[str, Any], space: SearchSpace, ranks: str) -> list[tuple[int, ...]]:
    """The kept columns with network weights, strongest first, for each edge of normal cells that offers two or more.

    If ``ranks`` is "first", only the strongest column of an edge is listed.
    """
    normal = space.normal_cells
    learning = [column for column, op in enumerate(space.ops) if op not in WEIGHTLESS_OPS]
    found = []
    for (kind, _), offered, alpha, keep in zip(space.edges, space.offered, line["alpha"], line["keep"], strict=True):
        if kind in normal and sum(offered[column] for column in learning) >= 2:
            order = sorted((column for column in learning if keep[column]), key=lambda column: -alpha[column])
            found.append(tuple(order[:1] if ranks == "first" else order))
    return found


def after(history: History, space: SearchSpace, *, epochs: int = 25) -> str | None:
    """Stop after ``epochs`` epochs, while schedules are those of the full number of epochs.

    GAEA (Li et al., 2021) searched NAS-Bench-201 for 25 of 50 epochs.

    >>> from diffnas.space import s2
    >>> after([{}] * 25, s2, epochs=25)
    '25 epochs are over'
    """
    return f"{epochs} epochs are over" if len(history) >= epochs else None


@traits(reads_eigenvalue=True, stops_by="eigenvalue")
def eigenvalue_growth(
    history: History,
    space: SearchSpace,
    *,
    factor: float = EIGENVALUE.look,
    window: int = 5,
    lag: int = 4,
    start: int = 10,
) -> str | None:
    """Stop once the largest eigenvalue of the Hessian for alpha has grown: the early stop of RobustDARTS.

    DARTS-ES (Zela et al., 2020). Its result is the cell of the epoch that ``before_growth`` returns.

    Args:
        history: the trace, with eigenvalues in some of its lines.
        space: ignored.
        factor: stop if the mean over the last window is more than ``factor`` times an earlier mean.
        window: how many measurements each mean has. A mean stands for the epoch of its middle measurement.
        lag: how many measurements lie between the starts of the two windows.
        start: the first epoch for which the earlier mean may stand. Before it, eigenvalues always grow.
    """
    earlier = before_growth(history, factor=factor, window=window, lag=lag, start=start)
    if earlier is None:
        return None
    return f"the largest eigenvalue for alpha has grown to more than {factor:g} times what it was in epoch {earlier}"


def before_growth(
    history: History, *, factor: float = EIGENVALUE.look, window: int = 5, lag: int = 4, start: int = 10
) -> int | None:
    """The epoch after which eigenvalues grew, as a position in the history; None if they did not grow.

    It is the epoch of the earlier mean. The arguments are those of ``eigenvalue_growth``.

    >>> history = [{"eigenvalue": 0.1 if epoch < 16 else 0.2} for epoch in range(22)]
    >>> before_growth(history)
    15
    """
    measured = [(epoch, line["eigenvalue"]) for epoch, line in enumerate(history) if line["eigenvalue"] is not None]
    if len(measured) < window + lag:
        return None
    values = [eigenvalue for _, eigenvalue in measured]
    now, before = sum(values[-window:]), sum(values[-window - lag : -lag])
    earlier, _ = measured[-1 - window // 2 - lag]
    return earlier if earlier >= start and now > factor * before else None
