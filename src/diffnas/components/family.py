"""Families: functions that say from which epochs of a search, besides that of its result, cells get a network.

A family takes the history of the search and its space. It returns the positions of these epochs in the history.
"""

from __future__ import annotations

from collections.abc import Callable

from diffnas.components.control import removed
from diffnas.components.stopping import History
from diffnas.space import SearchSpace

Family = Callable[[History, SearchSpace], list[int]]


def alone(history: History, space: SearchSpace) -> list[int]:
    """No epochs: only the search's result gets a network."""
    return []


def quiet(history: History, space: SearchSpace, *, epochs: int = 3) -> list[int]:
    """The last epoch of each pause in pruning that was longer than ``epochs`` epochs: GOLD-NAS (Bi et al., 2020).

    A pause is a row of epochs that removed nothing, followed by one that removed something.

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
