"""Mixed sums in PyTorch, for every dtype: what kernels are held against.

The batch norm's scale and the mixing weight become one coefficient, as in the kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from diffnas.backends.norms import Statistics, channels_last, check_alike, check_pixels, constant


def mixed_sums(
    inputs: Sequence[Tensor],
    mix: Tensor,
    *,
    normed: Sequence[bool],
    eps: float = 1e-5,
    added: Sequence[Tensor] = (),
) -> tuple[tuple[Tensor, ...], Statistics]:
    """Weighted sums of tensors, after a batch norm without weight and bias for each tensor that is ``normed``.

    Args:
        inputs: K tensors ``(B, C, H, W)``.
        mix: the weights of each sum, ``(T, K)``.
        normed: for each input, whether it goes through batch norm (training mode) first.
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
    results = apply(mix, tuple(normed), eps, *inputs, *added)
    totals, (mean, variance) = results[: len(mix)], results[len(mix) :]
    return totals, Statistics(mean, variance, pixels)


class _MixedSums(torch.autograd.Function):
    """The sums of ``mixed_sums``, then the means and variances of its inputs."""

    @staticmethod
    def forward(
        ctx: Any,
        mix: Tensor,
        normed: tuple[bool, ...],
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
            known = zip((mean, variance), moments([tensors[k] for k in which]), strict=True)
            places = constant(tuple(which), torch.int64, mix.device)
            mean, variance = (into.index_copy_(0, places, values) for into, values in known)
        rate = torch.where(asked, (variance + eps).rsqrt(), 1.0)
        scale = mix.double().unsqueeze(2) * rate
        shift = -(scale * mean).sum(1)
        ones = scale.new_ones(len(mix), len(tensors) - K, C)
        sums = combine(tensors, torch.cat([scale, ones], 1), shift)
        ctx.save_for_backward(scale, mean, rate, asked, mix, *tensors[:K])
        ctx.added, ctx.normed = len(tensors) - K, normed
        ctx.mark_non_differentiable(mean, variance)
        return (*sums, mean, variance)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        scale, mean, rate, asked, mix, *inputs = ctx.saved_tensors
        sent = [channels_last(grad) for grad in grads[: len(mix)]]
        pixels = inputs[0].numel() // inputs[0].shape[1] if inputs else 1
        totals, products = reduce(sent, inputs, mean)
        products = products * rate  # now the sums of the gradients times the normalized inputs
        grad_mix = products.sum(2).to(mix.dtype) if ctx.needs_input_grad[0] else None
        weights = mix.double().unsqueeze(2)
        shared = (weights * totals.unsqueeze(1)).sum(0) / pixels
        along = (weights * products).sum(0) / pixels
        slope = -rate.square() * along * asked
        shift = -(rate * shared + slope * mean) * asked
        assert len(sent) == 1 or not ctx.added
        grad_inputs = spread(sent, inputs, ctx.normed, scale, slope, shift)
        return (grad_mix, None, None, *grad_inputs, *(sent[0] for _ in range(ctx.added)))


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
