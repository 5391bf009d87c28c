"""Statistics of batch norms in training, and the checks of tensors that are normalized and added up."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Statistics(NamedTuple):
    """Mean and biased variance of K tensors over the batch, ``(K, C)``, and the number of pixels in it.

    Each channel has its own mean and variance, over all pixels of all pictures.
    """

    mean: Tensor
    variance: Tensor
    pixels: int


def update_running(norms: Sequence[nn.BatchNorm2d], statistics: Statistics, rows: Sequence[int]) -> None:
    """Update the buffers of each batch norm as its own forward pass would; ``rows`` are its rows in ``statistics``."""
    if not norms:
        return
    by_rate: dict[Any, list[int]] = {}
    for n, norm in enumerate(norms):
        by_rate.setdefault(norm.momentum, []).append(n)
    pixels = statistics.pixels
    dtype = norms[0].running_mean.dtype  # type: ignore[union-attr]
    means = statistics.mean.to(dtype).unbind()
    variances = (statistics.variance * (pixels / max(pixels - 1, 1))).to(dtype).unbind()
    for rate, which in by_rate.items():
        running: list[list[Any]] = [[], [], []]
        for n in which:
            for buffers, name in zip(running, ("running_mean", "running_var", "num_batches_tracked"), strict=True):
                buffers.append(getattr(norms[n], name))
        for buffers, values in zip(running, (means, variances), strict=False):
            torch._foreach_lerp_(buffers, [values[rows[n]] for n in which], rate)
        torch._foreach_add_(running[2], 1)


def check_alike(tensors: Sequence[Tensor]) -> None:
    """Refuse tensors of several shapes or dtypes, which cannot be added up."""
    for x in tensors:
        if x.shape != tensors[0].shape or x.dtype != tensors[0].dtype:
            kinds = [f"{tuple(one.shape)} in {one.dtype}" for one in (tensors[0], x)]
            raise ValueError(f"what is added up must have one shape and dtype, got {kinds[0]} and {kinds[1]}.")


def check_pixels(size: Sequence[int]) -> None:
    """Refuse a size ``(B, C, H, W)`` with one value for each channel, as PyTorch's batch norm does in training."""
    if prod(size) == size[1]:
        raise ValueError(f"batch norm needs more than one value for each channel to train on, got {tuple(size)}.")


def channels_last(x: Tensor) -> Tensor:
    """The tensor with its channels last in memory."""
    return x.contiguous(memory_format=torch.channels_last)


@lru_cache(maxsize=1 << 16)
def constant(values: tuple[Any, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """A cached tensor of these values; on a GPU, making one copies from the host, which a CUDA graph cannot do."""
    return torch.tensor(values, dtype=dtype, device=device)
