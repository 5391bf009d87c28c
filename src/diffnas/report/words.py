"""Numbers as people say them. No torch."""

from __future__ import annotations

COST_WORDS = {
    "macs": ("Multiply-adds", "count"),
    "params": ("Parameters", "count"),
    "memory": ("Memory", "binary"),
    "latency": ("Latency", "brief"),
}
"""Costs that may have a target: what they are called, and what says their numbers, here and on the page."""


def count(number: float) -> str:
    """A number as people say it.

    >>> count(812), count(203338), count(8553984)
    ('812', '203 k', '8.55 M')
    """
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:g}"


def binary(size: float) -> str:
    """A number of bytes.

    >>> binary(105_472), binary(3 * 2**20)
    ('103 KiB', '3 MiB')
    """
    return f"{size / 2**20:.3g} MiB" if size >= 2**20 else f"{size / 2**10:.3g} KiB"


def brief(seconds: float) -> str:
    """A time that is often less than a second.

    >>> brief(0.00022), brief(0.0512), brief(1.5)
    ('0.22 ms', '51.2 ms', '1.5 s')
    """
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1e3 * seconds:.3g} ms"


def duration(seconds: float) -> str:
    """Seconds in the units people use.

    >>> duration(7.24), duration(75), duration(119.7), duration(7300)
    ('7.2 s', '1 min 15 s', '2 min 0 s', '2 h 1 min')
    """
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    # Rounded before it is divided: there are no 60 seconds in a minute's rest.
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def titled(name: str) -> str:
    """A name with a capital at its start, and its other letters as they are.

    >>> titled("test accuracy"), titled("test F1"), titled("mAP")
    ('Test accuracy', 'Test F1', 'MAP')
    """
    return name[:1].upper() + name[1:]
