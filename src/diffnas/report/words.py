"""Numbers as people say them. No torch."""

from __future__ import annotations


def count(number: float) -> str:
    """A number as people say it.

    >>> count(812), count(203338), count(8553984)
    ('812', '203 k', '8.55 M')
    """
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:g}"


def duration(seconds: float) -> str:
    """Seconds in the units people use.

    >>> duration(7.24), duration(75), duration(7300)
    ('7.2 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min"
