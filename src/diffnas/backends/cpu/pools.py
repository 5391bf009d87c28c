"""The 3x3 pools of a node and the batch statistics of their results in one step.

The kernels are :mod:`diffnas.backends.cpu.kernels.pool`.

Float32 on a CPU; import this module only where it is used, for it needs Numba.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from diffnas.backends.cpu.conv_group import workspace
from diffnas.backends.cpu.kernels import pool as compiled
from diffnas.backends.cpu.kernels.buffer import Shape
from diffnas.backends.cpu.kernels.sums import joined
from diffnas.parallel import in_parallel


def pools(x: Tensor, modules: Sequence[nn.Module]) -> tuple[list[Tensor], Tensor, Tensor]:
    """Several pools of one map, which ``is_known`` knows and which have one stride.

    Args:
        x: the map, ``(B, C, H, W)``.
        modules: the pools.

    Returns:
        The results ``(B, C, H', W')``, their means and their (biased) variances, ``(K, C)`` in float64.
    """
    stride = modules[0].stride
    assert isinstance(stride, int)
    apply: Callable[..., tuple[Tensor, ...]] = _Pools.apply
    *results, mean, variance = apply(kinds_of(modules), stride, x)
    return results, mean, variance


def kinds_of(modules: Sequence[nn.Module]) -> Any:
    """What the kernels call these pools."""
    return np.array([compiled.MAX if isinstance(module, nn.MaxPool2d) else compiled.AVERAGE for module in modules])


def through(kinds: Any, stride: int, x: Tensor) -> tuple[list[Tensor], Any, Any]:
    """The results of pools of x, channels last, and their means and variances: arrays ``(K, C)`` in float64."""
    shape = _shape(x, stride)
    size = (shape.B, shape.C, shape.rows, shape.columns)
    results = [torch.empty(size, dtype=torch.float32, memory_format=torch.channels_last) for _ in kinds]
    places = np.array([result.data_ptr() for result in results])
    means, squares = np.empty((2, len(kinds), shape.B, shape.C), np.float32)

    def work(first: int, last: int) -> None:
        memory = workspace(compiled.scratch_size(shape))
        compiled.forward(kinds, x.data_ptr(), places, stride, shape, means, squares, memory, first, last)

    in_parallel(work, shape.B)
    return results, *joined(means, squares, shape.rows * shape.columns)


def backward_through(kinds: Any, stride: int, x: Tensor, grads: Sequence[Tensor]) -> Tensor:
    """The gradient for x from those for the results, all channels last."""
    shape, out = _shape(x, stride), torch.empty_like(x)
    places = np.array([grad.data_ptr() for grad in grads])

    def work(first: int, last: int) -> None:
        memory = workspace(compiled.scratch_size(shape))
        compiled.backward(kinds, x.data_ptr(), places, out.data_ptr(), stride, shape, memory, first, last)

    in_parallel(work, shape.B)
    return out


def _shape(x: Tensor, stride: int) -> Shape:
    B, C, H, W = x.shape
    return Shape(B, H, W, C, (H - 1) // stride + 1, (W - 1) // stride + 1, C, 0, W)


class _Pools(torch.autograd.Function):
    """The results, then their means and variances."""

    @staticmethod
    def forward(ctx: Any, kinds: Any, stride: int, x: Tensor) -> tuple[Tensor, ...]:
        x = x.contiguous(memory_format=torch.channels_last)
        results, *moments = through(kinds, stride, x)
        mean, variance = (torch.from_numpy(part) for part in moments)
        ctx.save_for_backward(x)
        ctx.kinds, ctx.stride = kinds, stride
        ctx.mark_non_differentiable(mean, variance)
        return (*results, mean, variance)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, None, Tensor]:
        (x,) = ctx.saved_tensors
        sent = [grad.contiguous(memory_format=torch.channels_last) for grad in grads[: len(ctx.kinds)]]
        return None, None, backward_through(ctx.kinds, ctx.stride, x, sent)
