"""Pictures and labels: a split in memory, a split that is streamed, and the data set they make."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeAlias

import torch
from torch import Tensor

from diffnas.data.augment import Augmentation, augment, normalize
from diffnas.data.levels import Levels
from diffnas.names import showable
from diffnas.values import real

SMALLEST = 8
"""The smallest height and width of a picture, in pixels."""

_AHEAD = 2
"""How many batches of a streamed split are read in advance."""

_PLAIN = Augmentation()

_BOUNDS = {"mean": real(-1e6, 1e6), "std": real(0, 1e6, above=True)}


@dataclass(frozen=True, kw_only=True, eq=False)
class Pictures:
    """One split held in memory, on one device.

    Args:
        images: ``(pictures, channels, H, W)``, uint8; kept with the channels last in memory.
        labels: ``(pictures,)``, int64; or, if a picture can be in several classes, ``(pictures, classes)``, float32,
            1 where a picture is in a class and 0 elsewhere.

    Raises:
        ValueError: a wrong type or shape.

    >>> split = Pictures(images=torch.zeros(5, 3, 8, 8, dtype=torch.uint8), labels=torch.arange(5))
    >>> len(split.subset(torch.tensor([4, 2]))), split.take(torch.tensor([3]))[1]
    (2, tensor([3]))
    """

    images: Tensor = field(repr=False)
    labels: Tensor = field(repr=False)

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            found = f"{self.images.dtype} {tuple(self.images.shape)}"
            raise ValueError(f"images must be uint8 (pictures, channels, H, W), not {found}.")
        count, ndim = len(self.images), 2 if self.labels.dtype == torch.float32 else 1
        if self.labels.dtype not in (torch.int64, torch.float32) or self.labels.ndim != ndim or len(self) != count:
            found = f"{self.labels.dtype} {tuple(self.labels.shape)}"
            raise ValueError(
                f"labels must be int64 ({count},), one for each picture, or float32 ({count}, classes), not {found}."
            )
        # Networks take channels last, and crops are fastest in this order.
        last = self.images.contiguous(memory_format=torch.channels_last)
        object.__setattr__(self, "images", last)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def channels(self) -> int:
        """1 for grey pictures, 3 for color."""
        return self.images.shape[1]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.images.shape[2], self.images.shape[3]

    def take(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """The pictures at ``indices``, uint8 ``(B, channels, H, W)``, and their labels ``(B,)`` or ``(B, classes)``."""
        if self.labels.is_cuda and not indices.is_cuda:
            # Only a copy from pinned memory lets the host go on without waiting for the GPU.
            indices = indices.pin_memory()
        indices = indices.to(self.labels.device, non_blocking=True)
        pixels = self.images.permute(0, 2, 3, 1).index_select(0, indices)
        return pixels.permute(0, 3, 1, 2), self.labels[indices]

    def subset(self, indices: Tensor) -> Pictures:
        """The same split with only the pictures at ``indices``, in that order."""
        images, labels = self.take(indices)
        return Pictures(images=images, labels=labels)

    def to(self, device: torch.device | str) -> Pictures:
        """The same split on ``device``."""
        return Pictures(images=self.images.to(device), labels=self.labels.to(device))

    def parts(self) -> Iterator[bytes]:
        """Bytes that identify the content of the split, for a fingerprint."""
        yield f"{tuple(self.images.shape)}".encode()
        for images in torch.split(self.images, 4096):
            yield images.cpu().contiguous().numpy().tobytes()
        yield self.labels.cpu().contiguous().numpy().tobytes()


@dataclass(frozen=True, kw_only=True, eq=False)
class Files:
    """One split too large for memory: threads read its pictures each time they are needed.

    Args:
        read: returns the picture of a row, uint8 ``(channels, H, W)``. It is called from several threads.
        rows: the row of each picture of this split, ``(pictures,)``, int64.
        labels: ``(pictures,)``, int64.
        names: a name for every row. It includes something that changes with the content, such as the file's size.
        channels: 1 or 3.
        size: height and width of every picture that ``read`` returns.
        workers: how many threads read at once.
    """

    read: Callable[[int], Tensor] = field(repr=False)
    rows: Tensor = field(repr=False)
    labels: Tensor = field(repr=False)
    names: tuple[str, ...] = field(repr=False)
    channels: int
    size: tuple[int, int]
    workers: int = 8

    def __post_init__(self) -> None:
        if self.labels.dtype != torch.int64 or self.labels.shape != self.rows.shape:
            raise ValueError(f"labels must be int64 ({len(self.rows)},), not {tuple(self.labels.shape)}.")

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """The pictures at ``indices``, uint8 ``(B, channels, H, W)`` on the CPU, and their labels ``(B,)``."""
        indices = indices.cpu()
        images = torch.empty(len(indices), self.channels, *self.size, dtype=torch.uint8)
        rows = self.rows[indices].tolist()

        def fill(first: int) -> None:
            # Each thread has a share: to hand out small pictures one by one takes longer than to read them.
            for place in range(first, len(rows), self.workers):
                images[place] = self.read(rows[place])

        with ThreadPoolExecutor(self.workers) as pool:
            list(pool.map(fill, range(self.workers)))
        return images, self.labels[indices]

    def subset(self, indices: Tensor) -> Files:
        """The same split with only the pictures at ``indices``, in that order."""
        indices = indices.cpu()
        return Files(
            read=self.read,
            rows=self.rows[indices],
            labels=self.labels[indices],
            names=self.names,
            channels=self.channels,
            size=self.size,
            workers=self.workers,
        )

    def to(self, device: torch.device | str) -> Files:
        """The split itself, because a streamed split lives on no device."""
        return self

    def parts(self) -> Iterator[bytes]:
        """Bytes that identify the content of the split, for a fingerprint: names, sizes and labels, not the pixels."""
        yield f"{len(self)} {self.channels} {self.size}".encode()
        for row, label in zip(self.rows.tolist(), self.labels.tolist(), strict=True):
            yield f"{self.names[row]}\0{label}\0".encode()


Split: TypeAlias = Pictures | Files


@dataclass(frozen=True, kw_only=True, eq=False)
class DataSet:
    """A training split and a test split of pictures in the same classes.

    Args:
        name: what reports call it; escaped by :func:`diffnas.names.showable`.
        train: the pictures that train a search and an evaluation.
        test: the pictures that only the last measurement of an evaluation uses.
        classes: the name of each label: label ``k``, or column ``k`` of the labels, is ``classes[k]``; escaped in the
            same way.
        mean: of each channel, on a scale where white is 1.
        std: of each channel, on the same scale.
        augmentation: how training pictures are varied unless a run says otherwise.
        levels: the values of black and white in grey files of more than 8 bits; None if no training picture is such
            a file.
        skipped: one line for each file that was not read, with the reason.
        remarks: what the user should know about how the pictures were found and read, in sentences.

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

    def __post_init__(self) -> None:
        # These names are printed, and written into files of many kinds.
        object.__setattr__(self, "name", showable(self.name))
        object.__setattr__(self, "classes", tuple(showable(str(name)) for name in self.classes))
        _check_shapes(self)
        _check_labels(self)

    @property
    def channels(self) -> int:
        """1 for grey pictures, 3 for color."""
        return self.train.channels

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.train.size

    @property
    def several(self) -> bool:
        """Whether a picture can be in several classes."""
        return self.train.labels.ndim == 2

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
        """SHA-256 of both splits: of pixels and labels in memory, of names, sizes and labels when streamed."""
        digest = hashlib.sha256()
        for split in (self.train, self.test):
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


def batches(
    split: Split, indices: Tensor, batch: int, *, start: int = 0, device: torch.device | str
) -> Iterator[tuple[Tensor, Tensor]]:
    """Consecutive batches of the pictures at ``indices``, from batch number ``start`` on.

    The last batch may be short. A streamed split reads the next batches while the caller uses one.

    Args:
        split: where the pictures are.
        indices: which pictures, in order, ``(pictures,)``.
        batch: pictures in a batch.
        start: how many batches to skip, so that an interrupted epoch continues where it stopped.
        device: the device of the batches.

    Yields:
        Pictures, uint8 ``(B, channels, H, W)``, and labels, ``(B,)`` or ``(B, classes)``.

    >>> split = Pictures(images=torch.zeros(5, 1, 8, 8, dtype=torch.uint8), labels=torch.arange(5))
    >>> [labels.tolist() for _, labels in batches(split, torch.arange(5), 2, start=1, device="cpu")]
    [[2, 3], [4]]
    """
    if batch < 1 or start < 0:
        raise ValueError(f"batch must be at least 1 and start at least 0, not {batch} and {start}.")
    rest = indices[start * batch :]
    chunks = torch.split(rest, batch) if len(rest) else ()
    yield from fetched(split, chunks, device)


def fetched(
    split: Split, chunks: Iterable[Tensor], device: torch.device | str
) -> Generator[tuple[Tensor, Tensor], None, None]:
    """A batch on ``device`` for each of ``chunks``, indices ``(B,)``, as :func:`batches` gives them.

    For a streamed split, the next batches are read while the caller uses one, so ``chunks`` is read in advance too.
    """
    ahead = _read_ahead(split, chunks) if isinstance(split, Files) else map(split.take, chunks)
    for images, labels in ahead:
        yield images.to(device), labels.to(device)


def _read_ahead(split: Files, chunks: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """``split.take`` of each chunk, in order, with the next chunks read in the background."""
    waiting: deque[Future[tuple[Tensor, Tensor]]] = deque()
    pool = ThreadPoolExecutor(1)
    try:
        for chunk in chunks:
            waiting.append(pool.submit(split.take, chunk))
            if len(waiting) > _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        # A caller that stops early must not wait for batches that nobody will use.
        pool.shutdown(wait=True, cancel_futures=True)
