"""Controls: scales that follow what a search has done so far, from its history and its space to a number."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from diffnas.components.stopping import History
from diffnas.space import SearchSpace

Control = Callable[[History, SearchSpace], float]


def growing(history: History, space: SearchSpace, *, step: float = 1e-5, factor: float = 2.0, enough: int = 4) -> float:
    """A scale that grows ever faster until epochs remove ``enough`` operations, and then falls: GOLD-NAS' lambda.

    It begins at 0 (Bi et al., 2020). After an epoch that removed fewer, its step is multiplied by ``factor`` and added;
    after one that removed enough, the step is as at first, and the scale is divided by ``factor``.

    >>> from diffnas.space import s2
    >>> live = [{"indicators": {"live_ops": left}} for left in (56, 55, 51)]
    >>> [growing(live[:epochs], s2, step=1.0) for epochs in range(4)]
    [0.0, 2.0, 6.0, 3.0]
    """
    scale, stride = 0.0, step
    for gone in removed(history, space):
        if gone >= enough:
            scale, stride = scale / factor, step
        else:
            stride *= factor
            scale += stride
    return scale


def removed(history: History, space: SearchSpace) -> list[int]:
    """How many operations each epoch has removed."""
    live = [sum(map(sum, space.offered)), *(line["indicators"]["live_ops"] for line in history)]
    return [before - now for before, now in pairwise(live)]
