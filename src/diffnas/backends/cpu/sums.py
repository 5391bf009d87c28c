"""Mixed sums by :mod:`diffnas.backends.cpu.kernels.sums`, and all that is small about them in NumPy.

Float32 on a CPU; import this module only where it is used, for it needs Numba. A pruned supernet has little to compute
in any one step, so here the coefficients, a few numbers for each channel, are NumPy's: its calls take a fraction of the
time of PyTorch's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from diffnas.backends.cpu.kernels import sums as compiled
from diffnas.backends.norms import Measured, Statistics, channels_last, check_alike, check_pixels
from diffnas.parallel import in_parallel


class _Call(NamedTuple):
    """What the step works on besides tensors; the arrays are results.

    Attributes:
        normed: which inputs are normalized, ``(K,)``.
        eps: what batch norms add to the variance.
        measured: what is known of inputs.
        mean: ``(K, C)``, float64.
        variance: likewise.
    """

    normed: Any
    eps: float
    measured: Mapping[int, Measured]
    mean: Any
    variance: Any


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

    As :func:`diffnas.backends.norms.mixed_sums`, but that statistics may be known beforehand.

    Args:
        inputs: K tensors ``(B, C, H, W)``, float32.
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
    check_alike([*inputs, *added])
    if any(normed):
        check_pixels(inputs[0].shape)
    C = inputs[0].shape[1]
    call = _Call(np.array(normed), eps, measured or {}, np.zeros((len(inputs), C)), np.ones((len(inputs), C)))
    apply: Callable[..., tuple[Tensor, ...]] = _MixedSums.apply
    sums = apply(call, mix, *inputs, *added)
    pixels = inputs[0].numel() // C
    return sums, Statistics(torch.from_numpy(call.mean), torch.from_numpy(call.variance), pixels)


class _MixedSums(torch.autograd.Function):
    """The sums."""

    @staticmethod
    def forward(ctx: Any, call: _Call, mix: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        K, tensors = len(call.normed), tuple(channels_last(x) for x in tensors)
        for k, known in call.measured.items():
            call.mean[k], call.variance[k] = known.mean.numpy(), known.variance.numpy()
        which = [k for k in np.flatnonzero(call.normed) if k not in call.measured]
        if which:
            call.mean[which], call.variance[which] = _moments([tensors[k] for k in which])
        rate = np.where(call.normed[:, None], 1 / np.sqrt(call.variance + call.eps), 1.0)
        weights = mix.detach().numpy().astype(np.float64)[:, :, None]
        scale = weights * rate
        ones = np.ones((len(mix), len(tensors) - K, rate.shape[1]))
        table = np.tile(addresses(tensors), (len(mix), 1))
        sums = combine(tensors[0], table, np.concatenate([scale, ones], 1), -(scale * call.mean).sum(1))
        ctx.save_for_backward(*tensors[:K])
        ctx.call, ctx.rate, ctx.weights, ctx.scale, ctx.added = call, rate, weights, scale, len(tensors) - K
        return tuple(sums)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        call, rate, weights, scale, inputs = ctx.call, ctx.rate, ctx.weights, ctx.scale, ctx.saved_tensors
        folds = {k: known.fold for k, known in call.measured.items() if known.fold is not None}
        assert len(grads) == 1 or not (ctx.added or folds)
        sent = [channels_last(grad) for grad in grads]
        wanted = np.repeat((call.normed | ctx.needs_input_grad[1])[None], len(sent), 0)
        totals, products = reduce(sent, inputs, call.mean, wanted)
        products *= rate  # now with the normalized input
        pixels = inputs[0].numel() // inputs[0].shape[1]
        asked = call.normed[:, None]
        slope = -(rate**2) * (weights * products).sum(0) / pixels * asked
        shift = -(rate * (weights * totals[:, None]).sum(0) / pixels + slope * call.mean) * asked
        results = [sent[0]] * len(inputs)
        rest = [k for k in range(len(inputs)) if k not in folds]
        if rest:
            spread = _spread(
                sent, [inputs[k] for k in rest], scale[:, rest], slope[rest], shift[rest], call.normed[rest]
            )
            for k, grad in zip(rest, spread, strict=True):
                results[k] = grad
        for k, fold in folds.items():
            fold.left = tuple(torch.from_numpy(row) for row in (scale[0, k], slope[k], shift[k]))
        grad_mix = torch.from_numpy(products.sum(2).astype(np.float32)) if ctx.needs_input_grad[1] else None
        return (None, grad_mix, *results, *(sent[0] for _ in range(ctx.added)))


def normalized(x: Tensor, known: Measured, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Batch norm with a weight and a bias, ``(C,)``, of a tensor ``(B, C, H, W)`` whose statistics are known.

    The gradient for x is that for the result, and the rest is left in the fold, which must be there.
    """
    apply: Callable[..., Tensor] = _Normalized.apply
    return apply(x, known, eps, weight, bias)


class _Normalized(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, known: Measured, eps: float, weight: Tensor, bias: Tensor) -> Tensor:
        rate = 1 / np.sqrt(known.variance.numpy() + eps)
        scale = weight.detach().numpy() * rate
        shift = bias.detach().numpy() - scale * known.mean.numpy()
        (out,) = combine(x, addresses([x])[None], scale[None, None], shift[None])
        ctx.save_for_backward(x)
        ctx.known, ctx.rate, ctx.scale = known, rate, scale
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (x,), rate, mean, grad = ctx.saved_tensors, ctx.rate, ctx.known.mean.numpy(), channels_last(grad)
        totals, products = reduce([grad], [x], mean[None], np.ones((1, 1), np.bool_))
        total, product = totals[0], products[0, 0] * rate  # with the normalized input
        pixels = x.numel() // x.shape[1]
        slope = -ctx.scale * rate * product / pixels
        shift = -ctx.scale * total / pixels - slope * mean
        ctx.known.fold.left = tuple(torch.from_numpy(row) for row in (ctx.scale, slope, shift))
        sums = (torch.from_numpy(row.astype(np.float32)) for row in (product, total))
        return (grad, None, None, *sums)


def _moments(inputs: Sequence[Tensor]) -> tuple[Any, Any]:
    B, C, H, W = inputs[0].shape
    means, squares = np.empty((2, len(inputs), B, C), np.float32)
    _run(compiled.moments, B, addresses(inputs), means, squares, H * W * C)
    return compiled.joined(means, squares, H * W)


def reduce(grads: Sequence[Tensor], inputs: Sequence[Tensor], mean: Any, wanted: Any) -> tuple[Any, Any]:
    """The sums of each gradient ``(T, C)``, and of its products with each input less its mean ``(T, K, C)``."""
    B, C, H, W = grads[0].shape
    totals, products = np.empty((len(grads), B, C), np.float32), np.zeros((*wanted.shape, B, C), np.float32)
    places = addresses(grads), addresses(inputs), mean.astype(np.float32), wanted
    _run(compiled.reduce, B, *places, totals, products, H * W * C)
    return totals.sum(1, dtype=np.float64), products.sum(2, dtype=np.float64)


def _spread(grads: Sequence[Tensor], inputs: Sequence[Tensor], scale: Any, slope: Any, shift: Any, normed: Any) -> Any:
    """For each input: shift + slope times the input + the sum of the gradients, each times its scale."""
    used = np.concatenate([normed[:, None], (scale != 0).any(2).T], 1)
    senders = np.tile(addresses(grads), (len(inputs), 1))
    table = np.concatenate([addresses(inputs)[:, None], senders], 1) * used
    return combine(inputs[0], table, np.concatenate([slope[:, None], scale.transpose(1, 0, 2)], 1), shift)


def combine(like: Tensor, table: Any, scale: Any, shift: Any) -> list[Tensor]:
    """Weighted sums, tensors of the shape of ``like``: by channel, shift + the sum of scales times tensors.

    Args:
        like: ``(B, C, H, W)``, channels last.
        table: the addresses of tensors of this shape, ``(T, K)``; 0 for none.
        scale: ``(T, K, C)``.
        shift: ``(T, C)``.
    """
    results = [torch.empty_like(like) for _ in table]
    factors = scale.astype(np.float32), shift.astype(np.float32)
    pictures = like.shape[0]
    _run(compiled.combine, pictures, addresses(results), table, *factors, like.numel() // pictures)
    return results


def move(running: Sequence[Tensor], values: Any, rate: float) -> None:
    """Move running averages, ``(C,)`` each, towards the rows of an array by a rate."""
    compiled.move(addresses(running), values, rate)


def joined(tensors: Sequence[Tensor]) -> Tensor:
    """Maps of one shape beside each other, ``(B, K C, H, W)``, channels last."""
    if len({(x.shape, x.dtype) for x in tensors}) > 1:
        # PyTorch refuses them; a kernel would read past the end.
        return torch.cat(list(tensors), dim=1)
    apply: Callable[..., Tensor] = _Joined.apply
    return apply(*tensors)


class _Joined(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> Tensor:
        B, C, H, W = tensors[0].shape
        tensors = tuple(channels_last(x) for x in tensors)
        out = torch.empty((B, len(tensors) * C, H, W), dtype=torch.float32, memory_format=torch.channels_last)
        _run(compiled.join, B, addresses(tensors), out.data_ptr(), H * W, C)
        ctx.count = len(tensors)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        (B, C, H, W), grad = grad.shape, channels_last(grad)
        size = B, C // ctx.count, H, W
        parts = [torch.empty(size, dtype=torch.float32, memory_format=torch.channels_last) for _ in range(ctx.count)]
        _run(compiled.divide, B, grad.data_ptr(), addresses(parts), H * W, size[1])
        return tuple(parts)


def _run(kernel: Callable[..., None], pictures: int, *arguments: Any) -> None:
    in_parallel(lambda first, last: kernel(*arguments, first, last), pictures)


def addresses(tensors: Sequence[Tensor]) -> Any:
    """Where the numbers of tensors are."""
    return np.array([x.data_ptr() for x in tensors], np.int64)
