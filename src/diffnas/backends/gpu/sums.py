"""Batch norm, mixing weight and sum of many operations as one step on a GPU, forward and backward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from diffnas.backends.gpu import launches
from diffnas.backends.norms import Statistics, channels_last, check_alike, check_pixels


def mixed_sums(
    inputs: Sequence[Tensor], mix: Tensor, *, normed: Sequence[bool], added: Sequence[Tensor] = ()
) -> tuple[tuple[Tensor, ...], Statistics]:
    """As :class:`diffnas.backends.node_by_node.MixedSums`, in four launches forward and four backward.

    The statistics are in float32.
    """
    check_alike([*inputs, *added])
    if any(normed):
        check_pixels(inputs[0].shape)
    apply: Callable[..., tuple[Tensor, ...]] = _MixedSums.apply
    *totals, mean, variance = apply(mix, tuple(normed), *inputs, *added)
    return tuple(totals), Statistics(mean, variance, launches.pixels_of(inputs[0]))


class _MixedSums(torch.autograd.Function):
    """The sums of ``mixed_sums``, then the means and variances of its inputs."""

    @staticmethod
    def forward(ctx: Any, mix: Tensor, normed: tuple[bool, ...], *tensors: Tensor) -> tuple[Tensor, ...]:
        K, tensors, mix = len(normed), tuple(channels_last(x) for x in tensors), mix.contiguous()
        sums = launches.empty_maps(len(mix), tensors[0])
        where = launches.table(tensors, sums.unbind())
        norms = launches.normalize(where, normed, tensors[0])
        launches.mix_maps(where, mix, norms, tensors[0], len(tensors) - K)
        ctx.save_for_backward(mix, *norms, *tensors[:K])
        ctx.added, ctx.normed = len(tensors) - K, normed
        ctx.mark_non_differentiable(norms.mean, norms.variance)
        # Else PyTorch would make a tensor of zeros in every step for the mean and for the variance.
        ctx.set_materialize_grads(False)
        return (*sums.unbind(), norms.mean, norms.variance)

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
        grad_mix = launches.mix_backward(where, mix, norms, ctx.normed, like)
        return (grad_mix, None, *results.unbind(), *(sent[0] for _ in range(ctx.added)))
