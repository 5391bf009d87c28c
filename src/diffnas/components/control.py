"""Controls: functions from the history of a search and its space to the scale of a regularizer."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from diffnas.components.stopping import History
from diffnas.space import SearchSpace

Control = Callable[[History, SearchSpace], float]


def growing(history: History, space: SearchSpace, *, step: float = 1e-5, factor: float = 2.0, enough: int = 4) -> float:
    """A scale that grows ever faster while epochs remove too few operations, and falls when one removes enough.

    Lambda in GOLD-NAS (Bi et al., 2020). The scale begins at 0. After an epoch that removed fewer than ``enough``
    operations, the step is multiplied by ``factor`` and added to the scale. After an epoch that removed ``enough``,
    the scale is divided by ``factor``, and the step is ``step`` again.

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
