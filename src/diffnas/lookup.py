"""Finding an entry of a table by name. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import TypeVar

T = TypeVar("T")


def lookup(kind: str, name: str, table: Mapping[str, T]) -> T:
    """The entry called ``name``.

    Args:
        kind: what the entries are, for the message: "operation", "weighting".
        name: the name of an entry.
        table: the entries by name.

    Raises:
        ValueError: if there is no such entry; the message has the nearest name and the list of all.

    >>> lookup("number", "two", {"one": 1, "two": 2})
    2
    """
    if isinstance(name, str) and name in table:
        return table[name]
    shown = repr(name[:80] if isinstance(name, str) else name)[:84]
    raise ValueError(f"unknown {kind} {shown}.{nearest(name, table)} Known: {', '.join(sorted(table))}.")


def nearest(name: str, table: Mapping[str, object]) -> str:
    """A question after the nearest name in a table, with a space before it; empty if none is near.

    >>> nearest("tow", {"one": 1, "two": 2}), nearest("three", {"one": 1, "two": 2})
    (" Did you mean 'two'?", '')
    """
    close = get_close_matches(name, table, n=1) if isinstance(name, str) else []
    return f" Did you mean {close[0]!r}?" if close else ""
