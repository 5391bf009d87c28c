"""What mixed sums are made of, in PyTorch: what kernels are held against, and what runs where there are none."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def moments(inputs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel of tensors ``(B, C, H, W)``: ``(K, C)``, float64."""
    pairs = [torch.var_mean(x.double(), (0, 2, 3), correction=0) for x in inputs]
    return torch.stack([mean for _, mean in pairs]), torch.stack([variance for variance, _ in pairs])


def combine(inputs: Sequence[Tensor], scale: Tensor, shift: Tensor) -> Sequence[Tensor]:
    """Weighted sums of K tensors: by channel, shift ``(T, C)`` + the sum of scales ``(T, K, C)`` times tensors."""
    sums = []
    for row, start in zip(scale.to(inputs[0].dtype), shift.to(inputs[0].dtype), strict=True):
        out = _by_channel(start).expand_as(inputs[0]).contiguous(memory_format=torch.channels_last)
        for x, factor in zip(inputs, row, strict=True):
            out.addcmul_(x, _by_channel(factor))
        sums.append(out)
    return sums


def reduce(grads: Sequence[Tensor], inputs: Sequence[Tensor], mean: Tensor) -> tuple[Tensor, Tensor]:
    """The sums of each gradient, ``(T, C)``, and of its products with each input less its mean, ``(T, K, C)``."""
    centered = [x - _by_channel(m.to(x.dtype)) for x, m in zip(inputs, mean, strict=True)]
    rows = [torch.stack([(grad * x).sum((0, 2, 3)) for x in centered]) for grad in grads]
    return torch.stack([grad.sum((0, 2, 3)) for grad in grads]).double(), torch.stack(rows).double()


def spread(
    grads: Sequence[Tensor],
    inputs: Sequence[Tensor],
    normed: Sequence[bool],
    scale: Tensor,
    slope: Tensor,
    shift: Tensor,
) -> Sequence[Tensor]:
    """For each input: shift + slope times it, if it is normed, + the sum of the gradients, each times its scale.

    Slope and shift are ``(K, C)``, scale is ``(T, K or more, C)``.
    """
    scale, slope, shift = (factor.to(inputs[0].dtype) for factor in (scale, slope, shift))
    results = []
    for k, x in enumerate(inputs):
        out = x * _by_channel(slope[k]) + _by_channel(shift[k])
        for grad, factor in zip(grads, scale[:, k], strict=True):
            out.addcmul_(grad, _by_channel(factor))
        results.append(out)
    return results


def _by_channel(x: Tensor) -> Tensor:
    return x.view(1, -1, 1, 1)
