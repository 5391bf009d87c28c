"""Picks: functions that choose the epoch whose cells are the result of a search.

A pick takes the history of the search, its space and its task. It returns the position of this epoch in the history.
"""

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


@traits(needs_skips=True)
def fewer_skips(history: History, space: SearchSpace, task: Task, *, count: int = 2) -> int:
    """The last epoch whose normal cell has fewer than ``count`` skip connections; the first epoch if there is none.

    DARTS+ (Liang et al., 2019) ends a search at ``count`` and does not say which cells it takes. This is our choice.
    """
    return max((epoch for epoch, line in enumerate(history) if count_skips(line) < count), default=0)


@traits(needs_held_out=True)
def best_held_out(history: History, space: SearchSpace, task: Task) -> int:
    """The epoch in which the supernet did best on held-out pictures; the latest of equals.

    GAEA (Li et al., 2021) chooses in this way on two levels. The task's first metric decides, such as the accuracy, as
    measured on the epoch's own batches. Epochs in which alpha was warming up saw no held-out pictures, and rank last.
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
    """The epoch after which the eigenvalue for alpha grew, by ``stopping.before_growth``; the last if it did not grow.

    DARTS-ES (Zela et al., 2020) goes back in this way. The options are those of ``stopping.eigenvalue_growth``.
    """
    earlier = before_growth(history, factor=factor, window=window, lag=lag, start=start)
    return len(history) - 1 if earlier is None else earlier
