"""Splits of sequences: a stream that is read in order, and short sequences with a label each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import torch
from torch import Tensor

ONE_STEP = (1,)
"""The size of sequences that are read step by step."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Stream:
    """One sequence whose every next step is to be predicted: the tokens of a text, or vectors.

    Attributes:
        steps: tokens, ``(steps,)``, int64; or standardized vectors, ``(steps, d)``, float32.
        channels: the size of the vocabulary, or ``d``.

    >>> stream = Stream(steps=torch.tensor([5, 6, 7, 8]), channels=9)
    >>> stream.take(torch.tensor([[0, 1], [1, 2]]))
    (tensor([[5, 6],
            [6, 7]]), tensor([[6, 7],
            [7, 8]]))
    """

    steps: Tensor = field(repr=False)
    channels: int

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def size(self) -> tuple[int, ...]:
        """The size of a sample, which is one step."""
        return ONE_STEP

    @property
    def is_text(self) -> bool:
        """Whether the steps are tokens."""
        return self.steps.ndim == 1

    def take(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """The steps at ``places``, ``(B, T)``, and the ones after them: ``(B, T)`` each, or ``(B, T, d)``."""
        places = places.to(self.steps.device)
        return self.steps[places], self.steps[places + 1]

    def subset(self, places: Tensor) -> Stream:
        """The part of the stream at consecutive ``places``."""
        return Stream(steps=self.steps[places.to(self.steps.device)], channels=self.channels)

    def to(self, device: torch.device | str) -> Stream:
        """The same stream on ``device``."""
        return Stream(steps=self.steps.to(device), channels=self.channels)

    def parts(self) -> Iterator[bytes]:
        """Bytes that identify the content, for a fingerprint."""
        yield f"{tuple(self.steps.shape)} {self.channels}".encode()
        yield self.steps.cpu().contiguous().numpy().tobytes()


@dataclass(frozen=True, kw_only=True, eq=False)
class Series:
    """Short sequences of vectors, with a label each.

    Attributes:
        steps: standardized vectors, ``(sequences, T, d)``, float32. After the end of a shorter sequence they are NaN.
        labels: ``(sequences,)``, int64.

    >>> split = Series(steps=torch.zeros(3, 4, 2), labels=torch.arange(3))
    >>> len(split), split.channels, split.take(torch.tensor([2]))[1]
    (3, 2, tensor([2]))
    """

    steps: Tensor = field(repr=False)
    labels: Tensor = field(repr=False)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def channels(self) -> int:
        """The numbers of a step."""
        return self.steps.shape[2]

    @property
    def size(self) -> tuple[int, ...]:
        """The size of a sample, which is one step."""
        return ONE_STEP

    def take(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """The sequences at ``indices``, ``(B, T, d)``, and their labels, ``(B,)``."""
        indices = indices.to(self.labels.device)
        return self.steps[indices], self.labels[indices]

    def subset(self, indices: Tensor) -> Series:
        """The same split with only the sequences at ``indices``, in that order."""
        steps, labels = self.take(indices)
        return Series(steps=steps, labels=labels)

    def to(self, device: torch.device | str) -> Series:
        """The same split on ``device``."""
        return Series(steps=self.steps.to(device), labels=self.labels.to(device))

    def parts(self) -> Iterator[bytes]:
        """Bytes that identify the content, for a fingerprint."""
        yield f"{tuple(self.steps.shape)}".encode()
        yield self.steps.cpu().contiguous().numpy().tobytes()
        yield self.labels.cpu().contiguous().numpy().tobytes()


@dataclass(frozen=True, kw_only=True)
class Columns:
    """A part of a stream as columns, each of which is a contiguous piece. Steps that fill no row are left out.

    Attributes:
        first: where the part begins.
        rows: the steps of a column.
        count: the number of columns.

    >>> columns = Columns.of(torch.arange(20), 3)
    >>> columns.window(0, 5)
    tensor([[ 0,  1,  2,  3,  4],
            [ 6,  7,  8,  9, 10],
            [12, 13, 14, 15, 16]])
    """

    first: int
    rows: int
    count: int

    @classmethod
    def of(cls, places: Tensor, count: int) -> Columns:
        """The columns of the steps at consecutive ``places``."""
        return cls(first=int(places[0]) if len(places) else 0, rows=len(places) // count, count=count)

    @property
    def predicted(self) -> int:
        """The steps of a column that another one of its steps precedes, and so predicts."""
        return max(0, self.rows - 1)

    def window(self, row: int, length: int) -> Tensor:
        """The places of the rows from ``row`` on, ``(columns, length)``."""
        starts = self.first + self.rows * torch.arange(self.count)
        return starts.unsqueeze(1) + torch.arange(row, row + length)

    def windows(self, lengths: Sequence[int]) -> list[Tensor]:
        """The places of consecutive windows, ``(columns, length)`` each, that predict every row but the first."""
        starts = accumulate(lengths, initial=0)
        return [self.window(row, length) for row, length in zip(starts, lengths, strict=False)]
