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

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from diffnas.parallel import in_parallel


class Statistics(NamedTuple):
    """Mean and (biased) variance of each tensor over the batch, ``(K, C)``, and the pixels they were taken over."""

    mean: Tensor
    variance: Tensor
    pixels: int

    def rates(self, eps: float) -> Tensor:
        """One over the standard deviation."""
        return (self.variance + eps).rsqrt()


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
        ValueError: for a batch norm of one pixel, as PyTorch's own.

    Returns:
        T sums, ``(B, C, H, W)``, and the statistics of the inputs, in float64 (0 and 1 where not normed).

    >>> x = torch.tensor([1.0, 3.0]).view(2, 1, 1, 1)
    >>> sums, statistics = mixed_sums([x, x], torch.tensor([[2.0, 0.5]]), normed=[True, False])
    >>> sums[0].flatten()
    tensor([-1.5000,  3.5000])
    >>> statistics.mean.flatten()
    tensor([2., 0.], dtype=torch.float64)
    """
    if any(normed):
        _check_pixels(inputs[0])
    apply: Callable[..., tuple[Tensor, ...]] = _MixedSums.apply
    results = apply(mix, tuple(normed), eps, measured or {}, *inputs, *added)
    sums, (mean, variance) = results[: len(mix)], results[len(mix) :]
    return sums, Statistics(mean, variance, inputs[0].numel() // inputs[0].shape[1])


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


def _check_pixels(x: Tensor) -> None:
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
        measured: Mapping[int, Measured],
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        K = len(normed)
        tensors = tuple(_channels_last(x) for x in tensors)
        kernels = _kernels(tensors[0])
        asked = torch.tensor(normed, device=mix.device).unsqueeze(1)
        which = [k for k in range(K) if normed[k] and k not in measured]
        C = tensors[0].shape[1]
        mean = mix.new_zeros(K, C, dtype=torch.float64)
        variance = torch.ones_like(mean)
        if which:
            mean[which], variance[which] = kernels.moments([tensors[k] for k in which])
        for k, known in measured.items():
            mean[k], variance[k] = known.mean, known.variance
        rate = torch.where(asked, (variance + eps).rsqrt(), 1.0)
        scale = mix.double().unsqueeze(2) * rate
        shift = -(scale * mean).sum(1)
        ones = scale.new_ones(len(mix), len(tensors) - K, C)
        sums = kernels.combine(tensors, torch.cat([scale, ones], 1), shift)
        ctx.save_for_backward(scale, mean, rate, asked, mix, *tensors[:K])
        ctx.kernels, ctx.added = kernels, len(tensors) - K
        ctx.folds = {k: known.fold for k, known in measured.items() if known.fold is not None}
        ctx.mark_non_differentiable(mean, variance)
        return (*sums, mean, variance)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        scale, mean, rate, asked, mix, *inputs = ctx.saved_tensors
        sent = [_channels_last(grad) for grad in grads[: len(mix)]]
        pixels = inputs[0].numel() // inputs[0].shape[1] if inputs else 1
        wanted = (asked.squeeze(1) | ctx.needs_input_grad[0]).expand(len(mix), -1)
        totals, products = ctx.kernels.reduce(sent, inputs, mean, wanted)
        products = products * rate  # now with the normalized input
        grad_mix = products.sum(2).to(mix.dtype) if ctx.needs_input_grad[0] else None
        weights = mix.double().unsqueeze(2)
        shared = (weights * totals.unsqueeze(1)).sum(0) / pixels
        along = (weights * products).sum(0) / pixels
        slope = -rate.square() * along * asked
        shift = -(rate * shared + slope * mean) * asked
        assert len(sent) == 1 or not (ctx.added or ctx.folds)
        grad_inputs = [sent[0]] * len(inputs)
        rest = [k for k in range(len(inputs)) if k not in ctx.folds]
        if rest:
            factors = scale[:, rest], slope[rest], shift[rest], asked.squeeze(1)[rest]
            for k, grad in zip(rest, ctx.kernels.spread(sent, [inputs[k] for k in rest], *factors), strict=True):
                grad_inputs[k] = grad
        for k, fold in ctx.folds.items():
            fold.left = scale[0, k], slope[k], shift[k]
        return (grad_mix, None, None, None, *grad_inputs, *(sent[0] for _ in range(ctx.added)))


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _by_channel(x: Tensor) -> Tensor:
    return x.view(1, -1, 1, 1)


class _Stock:
    """The steps in PyTorch: the reference, for every device and dtype. The arguments are those of the kernels."""

    @staticmethod
    def moments(inputs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        pairs = [torch.var_mean(x.double(), (0, 2, 3), correction=0) for x in inputs]
        return torch.stack([mean for _, mean in pairs]), torch.stack([variance for variance, _ in pairs])

    @staticmethod
    def combine(inputs: Sequence[Tensor], scale: Tensor, shift: Tensor) -> list[Tensor]:
        sums = []
        for row, start in zip(scale.to(inputs[0].dtype), shift.to(inputs[0].dtype), strict=True):
            out = _by_channel(start).expand_as(inputs[0]).contiguous(memory_format=torch.channels_last)
            for x, factor in zip(inputs, row, strict=True):
                out.addcmul_(x, _by_channel(factor))
            sums.append(out)
        return sums

    @staticmethod
    def reduce(
        grads: Sequence[Tensor], inputs: Sequence[Tensor], mean: Tensor, wanted: Tensor
    ) -> tuple[Tensor, Tensor]:
        centered = [x - _by_channel(m.to(x.dtype)) for x, m in zip(inputs, mean, strict=True)]
        rows = [torch.stack([(grad * x).sum((0, 2, 3)) for x in centered]) for grad in grads]
        return torch.stack([grad.sum((0, 2, 3)) for grad in grads]).double(), torch.stack(rows).double()

    @staticmethod
    def spread(
        grads: Sequence[Tensor], inputs: Sequence[Tensor], scale: Tensor, slope: Tensor, shift: Tensor, normed: Tensor
    ) -> list[Tensor]:
        scale, slope, shift = (factor.to(inputs[0].dtype) for factor in (scale, slope, shift))
        results = []
        for k, x in enumerate(inputs):
            out = x * _by_channel(slope[k]) + _by_channel(shift[k])
            for grad, factor in zip(grads, scale[:, k], strict=True):
                out.addcmul_(grad, _by_channel(factor))
            results.append(out)
        return results


class _Compiled:
    """The steps in Numba, for float32 on a CPU."""

    def __init__(self, compiled: ModuleType) -> None:
        self.compiled = compiled

    def moments(self, inputs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        B, C, H, W = inputs[0].shape
        means, squares = torch.empty(len(inputs), B, C), torch.empty(len(inputs), B, C)
        self._run(self.compiled.moments, B, _addresses(inputs), means.numpy(), squares.numpy(), H * W * C)
        # Of pictures of one size: the distances within each, and those of the pictures' means.
        apart, mean = torch.var_mean(means.double(), 1, correction=0)
        return mean, squares.double().sum(1) / (B * H * W) + apart

    def combine(self, inputs: Sequence[Tensor], scale: Tensor, shift: Tensor) -> list[Tensor]:
        rows = _addresses(inputs)
        return self._combine(inputs[0], np.tile(rows, (len(scale), 1)), scale, shift)

    def reduce(
        self, grads: Sequence[Tensor], inputs: Sequence[Tensor], mean: Tensor, wanted: Tensor
    ) -> tuple[Tensor, Tensor]:
        B, C, H, W = grads[0].shape
        totals, products = torch.empty(len(grads), B, C), torch.zeros(*wanted.shape, B, C)
        places = _addresses(grads), _addresses(inputs), mean.float().numpy(), wanted.contiguous().numpy()
        self._run(self.compiled.reduce, B, *places, totals.numpy(), products.numpy(), H * W * C)
        return totals.double().sum(1), products.double().sum(2)

    def spread(
        self,
        grads: Sequence[Tensor],
        inputs: Sequence[Tensor],
        scale: Tensor,
        slope: Tensor,
        shift: Tensor,
        normed: Tensor,
    ) -> list[Tensor]:
        used = torch.cat([normed.unsqueeze(1), (scale != 0).any(2).T], 1).numpy()
        senders = np.tile(_addresses(grads), (len(inputs), 1))
        table = np.concatenate([_addresses(inputs)[:, None], senders], 1) * used
        return self._combine(inputs[0], table, torch.cat([slope.unsqueeze(1), scale.transpose(0, 1)], 1), shift)

    def _combine(self, like: Tensor, table: Any, scale: Tensor, shift: Tensor) -> list[Tensor]:
        results = [torch.empty_like(like) for _ in table]
        factors = scale.float().contiguous().numpy(), shift.float().numpy()
        numbers = like[0].numel()
        self._run(self.compiled.combine, len(like), _addresses(results), table, *factors, numbers)
        return results

    @staticmethod
    def _run(kernel: Callable[..., None], pictures: int, *arguments: Any) -> None:
        in_parallel(lambda first, last: kernel(*arguments, first, last), pictures)


def _addresses(tensors: Sequence[Tensor]) -> Any:
    return np.array([x.data_ptr() for x in tensors], np.int64)


def _kernels(like: Tensor) -> Any:
    compiled = compiled_kernels()
    if compiled is None or like.device.type != "cpu" or like.dtype != torch.float32:
        return _Stock
    return _Compiled(compiled)


@cache
def compiled_kernels() -> ModuleType | None:
    """The compiled kernels; None without Numba."""
    try:
        from diffnas.nets.compiled import mix
    except ImportError:
        return None
    return mix
