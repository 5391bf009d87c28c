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
    """What decides the sizes of all maps, and the kinds of results.

    Attributes:
        before: the size of the node, ``(B, C, H, W)``.
        stride: the stride of the pools.
        kinds: the kinds of the results, in their order.
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
    """The results of a node's pools, ``(B, C, H', W')``, in one launch; one more adds all gradients backward.

    Args:
        x: the node's value, ``(B, C, H, W)``, float32, on a GPU.
        modules: pools that :func:`diffnas.backends.schedule.is_common_pool` knows, with one stride; None for the node
            itself, once for each reader.
    """
    kinds = tuple(SAME if pool is None else MAX if type(pool) is nn.MaxPool2d else AVERAGE for pool in modules)
    if max(kinds.count(MAX), kinds.count(AVERAGE)) > 1:
        return tuple(x if pool is None else pool(x) for pool in modules)
    strides = {int(str(pool.stride)) for pool in modules if isinstance(pool, nn.MaxPool2d | nn.AvgPool2d)}
    apply: Callable[..., tuple[Tensor, ...]] = _Pools.apply
    return apply(_Shape(x.shape, strides.pop() if strides else 1, kinds), x)


class _Pools(torch.autograd.Function):
    """The results of ``pools``."""

    @staticmethod
    def forward(ctx: Any, shape: _Shape, x: Tensor) -> tuple[Tensor, ...]:
        x = channels_last(x)
        kinds = [kind for kind in shape.kinds if kind != SAME]
        found = dict(zip(kinds, launches.empty_maps(len(kinds), x, shape.after), strict=True))
        largest, average = found.get(MAX, x), found.get(AVERAGE, x)
        where = torch.empty(largest.numel() if MAX in found else 0, dtype=torch.int8, device=x.device)
        if kinds:
            pixels, sizes = launches.pixels_of(found[kinds[0]]), launches.tile(x.shape[1])
            arguments = x, largest, where, average, pixels, *shape.constants, MAX in found, AVERAGE in found
            kernels.pool[(launches.tiles(pixels, sizes),)](*arguments, **sizes)
        ctx.save_for_backward(where)
        ctx.shape = shape
        # Else PyTorch would make a tensor of zeros for a result that nothing uses.
        ctx.set_materialize_grads(False)
        return tuple(x.detach() if kind == SAME else found[kind] for kind in shape.kinds)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        (where,), shape = ctx.saved_tensors, ctx.shape
        sent = [(kind, channels_last(grad)) for kind, grad in zip(shape.kinds, grads, strict=True) if grad is not None]
        if [kind for kind, _ in sent] == [SAME]:
            return None, sent[0][1]
        same, pooled = [grad for kind, grad in sent if kind == SAME], dict(sent)
        (out,) = launches.empty_maps(1, sent[0][1], shape.before[2:])
        pixels, sizes = launches.pixels_of(out), launches.tile(out.shape[1])
        largest, average = pooled.get(MAX, out), pooled.get(AVERAGE, out)
        arguments = launches.table(same or [out]), largest, where, average, out, pixels, *shape.constants
        asked = len(same), MAX in pooled, AVERAGE in pooled
        kernels.pool_backward[(launches.tiles(pixels, sizes),)](*arguments, *asked, **sizes)
        return None, out
