"""Texts: the embedded ones and a user's own, as streams of tokens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from diffnas.data.data_set import DataSet
from diffnas.data.sequences import Stream
from diffnas.data.text.corpus import Corpus
from diffnas.data.text.embedded import plays, python_docs
from diffnas.data.text.files import is_text, read_corpus
from diffnas.data.tokens import Kind, is_prepared, learned
from diffnas.names import showable

__all__ = ["NAMED", "embedded_text", "is_text", "text_in"]

NAMED: dict[str, Callable[[], Corpus]] = {"text": plays, "python-docs": python_docs}
"""The texts that need no file."""

_LARGE, _MANY = 5_000_000, 300
"""Words are the tokens of a text with at least so many characters, of which at least so many differ."""


def embedded_text(name: str, *, tokens: str | None = None, lower: bool | None = None) -> DataSet:
    """The embedded text called ``name``.

    >>> data = embedded_text("text")
    >>> data.channels, len(data.train)
    (65, 920331)
    """
    return _data_set(name, NAMED[name](), tokens, lower)


def text_in(
    place: str | Path, *, tokens: str | None = None, encoding: str | None = None, lower: bool | None = None
) -> DataSet:
    """The text in a file, or in a folder of texts; see :func:`diffnas.data.text.files.read_corpus`.

    Args:
        place: the file or folder.
        tokens: "characters" or "words"; None chooses. Rare words of a prepared text are ``<unk>`` already; its tokens
            stand between spaces.
        encoding: how the files are encoded; None for UTF-8.
        lower: whether words are in lower case; None for yes, except in a prepared text.

    Raises:
        ValueError: for a text that cannot be read, or has fewer than two different tokens.
        FileNotFoundError: if there is no such file.
    """
    return _data_set(Path(place).resolve().name, read_corpus(Path(place), encoding), tokens, lower)


def _data_set(name: str, corpus: Corpus, tokens: str | None, lower: bool | None) -> DataSet:
    kind = _kind(corpus.train, tokens)
    if kind == "characters" and lower:
        corpus = Corpus(*(part.lower() for part in corpus))
    found, left_out = learned(corpus.train, kind, lower=kind == "words" if lower is None else lower)
    if len(found.vocabulary) < 2:
        raise ValueError(
            f"{showable(name)}: the training text has one distinct token, so nothing can be learned of it."
        )
    parts = [Stream(steps=found.encode(part), channels=len(found.vocabulary)) for part in corpus]
    train, valid, test = parts
    for part, steps in zip(("training", "validation", "test"), parts, strict=True):
        if len(steps) < 2:
            raise ValueError(
                f"{showable(name)}: the {part} text has {len(steps)} tokens, and 2 or more are needed. Use more text."
            )
    remarks = (
        f"{showable(name)}: the vocabulary has the {len(found.vocabulary):,} most frequent words; {left_out:,} words "
        "that occur twice or more are read as <unk>, as are all words that occur once.",
    )
    return DataSet(
        name=name,
        train=train,
        valid=valid,
        test=test,
        classes=found.vocabulary,
        mean=(),
        std=(),
        tokens=found,
        remarks=remarks if left_out else (),
    )


def _kind(train: str, tokens: str | None) -> Kind:
    """What a token is: as asked, or words for a large text of many different characters."""
    if tokens == "characters":
        return "characters"
    if is_prepared(train):
        return "split"
    large = len(train) >= _LARGE and len(set(train)) >= _MANY
    return "words" if tokens == "words" or large else "characters"
