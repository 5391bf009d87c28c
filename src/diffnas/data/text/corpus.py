"""A corpus: the texts for training, validation and test."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

_CUTS = 0.9, 0.95


class Corpus(NamedTuple):
    """Three texts."""

    train: str
    valid: str
    test: str


def in_three(texts: Iterable[str]) -> Corpus:
    """A corpus of whole texts. Each is cut at the first line end at or after 90 % and 95 % of its characters.

    A text without a line end there is cut at exactly these shares. The parts are joined by line ends.

    >>> in_three(["aaaaaaaaaaaaaaaaa\\nb\\nc\\n"])
    Corpus(train='aaaaaaaaaaaaaaaaa\\nb\\n', valid='c\\n', test='')
    """
    cut = [_cut(text) for text in texts]
    return Corpus(*("\n".join(parts) for parts in zip(*cut, strict=True)))


def _cut(text: str) -> tuple[str, str, str]:
    first, second = (_line_end(text, int(share * len(text))) for share in _CUTS)
    return text[:first], text[first:second], text[second:]


def _line_end(text: str, least: int) -> int:
    found = text.find("\n", least)
    # One overlong line, such as a text without line ends, is cut inside.
    far = found < 0 or found - least > len(text) // 20
    return least if far else found + 1
