"""Tokens: how a text becomes numbers, and numbers become text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import torch
from torch import Tensor

UNKNOWN, LINE_END = "<unk>", "<eos>"

Kind = Literal["characters", "words", "split"]
"""What a token is: a character; a word or a mark; or, in texts that were prepared, what stands between spaces."""

KINDS: tuple[str, ...] = get_args(Kind)

MOST_WORDS = 20_000
"""The most words that a vocabulary of a user's text has."""

_WORDS = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?|\n|\S")


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """A vocabulary, and how a text is cut into its tokens.

    Attributes:
        kind: what a token is.
        lower: whether words are in lower case.
        vocabulary: the tokens by their number. ``<unk>`` is the number of each token that training never had.
    """

    kind: Kind
    vocabulary: tuple[str, ...]
    lower: bool = True

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {token: number for number, token in enumerate(self.vocabulary)}

    def encode(self, text: str) -> Tensor:
        """The numbers of a text's tokens, ``(tokens,)``, int64.

        >>> Tokens(kind="words", vocabulary=("<unk>", "to", "be")).encode("To be, or").tolist()
        [1, 2, 0, 0]
        """
        numbers, unknown = self._numbers, self._numbers.get(UNKNOWN, 0)
        return torch.tensor([numbers.get(each, unknown) for each in cut(text, self.kind, lower=self.lower)])

    def decode(self, numbers: Iterable[int]) -> str:
        """The text of some tokens. Words have a space before them, except after a line end and before a mark.

        >>> Tokens(kind="words", vocabulary=("<unk>", "to", "be", ",", "or")).decode([1, 2, 3, 4])
        'to be, or'
        """
        tokens = [self.vocabulary[number] for number in numbers]
        return "".join(tokens) if self.kind == "characters" else _joined(tokens)


def cut(text: str, kind: Kind, *, lower: bool) -> Sequence[str]:
    """The tokens of a text.

    >>> cut("He's here -- twice.\\nOh", "words", lower=True)
    ["he's", 'here', '-', '-', 'twice', '.', '\\n', 'oh']
    >>> cut("no it was n't\\nblack monday\\n", "split", lower=False)
    ['no', 'it', 'was', "n't", '<eos>', 'black', 'monday', '<eos>']
    """
    if kind == "characters":
        return text
    if lower:
        text = text.lower()
    if kind == "words":
        return _WORDS.findall(text)
    return [token for line in text.splitlines() for token in (*line.split(), LINE_END)]


def learned(text: str, kind: Kind, *, lower: bool) -> tuple[Tokens, int]:
    """The tokens of a training text, and how many kinds of words found no place.

    Characters are all in the vocabulary, and so is all that was prepared. Of words, those that occur twice or more are,
    but at most 20,000, the most frequent ones.
    """
    counts = Counter(cut(text, kind, lower=lower))
    if kind != "words":
        found = sorted(counts)
        return Tokens(kind=kind, vocabulary=tuple(found), lower=lower), 0
    frequent = sorted((word for word, count in counts.items() if count > 1), key=lambda word: (-counts[word], word))
    return Tokens(kind=kind, vocabulary=(UNKNOWN, *frequent[:MOST_WORDS]), lower=lower), max(
        0, len(frequent) - MOST_WORDS
    )


def is_prepared(text: str) -> bool:
    """Whether rare words of a text were replaced by ``<unk>``, as in the Penn Treebank and WikiText."""
    return f" {UNKNOWN} " in text


def _joined(tokens: Sequence[str]) -> str:
    parts: list[str] = []
    for before, token in zip(("\n", *tokens), tokens, strict=False):
        token = "\n" if token == LINE_END else token
        glued = before in ("\n", LINE_END) or re.fullmatch(r"[^\w\s<]", token) or token == "\n"
        parts.append(token if glued else f" {token}")
    return "".join(parts)
