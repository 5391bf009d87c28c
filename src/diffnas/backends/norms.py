"""Batch norm, mixing weight and sum of many operations as one step, forward and backward.

Between its convolutions a supernet normalizes, weighs and sums; with one module after the other, that takes about ten
passes over memory for each operation. Here the batch norm's scale and the mixing weight become one coefficient, every
term is added directly into its target, and the gradients take two passes. The statistics are those of the batch
(training mode). A backend implements the steps: :mod:`diffnas.backends.gpu.launches` does so for a GPU. On a CPU the
program of a cell has steps of its own (:mod:`diffnas.backends.cpu.lower`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import prod
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class Statistics(NamedTuple):
    """Mean and biased variance of K tensors over the batch, ``(K, C)``, and the number of pixels in it.

    Each channel has its own mean and variance, over all pixels of all pictures.
    """

    mean: Tensor
    variance: Tensor
    pixels: int


def mixed_sums(
    inputs: Sequence[Tensor],
    mix: Tensor,
    *,
    normed: Sequence[bool],
    steps: ModuleType,
    eps: float = 1e-5,
    added: Sequence[Tensor] = (),
) -> tuple[tuple[Tensor, ...], Statistics]:
    """Weighted sums of tensors, after a batch norm without weight and bias for each tensor that is ``normed``.

    Args:
        inputs: K tensors ``(B, C, H, W)``.
        mix: the weights of each sum, ``(T, K)``.
        normed: for each input, whether it goes through batch norm (training mode) first.
        steps: a module with ``moments``, ``combine``, ``reduce`` and ``spread``.
        eps: the term that the batch norms add to the variance.
        added: tensors that are terms of every sum, with weight 1 and without batch norm.

    Raises:
        ValueError: for tensors of several shapes, and for a batch norm of one pixel, which PyTorch refuses too.

    Returns:
        T sums, ``(B, C, H, W)``, and the statistics of the inputs, in float64 (0 and 1 where not normed).
    """
    check_alike([*inputs, *added])
    if any(normed):
        check_pixels(inputs[0].shape)
    pixels = inputs[0].numel() // inputs[0].shape[1]
    apply: Callable[..., tuple[Tensor, ...]] = _MixedSums.apply
    results = apply(mix, tuple(normed), steps, eps, *inputs, *added)
    totals, (mean, variance) = results[: len(mix)], results[len(mix) :]
    return totals, Statistics(mean, variance, pixels)


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


class _MixedSums(torch.autograd.Function):
    """The sums of ``mixed_sums``, then the means and variances of its inputs."""

    @staticmethod
    def forward(
        ctx: Any,
        mix: Tensor,
        normed: tuple[bool, ...],
        by: ModuleType,
        eps: float,
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        K = len(normed)
        tensors = tuple(channels_last(x) for x in tensors)
        asked = constant(normed, torch.bool, mix.device).unsqueeze(1)
        which = [k for k in range(K) if normed[k]]
        C = tensors[0].shape[1]
        mean = mix.new_zeros(K, C, dtype=torch.float64)
        variance = torch.ones_like(mean)
        if which:
            known = zip((mean, variance), by.moments([tensors[k] for k in which]), strict=True)
            places = constant(tuple(which), torch.int64, mix.device)
            mean, variance = (into.index_copy_(0, places, values) for into, values in known)
        rate = torch.where(asked, (variance + eps).rsqrt(), 1.0)
        scale = mix.double().unsqueeze(2) * rate
        shift = -(scale * mean).sum(1)
        ones = scale.new_ones(len(mix), len(tensors) - K, C)
        sums = by.combine(tensors, torch.cat([scale, ones], 1), shift)
        ctx.save_for_backward(scale, mean, rate, asked, mix, *tensors[:K])
        ctx.added, ctx.normed, ctx.by = len(tensors) - K, normed, by
        ctx.mark_non_differentiable(mean, variance)
        return (*sums, mean, variance)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        scale, mean, rate, asked, mix, *inputs = ctx.saved_tensors
        sent = [channels_last(grad) for grad in grads[: len(mix)]]
        pixels = inputs[0].numel() // inputs[0].shape[1] if inputs else 1
        totals, products = ctx.by.reduce(sent, inputs, mean)
        products = products * rate  # now the sums of the gradients times the normalized inputs
        grad_mix = products.sum(2).to(mix.dtype) if ctx.needs_input_grad[0] else None
        weights = mix.double().unsqueeze(2)
        shared = (weights * totals.unsqueeze(1)).sum(0) / pixels
        along = (weights * products).sum(0) / pixels
        slope = -rate.square() * along * asked
        shift = -(rate * shared + slope * mean) * asked
        assert len(sent) == 1 or not ctx.added
        grad_inputs = ctx.by.spread(sent, inputs, ctx.normed, scale, slope, shift)
        return (grad_mix, None, None, None, *grad_inputs, *(sent[0] for _ in range(ctx.added)))


def channels_last(x: Tensor) -> Tensor:
    """The tensor with its channels last in memory."""
    return x.contiguous(memory_format=torch.channels_last)


@lru_cache(maxsize=1 << 16)
def constant(values: tuple[Any, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """A cached tensor of these values; on a GPU, making one copies from the host, which a CUDA graph cannot do."""
    return torch.tensor(values, dtype=dtype, device=device)
