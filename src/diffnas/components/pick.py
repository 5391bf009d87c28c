"""Which epoch's cells are the result: from the history of a search and its space to a position in the history."""

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
    """The last epoch whose normal cell has fewer skip connections than ``count``; the first one if none has.

    Our reading of DARTS+ (Liang et al., 2019), which ends a search at ``count`` and does not say which cells it takes.
    """
    return max((epoch for epoch, line in enumerate(history) if count_skips(line) < count), default=0)


@traits(needs_held_out=True)
def best_held_out(history: History, space: SearchSpace) -> int:
    """The epoch in which the supernet was right on most held-out pictures, the later one of two that are as good.

    As GAEA (Li et al., 2021) chooses on two levels. The accuracy is the running one of the epoch's own batches; an
    epoch that saw none of these pictures, for alpha was warming up, comes last.
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
    """The epoch from which the eigenvalues for alpha had grown when the search ended; the last one if they had not.

    The roll-back of DARTS-ES (Zela et al., 2020); the options are those of ``stopping.eigenvalue_growth``.
    """
    earlier = before_growth(history, factor=factor, window=window, lag=lag, start=start)
    return len(history) - 1 if earlier is None else earlier
