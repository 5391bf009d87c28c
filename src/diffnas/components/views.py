"""Random views of pictures, for the pretext tasks that compare two views of one picture.

Pictures come as training has them, augmented and normalized. So brightness is a shift, and contrast is a factor about
the mean of the picture.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

JITTER, JITTERED, GREY = 0.4, 0.8, 0.2
"""How strong colors are changed, and the shares of the pictures whose colors change or vanish (SimCLR)."""

SMALLEST = 0.2
"""The smallest share of a picture's area that a crop has."""


def two_views(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Two random views of each picture, ``(2 B, C, H, W)``: all first ones, then all second ones, in the same order.

    SimCLR (Chen et al., 2020): a resized crop, a flip, other colors, and no colors. Without blur, as on CIFAR-10.

    >>> two_views(torch.zeros(3, 1, 8, 8), torch.Generator()).shape
    torch.Size([6, 1, 8, 8])
    """
    return recolored(resized_crops(pictures.repeat(2, 1, 1, 1), generator), generator)


def resized_crops(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """A random part of each picture at the size of the picture, ``(B, C, H, W)``; every second one is mirrored."""
    draw = _uniform(4, pictures, generator)
    side = (SMALLEST + (1 - SMALLEST) * draw[0]).sqrt()
    shift = (2 * draw[1:3] - 1) * (1 - side)
    mirrored = torch.where(draw[3] < 0.5, -side, side)
    nothing = torch.zeros_like(side)
    theta = torch.stack([mirrored, nothing, shift[0], nothing, side, shift[1]], dim=1).view(-1, 2, 3)
    grid = functional.affine_grid(theta, list(pictures.shape), align_corners=False)
    return functional.grid_sample(pictures, grid, padding_mode="reflection", align_corners=False)


def recolored(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures, ``(B, C, H, W)``, of which most have another brightness, contrast and saturation, and some are grey."""
    draw = _uniform(5, pictures, generator).view(5, -1, 1, 1, 1)
    bright, contrast, color = (JITTER * (2 * each - 1) for each in draw[:3])
    mean = pictures.mean(dim=(1, 2, 3), keepdim=True)
    changed = (pictures - mean) * (1 + contrast) + mean + bright
    grey = changed.mean(dim=1, keepdim=True)
    changed = grey + (changed - grey) * (1 + color)
    found = torch.where(draw[3] < JITTERED, changed, pictures)
    return torch.where(draw[4] < GREY, found.mean(dim=1, keepdim=True).expand_as(found), found)


def blanked(pictures: Tensor, generator: torch.Generator, *, side: int = 4, share: float = 0.25) -> Tensor:
    """Pictures, ``(B, C, H, W)``, with a share of their patches set to 0, the mean color."""
    rows, columns = (math.ceil(size / side) for size in pictures.shape[2:])
    seen = torch.rand(len(pictures), 1, rows, columns, generator=generator, device=generator.device) >= share
    mask = seen.to(pictures).repeat_interleave(side, 2).repeat_interleave(side, 3)
    return pictures * mask[:, :, : pictures.shape[2], : pictures.shape[3]]


def _uniform(count: int, pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Numbers from 0 to 1, ``(count, B)``, on the device of the pictures."""
    return torch.rand(count, len(pictures), generator=generator, device=generator.device).to(pictures)
