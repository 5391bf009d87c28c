"""Stopping rules: from the history of a search and its space to a reason to stop, or None."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from diffnas.space import SearchSpace

# The trace so far, one mapping an epoch, as the run folder keeps it.
History = Sequence[Mapping[str, Any]]
Stopping = Callable[[History, SearchSpace], str | None]


def all_decided(history: History, space: SearchSpace) -> str | None:
    """Stop when every edge has one operation left: nothing can change any more.

    >>> from diffnas.space import s2
    >>> all_decided([{"keep": [[True, False], [False, True]]}], s2)
    'every edge is decided'
    """
    decided = bool(history) and all(sum(row) == 1 for row in history[-1]["keep"])
    return "every edge is decided" if decided else None


def small_enough(history: History, space: SearchSpace, *, parameters: float = 1e6) -> str | None:
    """Stop when the network of the cells read off, at its published size, has at most so many parameters.

    The optional end of single-level sigmoid DARTS (Hou & Jin, 2020). The paper's target is not known to us.

    >>> from diffnas.space import s2
    >>> small_enough([{"found_parameters": 900_000}], s2)
    'the network of the cells has 900,000 parameters, at most 1,000,000 were wanted'
    """
    size = history[-1]["found_parameters"] if history else None
    if size is None or size > parameters:
        return None
    return f"the network of the cells has {size:,} parameters, at most {parameters:,.0f} were wanted"
