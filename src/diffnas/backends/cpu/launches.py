"""The kernels that Python calls outside of a program: batch norm of networks, and maps beside each other.

Float32 on a CPU; import this module only where it is used, for it needs Numba. What is small about them, a few numbers
for each channel, is NumPy's: its calls take a fraction of the time of PyTorch's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from diffnas.backends.cpu.kernels import sums as compiled
from diffnas.backends.norms import Statistics, channels_last
from diffnas.parallel import in_parallel


class Fold:
    """Carries the factors of a batch norm's input gradient to the code that computed the input, which applies them.

    The gradient for the input is ``scale * grad + slope * input + shift``. Only ``grad``, which many inputs share, is
    ever written to memory.
    """

    def __init__(self) -> None:
        self.left: tuple[Tensor, Tensor, Tensor] | None = None

    def factors(self, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scale, slope and shift, with the shape of ``like``; 1, 0 and 0 if no batch norm stored any."""
        return self.left or (torch.ones_like(like), torch.zeros_like(like), torch.zeros_like(like))


def normalized(x: Tensor, statistics: Statistics, fold: Fold, weight: Tensor, bias: Tensor, *, eps: float) -> Tensor:
    """The batch norm, with a weight and a bias, ``(C,)``, of a tensor ``(B, C, H, W)``.

    The backward pass hands on the gradient for the result as that for x, and leaves in the fold the factors that are
    still to be applied.

    Args:
        x: the tensor, channels last.
        statistics: its mean and variance, ``(1, C)``.
        fold: the fold of the code that computed ``x``.
        weight: the factor of the normalized tensor.
        bias: what is then added.
        eps: what is added to the variance.
    """
    apply: Callable[..., Tensor] = _Normalized.apply
    return apply(x, statistics, fold, eps, weight, bias)


class _Normalized(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, statistics: Statistics, fold: Fold, eps: float, weight: Tensor, bias: Tensor
    ) -> Tensor:
        mean, rate = statistics.mean[0].numpy(), 1 / np.sqrt(statistics.variance[0].numpy() + eps)
        scale = weight.detach().numpy() * rate
        factors = scale[None].astype(np.float32), (bias.detach().numpy() - scale * mean).astype(np.float32)
        out, pictures = torch.empty_like(x), len(x)
        whole = np.empty(0, np.int64), factors[0][:0]
        _run(compiled.combine, pictures, out.data_ptr(), addresses([x]), *factors, *whole, x.numel() // pictures)
        ctx.save_for_backward(x)
        ctx.mean, ctx.rate, ctx.scale, ctx.fold = mean, rate, scale, fold
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (x,), grad = ctx.saved_tensors, channels_last(grad)
        total, product = _reduced(grad, x, ctx.mean)
        product *= ctx.rate  # now the sum of grad times the normalized input
        pixels = x.numel() // x.shape[1]
        slope = -ctx.scale * ctx.rate * product / pixels
        shift = -ctx.scale * total / pixels - slope * ctx.mean
        ctx.fold.left = tuple(torch.from_numpy(row) for row in (ctx.scale, slope, shift))
        sums = (torch.from_numpy(row.astype(np.float32)) for row in (product, total))
        return (grad, None, None, None, *sums)


def _reduced(grad: Tensor, x: Tensor, mean: Any) -> tuple[Any, Any]:
    """The sums of a gradient ``(C,)``, and of its products with a tensor less its mean."""
    B, C, H, W = grad.shape
    totals, products = np.empty((1, B, C), np.float32), np.empty((1, 1, B, C), np.float32)
    tensors = addresses([grad]), addresses([x]), mean[None].astype(np.float32), np.ones((1, 1), np.bool_)
    _run(compiled.reduce, B, *tensors, totals, products, H * W * C)
    return totals[0].sum(0, dtype=np.float64), products[0, 0].sum(0, dtype=np.float64)


def move(running: Sequence[Tensor], values: Any, rate: float) -> None:
    """Move running averages, ``(C,)`` each, towards the rows of an array by a rate."""
    compiled.move(addresses(running), values, rate)


def joined(tensors: Sequence[Tensor]) -> Tensor:
    """Maps of one shape beside each other, ``(B, K C, H, W)``, channels last."""
    if len({(x.shape, x.dtype) for x in tensors}) > 1:
        # PyTorch refuses such tensors with an error; a kernel would read past their end.
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
