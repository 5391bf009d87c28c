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
