"""The 3x3 pools of a node and the batch statistics of their results in one step, by :mod:`diffnas.nets.compiled.pool`.

Float32 on a CPU; import this module only where it is used, for it needs Numba.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from diffnas.nets.compiled import pool as compiled
from diffnas.nets.compiled.buffer import Shape
from diffnas.nets.compiled.mix import joined
from diffnas.nets.stage import workspace
from diffnas.parallel import in_parallel


def pools(x: Tensor, modules: Sequence[nn.Module]) -> tuple[list[Tensor], Tensor, Tensor]:
    """Several pools of one map, which ``is_known`` knows and which have one stride.

    Args:
        x: the map, ``(B, C, H, W)``.
        modules: the pools.

    Returns:
        The results ``(B, C, H', W')``, their means and their (biased) variances, ``(K, C)`` in float64.
    """
    kinds = np.array([compiled.MAX if isinstance(module, nn.MaxPool2d) else compiled.AVERAGE for module in modules])
    stride = modules[0].stride
    assert isinstance(stride, int)
    apply: Callable[..., tuple[Tensor, ...]] = _Pools.apply
    *results, mean, variance = apply(kinds, stride, x)
    return results, mean, variance


class _Pools(torch.autograd.Function):
    """The results, then their means and variances."""

    @staticmethod
    def forward(ctx: Any, kinds: Any, stride: int, x: Tensor) -> tuple[Tensor, ...]:
        x = x.contiguous(memory_format=torch.channels_last)
        B, C, H, W = x.shape
        rows, columns = (H - 1) // stride + 1, (W - 1) // stride + 1
        shape = Shape(B, H, W, C, rows, columns, C, 0, W)
        size = (B, C, rows, columns)
        results = [torch.empty(size, memory_format=torch.channels_last) for _ in kinds]
        places = np.array([result.data_ptr() for result in results])
        means, squares = np.empty((2, len(kinds), B, C), np.float32)

        def work(first: int, last: int) -> None:
            memory = workspace(compiled.scratch_size(shape))
            compiled.forward(kinds, x.data_ptr(), places, stride, shape, means, squares, memory, first, last)

        in_parallel(work, B)
        mean, variance = (torch.from_numpy(part) for part in joined(means, squares, rows * columns))
        ctx.save_for_backward(x)
        ctx.kinds, ctx.stride, ctx.shape = kinds, stride, shape
        ctx.mark_non_differentiable(mean, variance)
        return (*results, mean, variance)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, None, Tensor]:
        (x,) = ctx.saved_tensors
        out = torch.empty_like(x)
        sent = [grad.contiguous(memory_format=torch.channels_last) for grad in grads[: len(ctx.kinds)]]
        places = np.array([grad.data_ptr() for grad in sent])

        def work(first: int, last: int) -> None:
            memory = workspace(compiled.scratch_size(ctx.shape))
            compiled.backward(
                ctx.kinds, x.data_ptr(), places, out.data_ptr(), ctx.stride, ctx.shape, memory, first, last
            )

        in_parallel(work, len(x))
        return None, None, out
