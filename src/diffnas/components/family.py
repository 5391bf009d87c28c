"""Families: which cells on the way to the result are worth a network of their own, as positions in the history."""

from __future__ import annotations

from collections.abc import Callable

from diffnas.components.control import removed
from diffnas.components.stopping import History
from diffnas.space import SearchSpace

Family = Callable[[History, SearchSpace], list[int]]


def alone(history: History, space: SearchSpace) -> list[int]:
    """None: the result stands for the search."""
    return []


def quiet(history: History, space: SearchSpace, *, epochs: int = 3) -> list[int]:
    """The cells that stood still for more than ``epochs`` epochs before pruning went on: GOLD-NAS (Bi et al., 2020).

    >>> from diffnas.space import s2
    >>> quiet([{"indicators": {"live_ops": left}} for left in (56, 50, 50, 50, 49, 48, 48, 48, 48, 48, 47)], s2)
    [9]
    """
    found, still = [], 0
    for epoch, gone in enumerate(removed(history, space)):
        if gone and still > epochs:
            found.append(epoch - 1)
        still = 0 if gone else still + 1
    return found
