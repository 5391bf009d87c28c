"""The texts that need no file of the user: eight plays of Shakespeare, and the documentation of Python."""

from __future__ import annotations

import lzma
from pathlib import Path

from diffnas.data.text.corpus import Corpus, in_three

PLAYS = Path(__file__).with_name("plays.txt.xz")


def plays() -> Corpus:
    """Eight plays of Shakespeare, 1,022,417 characters; ``plays.md`` tells their origin.

    The first 90 % of each play are for training, the next 5 % for validation, and the last 5 % for the test.

    >>> [len(part) for part in plays()]
    [920331, 51125, 50975]
    """
    return in_three(lzma.decompress(PLAYS.read_bytes()).decode().split("\0"))


def python_docs() -> Corpus:
    """The help texts that come with Python, about 465,000 characters, which differ between versions of Python."""
    from pydoc_data.topics import topics

    return in_three([f"{topics[name].strip()}\n" for name in sorted(topics)])
