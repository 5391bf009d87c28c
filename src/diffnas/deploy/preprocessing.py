"""How to make an exported network's input from a picture file: in words, and as a Python file."""

from __future__ import annotations

from inspect import getsource
from pathlib import Path

from diffnas.data import decode

PREPROCESS = "preprocess.py"
PREPROCESSING = (
    "The picture upright, as its EXIF orientation says; transparent pixels white; grey of more than 8 bits scaled so "
    "that the first of levels becomes 0 and the second 255, or from 0 and 65535 where levels is null, rounded and "
    "clipped; grey if channels is 1, else RGB; scaled bilinearly to cover size and cropped at the center; bytes, "
    "(channels, height, width). "
    f"The function read in {PREPROCESS} does it, with Pillow and NumPy: read(file, channels, size, levels)."
)
"""The description of the input in an exported network, for programs that cannot run ``PREPROCESS``."""


def write_preprocess(folder: Path) -> None:
    """Write ``preprocess.py``, a copy of :mod:`diffnas.data.decode`, with which training read its pictures."""
    (folder / PREPROCESS).write_text(getsource(decode), encoding="utf-8")
