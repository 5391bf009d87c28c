"""Small streams that tests of several folders share."""

from typing import Any

import torch

from diffnas.data import DataSet, Stream
from diffnas.data.text import embedded_text
from diffnas.data.tokens import Tokens

LETTERS = tuple("abcdef")
SMALL: dict[str, Any] = {"batch": 4, "channels": 6, "window": 5, "alpha_lr": 0.03}


def letters(count: int = 120, *, seed: int = 0) -> DataSet:
    """A text of six letters in which each letter nearly always has the same one after it."""
    drawn = torch.Generator().manual_seed(seed)
    noise = torch.rand(count, generator=drawn) < 0.1
    steps = (torch.arange(count) + noise.cumsum(0)) % 6
    parts = {name: Stream(steps=steps, channels=6) for name in ("train", "test", "valid")}
    tokens = Tokens(kind="characters", vocabulary=LETTERS)
    return DataSet(name="letters", **parts, classes=LETTERS, mean=(), std=(), tokens=tokens)


def part_of_plays(train: int, rest: int = 400) -> DataSet:
    """The beginning of the embedded text."""
    from dataclasses import replace

    whole = embedded_text("text")
    counts = {"train": train, "valid": rest, "test": rest}
    return replace(whole, **{name: getattr(whole, name).subset(torch.arange(n)) for name, n in counts.items()})
