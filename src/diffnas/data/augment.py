"""Varying and normalizing training pictures, a batch at a time, on the device that holds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How training pictures are varied.

    Args:
        pad: black pixels put around a picture before a crop of the old size is taken at random.
        flip: whether every second picture, at random, is mirrored left to right.
        cutout: side of the square that is blanked (Cutout, DeVries and Taylor, 2017); 0 for none.
    """

    pad: int = 0
    flip: bool = False
    cutout: int = 0

    def __post_init__(self) -> None:
        if self.pad < 0 or self.cutout < 0:
            raise ValueError(f"pad and cutout must be at least 0, not {self.pad} and {self.cutout}.")


def normalize(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Pictures as a network takes them: float32, channels last in memory, scaled by ``mean`` and ``std``.

    Args:
        images: uint8, ``(B, channels, H, W)``.
        mean: of each channel, on a scale where white is 1.
        std: of each channel, on the same scale.

    Returns:
        ``(images / 255 - mean) / std``, ``(B, channels, H, W)``.

    >>> normalize(torch.full((1, 1, 1, 2), 255, dtype=torch.uint8), [0.5], [0.25])
    tensor([[[[2., 2.]]]])
    """
    shape = (1, -1, 1, 1)
    mean_C = torch.tensor(mean, dtype=torch.float64)
    std_C = torch.tensor(std, dtype=torch.float64)
    # One multiplication and one addition a pixel, with the constants worked out in float64.
    scale = (1 / (255 * std_C)).to(images.device, torch.float32).view(shape)
    shift = (-mean_C / std_C).to(images.device, torch.float32).view(shape)
    floats = images.to(torch.float32, memory_format=torch.channels_last)
    return floats.mul_(scale).add_(shift)


def augment(
    images: Tensor,
    augmentation: Augmentation,
    mean: Sequence[float],
    std: Sequence[float],
    generator: torch.Generator,
) -> Tensor:
    """Training pictures varied as ``augmentation`` says, and normalized.

    The order is that of DARTS (Liu et al., 2019): pad and crop, flip, normalize, cutout. So padding is
    black, and what cutout blanks is 0, the mean color.

    Args:
        images: uint8, ``(B, channels, H, W)``.
        augmentation: what to do.
        mean: of each channel, on a scale where white is 1.
        std: of each channel, on the same scale.
        generator: decides everything; it may live on the CPU or with the images.

    Returns:
        ``(B, channels, H, W)``, float32, channels last in memory.

    >>> images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    >>> augment(images, Augmentation(pad=1, flip=True), [0.5] * 3, [0.5] * 3, torch.Generator()).shape
    torch.Size([2, 3, 8, 8])
    """
    if augmentation.pad:
        images = _pad_crop(images, augmentation.pad, generator)
    if augmentation.flip:
        chosen = _draw(2, images, generator).bool().view(-1, 1, 1, 1)
        images = torch.where(chosen, images.flip(-1), images)
    floats = normalize(images, mean, std)
    if augmentation.cutout:
        floats.masked_fill_(_squares(images, augmentation.cutout, generator), 0.0)
    return floats


def _draw(below: int, images: Tensor, generator: torch.Generator) -> Tensor:
    """One whole number from 0 to ``below - 1`` for each picture, ``(B,)``."""
    numbers = torch.randint(below, (len(images),), generator=generator, device=generator.device)
    return numbers.to(images.device)


def _pad_crop(images: Tensor, pad: int, generator: torch.Generator) -> Tensor:
    """A crop of the old size, at a random place, of each picture with ``pad`` black pixels around it."""
    H, W = images.shape[2:]
    padded = functional.pad(images, (pad, pad, pad, pad))
    # Every crop there is, as a view; picking one for each picture then copies whole rows.
    crops = padded.unfold(2, H, 1).unfold(3, W, 1)
    top, left = _draw(2 * pad + 1, images, generator), _draw(2 * pad + 1, images, generator)
    return crops[torch.arange(len(images), device=images.device), :, top, left]


def _squares(images: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """Where a square of ``side`` pixels around a random pixel of each picture lies, bool ``(B, 1, H, W)``."""

    def within(length: int) -> Tensor:
        first = (_draw(length, images, generator) - side // 2).unsqueeze(1)
        places = torch.arange(length, device=images.device)
        return (places >= first) & (places < first + side)

    rows, columns = within(images.shape[2]), within(images.shape[3])
    return rows[:, None, :, None] & columns[:, None, None, :]
