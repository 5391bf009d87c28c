"""The values of black and white in grey files of more than 8 bits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Levels(NamedTuple):
    """The two values that become black and white in all grey files of more than 8 bits in a data set.

    Such a file does not say which part of its range it fills: 12 bits in a container of 16 are usual, and floating
    point has no range at all. So the training pictures decide once, and the same two values hold for the test, for
    prediction and for an exported network. Values between the two are scaled linearly to 8 bits; others are clipped.

    Attributes:
        low: the value that becomes 0, black.
        high: the value that becomes 255, white.
    """

    low: float
    high: float


def levels_of(spans: Iterable[tuple[float, float] | None]) -> Levels | None:
    """The lowest and the highest value in all training pictures of more than 8 bits.

    Args:
        spans: the lowest and the highest value of each training picture; None for one of 8 bits.

    Returns:
        The levels; None if no picture has more than 8 bits, or if all their pixels have one value.

    >>> levels_of([(7, 4000), None, (3, 90)])
    Levels(low=3, high=4000)
    """
    deep = [span for span in spans if span is not None]
    if not deep:
        return None
    levels = Levels(min(low for low, _ in deep), max(high for _, high in deep))
    return levels if levels.low < levels.high else None
