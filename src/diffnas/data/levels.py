"""What is black and what is white in grey files of more than 8 bits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Levels(NamedTuple):
    """The values that become black and white in every grey file of more than 8 bits of a data set.

    No such file says which part of its range it fills: 12 bits in a container of 16 are usual, floating point has no
    range at all. So the training pictures decide, once, and the same two values hold for the test, for prediction and
    for an exported network. Values between the two are scaled evenly to 8 bits, values beyond them are clipped.

    Attributes:
        low: becomes 0, black.
        high: becomes 255, white.
    """

    low: float
    high: float


def levels_of(spans: Iterable[tuple[float, float] | None]) -> Levels | None:
    """The levels from the lowest to the highest value of all training pictures of more than 8 bits.

    Args:
        spans: the lowest and the highest value of each training picture; None for one of 8 bits.

    Returns:
        None if no picture has more than 8 bits, or if all their pixels are the same.

    >>> levels_of([(7, 4000), None, (3, 90)])
    Levels(low=3, high=4000)
    """
    deep = [span for span in spans if span is not None]
    if not deep:
        return None
    levels = Levels(min(low for low, _ in deep), max(high for _, high in deep))
    return levels if levels.low < levels.high else None
