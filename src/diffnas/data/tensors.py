"""Data sets made of tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from diffnas.data.augment import Augmentation
from diffnas.data.pictures import DataSet, Pictures, channel_statistics


def from_tensors(
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    *,
    classes: tuple[str, ...] | None = None,
    name: str = "tensors",
    augmentation: Augmentation | None = None,
) -> DataSet:
    """A data set of tensors that are already in memory.

    Args:
        train: pictures and labels. Pictures are ``(pictures, channels, H, W)`` or, if grey,
            ``(pictures, H, W)``: uint8, or floats from 0 to 1. Labels are whole numbers, ``(pictures,)``.
        test: the same for the test split.
        classes: the name of each label; by default the labels themselves, up to the highest.
        name: what reports call the data set.
        augmentation: by default one pixel of padding for every eight of the shorter side, and flips.

    Raises:
        ValueError: a type, range or shape that cannot be used, or whatever :class:`DataSet` refuses.

    >>> images, labels = torch.rand(6, 3, 16, 16), torch.tensor([0, 1, 0, 1, 0, 1])
    >>> from_tensors((images, labels), (images[:2], labels[:2])).classes
    ('0', '1')
    """
    first, second = _pictures("training", *train), _pictures("test", *test)
    if classes is None:
        labels = torch.cat([first.labels.cpu(), second.labels.cpu()])
        highest = int(labels.max()) if len(labels) else -1
        classes = tuple(str(label) for label in range(highest + 1))
    mean, std = channel_statistics(first) if len(first) else ((0.0,) * first.channels, (1.0,) * first.channels)
    return DataSet(
        name=name,
        train=first,
        test=second,
        classes=tuple(classes),
        mean=mean,
        std=std,
        augmentation=augmentation or Augmentation(pad=min(first.size) // 8, flip=True),
    )


def _pictures(what: str, images: Tensor, labels: Tensor) -> Pictures:
    """A split of the user's tensors, checked and brought to the one type we use."""
    if images.ndim == 3:
        images = images.unsqueeze(1)
    if labels.is_floating_point() or labels.dtype == torch.bool:
        raise ValueError(f"{what} labels must be whole numbers, not {labels.dtype}.")
    return Pictures(images=to_bytes(images, what), labels=labels.long())


def to_bytes(images: Tensor, what: str) -> Tensor:
    """Pictures as uint8, from uint8 or from floats between 0 and 1; ``what`` names them in an error.

    >>> to_bytes(torch.tensor([0.0, 0.5, 1.0]), "example")
    tensor([  0, 128, 255], dtype=torch.uint8)
    """
    if images.dtype == torch.uint8:
        return images
    if not images.is_floating_point():
        raise ValueError(f"{what} pictures must be uint8, or floats from 0 to 1, not {images.dtype}.")
    low, high = (float(bound) for bound in images.aminmax()) if images.numel() else (0.0, 0.0)
    if not (low >= 0 and high <= 1):
        raise ValueError(
            f"{what} pictures run from {low:g} to {high:g}; floats must be from 0 to 1. "
            "Pass them before any normalization, or as uint8."
        )
    return images.mul(255).round().to(torch.uint8)
