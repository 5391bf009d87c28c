"""A data set: a training split and a test split of anything, and what is known of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from diffnas.data.augment import Augmentation, augment, normalize
from diffnas.data.batches import Split
from diffnas.data.levels import Levels
from diffnas.data.pictures import SMALLEST, Files, Pictures
from diffnas.data.sequences import Series, Stream
from diffnas.data.tokens import Tokens
from diffnas.names import showable
from diffnas.values import real

DataKind = Literal["pictures", "text", "forecast", "labelled"]
"""What data are: pictures, a text, a stream of vectors, or sequences with a label each."""

_PLAIN = Augmentation()

_BOUNDS = {"mean": real(-1e6, 1e6), "std": real(0, 1e6, above=True)}


@dataclass(frozen=True, kw_only=True, eq=False)
class DataSet:
    """A training split and a test split, of pictures or sequences.

    Args:
        name: what reports call it; escaped by :func:`diffnas.names.showable`.
        train: the pictures that train a search and an evaluation.
        test: the pictures that only the last measurement of an evaluation uses.
        classes: the name of each label: label ``k``, or column ``k`` of the labels, is ``classes[k]``; escaped in the
            same way. The classes of a text are its vocabulary, and those of a forecast the names of the numbers.
        mean: of each channel, on a scale where white is 1; of each number of a sequence; of tokens none.
        std: of each channel, on the same scale.
        augmentation: how training pictures are varied unless a run says otherwise.
        levels: the values of black and white in grey files of more than 8 bits; None if no training picture is such
            a file.
        skipped: one line for each file that was not read, with the reason.
        remarks: what the user should know about how the pictures were found and read, in sentences.
        valid: the part of a stream that judges the training of a network; None for other data.
        tokens: how a text becomes numbers; None for other data.
        window: how many steps of a sequence a network without a state reads at once; 1 for a network that reads them
            one by one. The cost of a network is counted for so many.

    Raises:
        ValueError: fewer than two classes, a class with no training picture, or a label out of range. Also splits
            that differ in shape, pictures under 8x8, channels that are neither 1 nor 3, or a bad mean or std.
    """

    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augmentation: Augmentation = _PLAIN
    levels: Levels | None = None
    skipped: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    valid: Stream | None = None
    tokens: Tokens | None = None
    window: int = 1

    def __post_init__(self) -> None:
        # These names are printed, and written into files of many kinds.
        object.__setattr__(self, "name", showable(self.name))
        object.__setattr__(self, "classes", tuple(showable(str(name)) for name in self.classes))
        if isinstance(self.train, Pictures | Files):
            _check_shapes(self)
        if not isinstance(self.train, Stream):
            _check_labels(self)

    @property
    def channels(self) -> int:
        """1 for grey pictures, 3 for color; the numbers of a step of a sequence; the size of a vocabulary."""
        return self.train.channels

    @property
    def size(self) -> tuple[int, ...]:
        """Height and width in pixels; the steps that are read at once, ``(window,)``, for sequences."""
        return (self.window,) if self.in_steps else self.train.size

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample as a network takes it; of sequences ``(window,)`` or ``(window, d)``."""
        if not self.in_steps:
            return (self.channels, *self.size)
        return self.size if self.tokens else (*self.size, self.channels)

    @property
    def kind(self) -> DataKind:
        """What the data are."""
        if not self.in_steps:
            return "pictures"
        return "text" if self.tokens else "forecast" if self.in_order else "labelled"

    @property
    def forecasts(self) -> bool:
        """Whether the next vector of a stream is to be predicted."""
        return self.in_order and self.tokens is None

    @property
    def several(self) -> bool:
        """Whether a picture can be in several classes."""
        return not isinstance(self.train, Stream) and self.train.labels.ndim == 2

    @property
    def in_order(self) -> bool:
        """Whether the data are streams, which are read in order."""
        return isinstance(self.train, Stream)

    @property
    def in_steps(self) -> bool:
        """Whether the data are sequences, which are read in steps."""
        return isinstance(self.train, Stream | Series)

    def prepare(
        self,
        pictures: Tensor,
        generator: torch.Generator | None = None,
        *,
        cutout: int | None = None,
        flip: bool | None = None,
    ) -> Tensor:
        """Pictures as a network takes them: normalized, and varied as in training if ``generator`` draws how.

        Args:
            pictures: uint8 ``(B, channels, H, W)``.
            generator: draws how they are varied; None leaves them as in a test.
            cutout: the side of the square that is blanked, in pixels, at most half of the shorter side of a picture;
                None takes that of ``augmentation``.
            flip: whether every second picture, at random, is mirrored left to right; None takes that of
                ``augmentation``.
        """
        if self.in_steps:
            return pictures  # standardized when they were read
        if generator is None:
            return normalize(pictures, self.mean, self.std)
        varied = self.augmentation
        if cutout is not None:
            varied = replace(varied, cutout=min(cutout, min(self.size) // 2))
        if flip is not None:
            varied = replace(varied, flip=flip)
        return augment(pictures, varied, self.mean, self.std, generator)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the splits: of pixels and labels in memory, of names, sizes and labels when streamed."""
        digest = hashlib.sha256()
        for split in (self.train, self.test, *(() if self.valid is None else (self.valid,))):
            for part in split.parts():
                digest.update(part)
        return digest.hexdigest()


def _check_shapes(data: DataSet) -> None:
    """Check that both splits have one shape, that it is usable, and that mean and std fit it."""
    if (data.train.channels, data.train.size) != (data.test.channels, data.test.size):
        train, test = ((split.channels, *split.size) for split in (data.train, data.test))
        raise ValueError(f"{data.name}: training pictures are {train}, test pictures {test}; they must agree.")
    if data.channels not in (1, 3):
        raise ValueError(f"{data.name}: pictures have {data.channels} channels; 1 (grey) and 3 (color) work.")
    if min(data.size) < SMALLEST:
        raise ValueError(
            f"{data.name}: pictures are {data.size[0]}x{data.size[1]}; at least {SMALLEST}x{SMALLEST} works."
        )
    for name, values in (("mean", data.mean), ("std", data.std)):
        if len(values) != data.channels:
            raise ValueError(f"{data.name}: {name} has {len(values)} values for {data.channels} channels.")
        for value in values:
            _BOUNDS[name].check(f"{data.name}: {name}", value)


def _check_labels(data: DataSet) -> None:
    """Check that every label has a class, every class a training picture, and that there are test pictures."""
    if len(data.classes) < 2:
        raise ValueError(f"{data.name}: {len(data.classes)} class(es) given; at least 2 are needed.")
    if unnamed := [name for name in data.classes if not isinstance(name, str)]:
        raise ValueError(f"{data.name}: the names of classes must be text, and one is {unnamed[0]!r}. Pass str(name).")
    if len(set(data.classes)) < len(data.classes):
        raise ValueError(f"{data.name}: two classes have the same name: {', '.join(data.classes)}.")
    assert not isinstance(data.train, Stream)
    assert not isinstance(data.test, Stream)
    if data.test.labels.ndim != data.train.labels.ndim:
        raise ValueError(
            f"{data.name}: pictures of one split have one label each, and those of the other have several."
        )
    for name, labels in (("training", data.train.labels), ("test", data.test.labels)):
        if len(labels) == 0:
            raise ValueError(f"{data.name}: there is no {name} picture.")
        (_check_table if data.several else _check_numbers)(data, name, labels)
    table = data.train.labels
    counts = table.sum(0) if data.several else torch.bincount(table, minlength=len(data.classes))
    missing = [name for name, count in zip(data.classes, counts.tolist(), strict=True) if count == 0]
    if missing:
        names = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise ValueError(f"{data.name}: no training picture for class {names}. Add some, or number the labels anew.")


def _check_numbers(data: DataSet, name: str, labels: Tensor) -> None:
    low, high, last = int(labels.min()), int(labels.max()), len(data.classes) - 1
    if low < 0 or high > last:
        raise ValueError(f"{data.name}: {name} labels run from {low} to {high}, classes from 0 to {last}.")


def _check_table(data: DataSet, name: str, labels: Tensor) -> None:
    if labels.shape[1] != len(data.classes):
        raise ValueError(
            f"{data.name}: {name} labels are for {labels.shape[1]} classes, and there are {len(data.classes)}."
        )
    if not bool(((labels == 0) | (labels == 1)).all()):
        raise ValueError(f"{data.name}: {name} labels must be 0 or 1 for each class.")
