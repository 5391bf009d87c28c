"""The data sets that a user can name, as plain data, so that the command line lists them without torch."""

from __future__ import annotations

from collections.abc import Sequence

DESCRIPTIONS = {
    "digits": "1,797 grey 8x8 digits in 10 classes, embedded (scikit-learn); needs no download",
    "cifar10": "60,000 color 32x32 pictures in 10 classes; --data-dir or --download",
    "cifar100": "60,000 color 32x32 pictures in 100 classes; --data-dir or --download",
    "text": "eight plays of Shakespeare, 1 million characters, embedded; needs no download",
    "python-docs": "the help texts of Python, half a million characters, which differ between its versions",
    "hub:NAME": "a picture data set of the Hugging Face hub, hub:NAME or hub:NAME:CONFIG (extra: hub)",
    "FOLDER": "your own pictures: FOLDER/train/CLASS/* and FOLDER/test/CLASS/*, FOLDER/CLASS/*, or FOLDER/*.tar; or "
    "texts; or a sequence in each FOLDER/CLASS/*.csv",
    "FILE": "your own text, FILE.txt or FILE.md, to predict its next tokens; or FILE.csv, to predict its next row",
}
"""The names that :func:`diffnas.data.load` takes, each with one line about it."""

UNITS = {
    "pictures": ("picture", "pictures"),
    "text": ("token", "tokens"),
    "forecast": ("row", "rows"),
    "labelled": ("step", "sequences"),
}
"""For each kind of data, the unit to which the cost of a network refers, and the name of the samples."""

_AT_ONCE = {"text": "window of {} tokens", "forecast": "window of {} rows", "labelled": "sequence of {} steps"}


def units(kind: str, size: Sequence[int]) -> tuple[str, str]:
    """The units of data of a kind, as in ``UNITS``; ``size`` is that of what a network reads at once.

    >>> units("text", [1]), units("text", [64])
    (('token', 'tokens'), ('window of 64 tokens', 'tokens'))
    """
    one, many = UNITS[kind]
    return (_AT_ONCE[kind].format(*size) if kind in _AT_ONCE and size[0] > 1 else one), many
