"""Batch norm, mixing weight and sum of many operations as one step on a GPU, and nodes side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from diffnas.backends.gpu import launches
from diffnas.backends.norms import channels_last, check_alike, check_pixels


def mixed_sums(
    inputs: Sequence[Tensor], mix: Tensor, *, norms: Sequence[Sequence[nn.BatchNorm2d]], added: Sequence[Tensor] = ()
) -> tuple[Tensor, ...]:
    """The sums of :class:`diffnas.backends.node_by_node.MixedSums`, in three launches forward and three backward."""
    check_alike([*inputs, *added])
    if any(norms):
        check_pixels(inputs[0].shape)
    apply: Callable[..., tuple[Tensor, ...]] = _MixedSums.apply
    return apply(mix, tuple(map(tuple, norms)), *inputs, *added)


class _MixedSums(torch.autograd.Function):
    """The sums of ``mixed_sums``."""

    @staticmethod
    def forward(
        ctx: Any, mix: Tensor, own: tuple[tuple[nn.BatchNorm2d, ...], ...], *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        K, tensors, mix = len(own), tuple(channels_last(x) for x in tensors), mix.contiguous()
        sums = launches.empty_maps(len(mix), tensors[0])
        where = launches.table(tensors, sums.unbind())
        norms = launches.normalize(where, own, tensors[0])
        launches.mix_maps(where, mix, norms, tensors[0], len(tensors) - K)
        ctx.save_for_backward(mix, *norms, *tensors[:K])
        ctx.added, ctx.normed = len(tensors) - K, tuple(map(bool, own))
        # Else PyTorch would make a tensor of zeros for a sum that nothing uses.
        ctx.set_materialize_grads(False)
        return sums.unbind()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        mix, *saved = ctx.saved_tensors
        norms, inputs = launches.Norms(*saved[:4]), saved[4:]
        like = inputs[0]
        sent = [torch.zeros_like(like) if grad is None else channels_last(grad) for grad in grads[: len(mix)]]
        assert len(sent) == 1 or not ctx.added
        results = launches.empty_maps(len(inputs), like)
        where = launches.table(sent, inputs, results.unbind())
        grad_mix, slopes = launches.settle(where, mix, norms, ctx.normed, like)
        launches.spread(where, slopes, ctx.normed, like)
        return (grad_mix, None, *results.unbind(), *(sent[0] for _ in range(ctx.added)))


def beside(maps: Sequence[Tensor]) -> Tensor:
    """Maps ``(B, C, H, W)`` concatenated along their channels; the backward pass takes them apart in one launch."""
    apply: Callable[..., Tensor] = _Beside.apply
    return apply(*maps)


class _Beside(torch.autograd.Function):
    """The result of ``beside``."""

    @staticmethod
    def forward(ctx: Any, *maps: Tensor) -> Tensor:
        ctx.count = len(maps)
        return torch.cat(maps, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        B, C, H, W = grad.shape
        by_pixel = grad.permute(0, 2, 3, 1).reshape(B, H, W, ctx.count, C // ctx.count)
        apart: tuple[Tensor, ...] = by_pixel.permute(3, 0, 1, 2, 4).contiguous().permute(0, 1, 4, 2, 3).unbind()
        return apart
