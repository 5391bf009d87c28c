"""Pictures and labels: a split in memory, and a split that is streamed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor

SMALLEST = 8
"""The smallest height and width of a picture, in pixels."""


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


PictureSplit: TypeAlias = Pictures | Files
