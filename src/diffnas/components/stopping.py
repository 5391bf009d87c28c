"""Stopping rules: from the history of a search to a reason to stop, or None."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

# The trace so far, one mapping an epoch, as the run folder keeps it.
History = Sequence[Mapping[str, Any]]
Stopping = Callable[[History], str | None]


def all_decided(history: History) -> str | None:
    """Stop when every edge has one operation left: nothing can change any more.

    >>> all_decided([{"keep": [[True, False], [False, True]]}])
    'every edge is decided'
    """
    decided = bool(history) and all(sum(row) == 1 for row in history[-1]["keep"])
    return "every edge is decided" if decided else None
