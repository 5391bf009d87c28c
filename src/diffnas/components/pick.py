"""Which epoch's cells are the result."""

from __future__ import annotations

import math
from collections.abc import Callable

from diffnas.components.stopping import History, before_growth, count_skips
from diffnas.components.traits import traits
from diffnas.genotype.collapse import EIGENVALUE
from diffnas.space import SearchSpace
from diffnas.task import Task

Pick = Callable[[History, SearchSpace, Task], int]
"""The history of a search, its space and what is learned to a position in the history."""


@traits(takes_last=True)
def last(history: History, space: SearchSpace, task: Task) -> int:
    """The last epoch, as in DARTS (Liu et al., 2019)."""
    return len(history) - 1


def fewer_skips(history: History, space: SearchSpace, task: Task, *, count: int = 2) -> int:
    """The last epoch whose normal cell has fewer skip connections than ``count``; the first one if none has.

    Our reading of DARTS+ (Liang et al., 2019), which ends a search at ``count`` and does not say which cells it takes.
    """
    return max((epoch for epoch, line in enumerate(history) if count_skips(line) < count), default=0)


@traits(needs_held_out=True)
def best_held_out(history: History, space: SearchSpace, task: Task) -> int:
    """The epoch in which the supernet did best on held-out pictures, the later one of two that are as good.

    As GAEA (Li et al., 2021) chooses on two levels. What counts is the metric of the task that decides, such as the
    accuracy, over the epoch's own batches; an epoch that saw none of these pictures, for alpha was warming up, comes
    last.
    """
    seen = [line["held_out"] for line in history]
    scores = [-math.inf if metrics is None else task.score(metrics) for metrics in seen]
    return max(range(len(scores)), key=lambda epoch: (scores[epoch], epoch))


@traits(reads_eigenvalue=True, undoes="eigenvalue")
def before_eigenvalue_growth(
    history: History,
    space: SearchSpace,
    task: Task,
    *,
    factor: float = EIGENVALUE.look,
    window: int = 5,
    lag: int = 4,
    start: int = 10,
) -> int:
    """The epoch from which the eigenvalues for alpha had grown when the search ended; the last one if they had not.

    The roll-back of DARTS-ES (Zela et al., 2020); the options are those of ``stopping.eigenvalue_growth``.
    """
    earlier = before_growth(history, factor=factor, window=window, lag=lag, start=start)
    return len(history) - 1 if earlier is None else earlier
