"""Batch norm, mixing weight and sum of many operations as one step, forward and backward.

Between its convolutions a supernet normalizes, weighs and adds up; module by module that takes some ten passes over
memory for each operation. Here the batch norm's scale and the mixing weight become one coefficient, everything is
added straight into its target, and the gradients take two passes. The statistics are those of the batch (training
mode). Float32 on a CPU runs in :mod:`diffnas.nets.compiled.mix` where Numba is installed, all else in PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class Statistics(NamedTuple):
    """Mean and (biased) variance of each tensor over the batch, ``(K, C)``, and the pixels they were taken over."""

    mean: Tensor
    variance: Tensor
    pixels: int


class Fold:
    """Where a batch norm leaves what its gradient is made of, for whoever computed its input to apply.

    The gradient for the input is ``scale * grad + slope * input + shift``, and only ``grad``, which many inputs share,
    is ever written to memory.
    """

    def __init__(self) -> None:
        self.left: tuple[Tensor, Tensor, Tensor] | None = None

    def factors(self, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scale, slope and shift, of the shape of ``like``: 1, 0 and 0 if nothing was left."""
        return self.left or (torch.ones_like(like), torch.zeros_like(like), torch.zeros_like(like))


class Measured(NamedTuple):
    """Mean and (biased) variance of a tensor, ``(C,)`` in float64, and where to leave its gradient's factors.

    A bias ``(C,)`` was not added to the tensor, for batch norm takes it away; only its running mean knows of it.
    """

    mean: Tensor
    variance: Tensor
    fold: Fold | None = None
    bias: Tensor | None = None


def mixed_sums(
    inputs: Sequence[Tensor],
    mix: Tensor,
    *,
    normed: Sequence[bool],
    eps: float = 1e-5,
    added: Sequence[Tensor] = (),
    measured: Mapping[int, Measured] | None = None,
) -> tuple[tuple[Tensor, ...], Statistics]:
    """Weighted sums of tensors, each first put through a batch norm without weight and bias where asked.

    Args:
        inputs: K tensors ``(B, C, H, W)``.
        mix: the weights of each sum, ``(T, K)``.
        normed: for each input whether batch norm (training mode) comes first.
        eps: what the batch norms add to the variance.
        added: tensors that every sum contains once, as they are.
        measured: what is known of inputs, by their place; with a fold only where there is one sum.

    Raises:
        ValueError: for tensors of several shapes, and for a batch norm of one pixel, as PyTorch's own.

    Returns:
        T sums, ``(B, C, H, W)``, and the statistics of the inputs, in float64 (0 and 1 where not normed).

    >>> x = torch.tensor([1.0, 3.0]).view(2, 1, 1, 1)
    >>> sums, statistics = mixed_sums([x, x], torch.tensor([[2.0, 0.5]]), normed=[True, False])
    >>> sums[0].flatten()
    tensor([-1.5000,  3.5000])
    >>> statistics.mean.flatten()
    tensor([2., 0.], dtype=torch.float64)
    """
    _check_shapes([*inputs, *added])
    if any(normed):
        check_pixels(inputs[0])
    pixels = inputs[0].numel() // inputs[0].shape[1]
    if is_compiled(inputs[0]):
        from diffnas.nets import sums as fast  # needs Numba

        known = measured or {}
        totals, mean, variance = fast.mixed_sums(inputs, mix, normed=normed, eps=eps, added=added, measured=known)
        return totals, Statistics(mean, variance, pixels)
    apply: Callable[..., tuple[Tensor, ...]] = _MixedSums.apply
    results = apply(mix, tuple(normed), eps, *inputs, *added)
    totals, (mean, variance) = results[: len(mix)], results[len(mix) :]
    return totals, Statistics(mean, variance, pixels)


def update_running(norms: Sequence[nn.BatchNorm2d], statistics: Statistics, rows: Sequence[int]) -> None:
    """Do to the buffers of each batch norm what its own forward pass would; ``rows`` says where its statistics are."""
    if not norms:
        return
    by_rate: dict[Any, list[int]] = {}
    for n, norm in enumerate(norms):
        by_rate.setdefault(norm.momentum, []).append(n)
    pixels = statistics.pixels
    variance = statistics.variance * (pixels / max(pixels - 1, 1))
    for rate, which in by_rate.items():
        running: list[list[Any]] = [[], [], []]
        for n in which:
            for buffers, name in zip(running, ("running_mean", "running_var", "num_batches_tracked"), strict=True):
                buffers.append(getattr(norms[n], name))
        places = [rows[n] for n in which]
        for buffers, values in zip(running, (statistics.mean, variance), strict=False):
            torch._foreach_lerp_(buffers, values[places].to(buffers[0].dtype).unbind(), rate)
        torch._foreach_add_(running[2], 1)


def _check_shapes(tensors: Sequence[Tensor]) -> None:
    for x in tensors:
        if x.shape != tensors[0].shape or x.dtype != tensors[0].dtype:
            kinds = [f"{tuple(one.shape)} in {one.dtype}" for one in (tensors[0], x)]
            raise ValueError(f"what is added up must have one shape and dtype, got {kinds[0]} and {kinds[1]}.")


def check_pixels(x: Tensor) -> None:
    """Refuse a tensor whose variance over the batch is that of one value, as PyTorch's batch norm does."""
    if x.numel() == x.shape[1]:
        raise ValueError(f"batch norm needs more than one value for each channel to train on, got {tuple(x.shape)}.")


class _MixedSums(torch.autograd.Function):
    """Sums, then means and variances."""

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
        asked = torch.tensor(normed, device=mix.device).unsqueeze(1)
        which = [k for k in range(K) if normed[k]]
        C = tensors[0].shape[1]
        mean = mix.new_zeros(K, C, dtype=torch.float64)
        variance = torch.ones_like(mean)
        if which:
            mean[which], variance[which] = _moments([tensors[k] for k in which])
        rate = torch.where(asked, (variance + eps).rsqrt(), 1.0)
        scale = mix.double().unsqueeze(2) * rate
        shift = -(scale * mean).sum(1)
        ones = scale.new_ones(len(mix), len(tensors) - K, C)
        sums = _combine(tensors, torch.cat([scale, ones], 1), shift)
        ctx.save_for_backward(scale, mean, rate, asked, mix, *tensors[:K])
        ctx.added = len(tensors) - K
        ctx.mark_non_differentiable(mean, variance)
        return (*sums, mean, variance)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        scale, mean, rate, asked, mix, *inputs = ctx.saved_tensors
        sent = [channels_last(grad) for grad in grads[: len(mix)]]
        pixels = inputs[0].numel() // inputs[0].shape[1] if inputs else 1
        wanted = (asked.squeeze(1) | ctx.needs_input_grad[0]).expand(len(mix), -1)
        totals, products = _reduce(sent, inputs, mean, wanted)
        products = products * rate  # now with the normalized input
        grad_mix = products.sum(2).to(mix.dtype) if ctx.needs_input_grad[0] else None
        weights = mix.double().unsqueeze(2)
        shared = (weights * totals.unsqueeze(1)).sum(0) / pixels
        along = (weights * products).sum(0) / pixels
        slope = -rate.square() * along * asked
        shift = -(rate * shared + slope * mean) * asked
        assert len(sent) == 1 or not ctx.added
        grad_inputs = _spread(sent, inputs, scale, slope, shift)
        return (grad_mix, None, None, *grad_inputs, *(sent[0] for _ in range(ctx.added)))


def channels_last(x: Tensor) -> Tensor:
    """x with its channels last in memory."""
    return x.contiguous(memory_format=torch.channels_last)


def _by_channel(x: Tensor) -> Tensor:
    return x.view(1, -1, 1, 1)


def _moments(inputs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    pairs = [torch.var_mean(x.double(), (0, 2, 3), correction=0) for x in inputs]
    return torch.stack([mean for _, mean in pairs]), torch.stack([variance for variance, _ in pairs])


def _combine(inputs: Sequence[Tensor], scale: Tensor, shift: Tensor) -> list[Tensor]:
    sums = []
    for row, start in zip(scale.to(inputs[0].dtype), shift.to(inputs[0].dtype), strict=True):
        out = _by_channel(start).expand_as(inputs[0]).contiguous(memory_format=torch.channels_last)
        for x, factor in zip(inputs, row, strict=True):
            out.addcmul_(x, _by_channel(factor))
        sums.append(out)
    return sums


def _reduce(grads: Sequence[Tensor], inputs: Sequence[Tensor], mean: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    centered = [x - _by_channel(m.to(x.dtype)) for x, m in zip(inputs, mean, strict=True)]
    rows = [torch.stack([(grad * x).sum((0, 2, 3)) for x in centered]) for grad in grads]
    return torch.stack([grad.sum((0, 2, 3)) for grad in grads]).double(), torch.stack(rows).double()


def _spread(
    grads: Sequence[Tensor], inputs: Sequence[Tensor], scale: Tensor, slope: Tensor, shift: Tensor
) -> list[Tensor]:
    scale, slope, shift = (factor.to(inputs[0].dtype) for factor in (scale, slope, shift))
    results = []
    for k, x in enumerate(inputs):
        out = x * _by_channel(slope[k]) + _by_channel(shift[k])
        for grad, factor in zip(grads, scale[:, k], strict=True):
            out.addcmul_(grad, _by_channel(factor))
        results.append(out)
    return results


def is_compiled(like: Tensor) -> bool:
    """Whether there are kernels for such tensors: float32 on a CPU, with Numba."""
    return like.device.type == "cpu" and like.dtype == torch.float32 and compiled_kernels() is not None


@cache
def compiled_kernels() -> ModuleType | None:
    """The compiled kernels; None without Numba."""
    try:
        from diffnas.nets.compiled import mix
    except ImportError:
        return None
    return mix
