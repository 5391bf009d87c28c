"""Picks: from the history of a search and its space to the epoch whose cells are the result, as a position."""

from __future__ import annotations

from collections.abc import Callable

from diffnas.components.stopping import History, before_growth, count_skips
from diffnas.components.traits import traits
from diffnas.genotype.collapse import EIGENVALUE
from diffnas.space import SearchSpace

Pick = Callable[[History, SearchSpace], int]


@traits(takes_last=True)
def last(history: History, space: SearchSpace) -> int:
    """The last epoch, as in DARTS (Liu et al., 2019)."""
    return len(history) - 1


def fewer_skips(history: History, space: SearchSpace, *, count: int = 2) -> int:
    """The last epoch whose normal cell has fewer than ``count`` skip connections; the first epoch if there is none.

    DARTS+ (Liang et al., 2019) ends a search at ``count`` and does not say which cells it takes. This is our choice.
    """
    return max((epoch for epoch, line in enumerate(history) if count_skips(line) < count), default=0)


@traits(needs_held_out=True)
def best_held_out(history: History, space: SearchSpace) -> int:
    """The epoch with the best held-out accuracy of the supernet; the latest of equals.

    GAEA (Li et al., 2021) chooses in this way on two levels. The accuracy is that of the epoch's own batches, as the
    supernet learned. Epochs in which alpha was warming up saw no held-out pictures, and rank last.
    """
    seen = [line["held_out_accuracy"] for line in history]
    return max(range(len(seen)), key=lambda epoch: (-1.0 if seen[epoch] is None else seen[epoch], epoch))


@traits(reads_eigenvalue=True, undoes="eigenvalue")
def before_eigenvalue_growth(
    history: History,
    space: SearchSpace,
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
