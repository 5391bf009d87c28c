"""A node and its max and average pools as one step on a GPU, forward and backward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from diffnas.backends.gpu import launches
from diffnas.backends.gpu import pool_kernels as kernels
from diffnas.backends.norms import channels_last

SAME, MAX, AVERAGE = range(3)
"""The kinds: the node itself, and its pools."""


class _Shape(NamedTuple):
    """What decides the sizes of all maps, and the kinds in their order.

    Attributes:
        before: the size of the node, ``(B, C, H, W)``.
        stride: of the pools.
        kinds: each once.
    """

    before: torch.Size
    stride: int
    kinds: tuple[int, ...]

    @property
    def after(self) -> tuple[int, int]:
        """Height and width of the results."""
        rows, columns = ((length - 1) // self.stride + 1 for length in self.before[2:])
        return rows, columns

    @property
    def constants(self) -> tuple[int, ...]:
        """The sizes, as the kernels take them."""
        _, C, H, W = self.before
        return *self.after, H, W, C, self.stride


def pools(x: Tensor, modules: Sequence[nn.Module | None]) -> tuple[Tensor, ...]:
    """The results of a node's pools, ``(B, C, H', W')``, in one launch each way.

    Args:
        x: the node's value, ``(B, C, H, W)``, float32, on a GPU.
        modules: pools that :func:`diffnas.backends.schedule.is_common_pool` knows, each once and with one stride; None
            for the node itself, whose stride is 1.
    """
    kinds = tuple(SAME if pool is None else MAX if type(pool) is nn.MaxPool2d else AVERAGE for pool in modules)
    strides = [pool.stride for pool in modules if isinstance(pool, nn.MaxPool2d | nn.AvgPool2d)]
    if not strides or len(set(kinds)) < len(kinds):
        return tuple(x if pool is None else pool(x) for pool in modules)
    apply: Callable[..., tuple[Tensor, ...]] = _Pools.apply
    return apply(_Shape(x.shape, int(strides[0]), kinds), x)


class _Pools(torch.autograd.Function):
    """The results of ``pools``."""

    @staticmethod
    def forward(ctx: Any, shape: _Shape, x: Tensor) -> tuple[Tensor, ...]:
        x = channels_last(x)
        pooled = [kind for kind in shape.kinds if kind != SAME]
        found = {SAME: x} | dict(zip(pooled, launches.empty_maps(len(pooled), x, shape.after), strict=True))
        largest, average = found.get(MAX, x), found.get(AVERAGE, x)
        where = torch.empty(largest.numel() if MAX in found else 0, dtype=torch.int8, device=x.device)
        pixels, sizes = len(x) * shape.after[0] * shape.after[1], launches.tile(x.shape[1])
        arguments = x, largest, where, average, pixels, *shape.constants, MAX in found, AVERAGE in found
        kernels.pool[(launches.tiles(pixels, sizes),)](*arguments, **sizes)
        ctx.save_for_backward(where)
        ctx.shape = shape
        return tuple(found[kind] for kind in shape.kinds)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (where,), shape = ctx.saved_tensors, ctx.shape
        sent = dict(zip(shape.kinds, map(channels_last, grads), strict=True))
        (out,) = launches.empty_maps(1, grads[0], shape.before[2:])
        pixels, sizes = launches.pixels_of(out), launches.tile(out.shape[1])
        asked = [kind in sent for kind in (SAME, MAX, AVERAGE)]
        same, largest, average = (sent.get(kind, out) for kind in (SAME, MAX, AVERAGE))
        arguments = same, largest, where, average, out, pixels, *shape.constants, *asked
        kernels.pool_backward[(launches.tiles(pixels, sizes),)](*arguments, **sizes)
        return None, out
