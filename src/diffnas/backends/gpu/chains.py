"""Chains of ReLU, depthwise and 1x1 convolution, and batch norm; all chains that read one node, place by place.

The convolutions of a place may differ in kernel, padding and dilation, if their results have one size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from diffnas.backends.gpu import launches
from diffnas.backends.gpu.depthwise_kernels import LARGEST
from diffnas.backends.gpu.launches import Norms, Slopes
from diffnas.backends.gpu.stage import Stage
from diffnas.backends.norms import channels_last, constant
from diffnas.nets.geometry import SEPARABLE
from diffnas.nets.links import Link

Chain = Sequence[Link]


class _Outline(NamedTuple):
    """What links at one place have in common: their channels, and what decides the size of their results."""

    before: int
    channels: int
    stride: int
    lost: int


def groups(chains: Sequence[Chain]) -> tuple[list[list[int]], list[int]]:
    """The indices of chains that are computed together, longer chains first, and those of chains that no kernel knows.

    A chain is known if all its links are separable convolutions without a bias, and no kernel is too large. Chains of
    one link are computed with the first links of longer ones.
    """
    by_first: dict[_Outline, dict[tuple[_Outline, ...], list[int]]] = {}
    unknown = []
    for index, chain in enumerate(chains):
        if not all(map(_is_known, chain)):
            unknown.append(index)
            continue
        first, *rest = map(_outline, chain)
        by_first.setdefault(first, {}).setdefault(tuple(rest), []).append(index)
    known = []
    for by_rest in by_first.values():
        single = by_rest.pop((), [])
        several = list(by_rest.values()) or [[]]
        several[0] = several[0] + single
        known += several
    return known, unknown


def _is_known(link: Link) -> bool:
    return link.geometry.kind == SEPARABLE and link.geometry.kernel <= LARGEST and link.bias is None


def _outline(link: Link) -> _Outline:
    own = link.geometry
    return _Outline(link.before, link.channels, own.stride, own.dilation * (own.kernel - 1) - 2 * own.padding)


def convolve(x: Tensor, chains: Sequence[Chain]) -> tuple[Tensor, ...]:
    """The result of each chain of links for ``x``, in training mode, before the last batch norm.

    The running averages of all batch norms but the last are updated; the caller updates those of the last.

    Args:
        x: a node's value, ``(B, C, H, W)``, float32, on a GPU.
        chains: one of the :func:`groups`.

    Returns:
        A result for each chain, ``(B, D, H', W')``.
    """
    longest = len(chains[0])
    by_place = [[chain[place] for chain in chains if place < len(chain)] for place in range(longest)]
    weights = [link.modules[half].weight for links in by_place for half in (0, 1) for link in links]
    apply: Callable[..., tuple[Tensor, ...]] = _Convolve.apply
    return apply(tuple(map(tuple, by_place)), x, *weights)


class _Convolve(torch.autograd.Function):
    """The results of ``convolve``, with their gradients."""

    @staticmethod
    def forward(ctx: Any, by_place: tuple[tuple[Link, ...], ...], x: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        flat, size = torch.cat([weight.flatten() for weight in weights]), (x.shape[2], x.shape[3])
        value, norms = channels_last(x), launches.unchanged(1, x.shape[1], x.device)
        stages, saved, results = list[Stage](), list[Tensor](), list[Tensor]()
        for own, after in zip(by_place, [*by_place[1:], ()], strict=True):
            stage = Stage(tuple(link.geometry for link in own), not stages, len(x), size, value.shape[-3])
            sizes = [sum(link.modules[half].weight.numel() for link in own) for half in (0, 1)]
            depthwise, pointwise, flat = flat.split_with_sizes([*sizes, len(flat) - sum(sizes)])
            pointwise = pointwise.view(len(own), -1, stage.channels)
            between, out, moments = stage.forward(value, depthwise, pointwise, norms, len(after))
            saved += [value, depthwise, pointwise, between, *norms]
            stages.append(stage)
            size = stage.after
            out = _maps(out, len(x), size)
            results, value = [*out[len(after) :].unbind(), *results], out[: len(after)]
            norms = launches.join(moments, [[link.norm] for link in own[: len(after)]]) if after else norms
        ctx.save_for_backward(*saved)
        ctx.stages, ctx.shapes = stages, [weight.shape for weight in weights]
        return tuple(results)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        first: Stage = ctx.stages[0]
        sizes = [shape.numel() for shape in ctx.shapes]
        learned = grads[0].new_empty(first.chunks, sum(sizes)) if any(ctx.needs_input_grad[2:]) else None
        end, longer, slopes, y = sum(sizes), 0, _no_slopes(grads[0]), grads[0]
        grad: Tensor = grads[0]
        for place in reversed(range(len(ctx.stages))):
            stage: Stage = ctx.stages[place]
            value, depthwise, pointwise, between, *tables = ctx.saved_tensors[8 * place : 8 * place + 8]
            norms, begin = Norms(*tables), end - pointwise.numel()
            # The first rows are those of longer chains, whose gradients come from the place after this one.
            each = [*grad.unbind()[:longer], *map(channels_last, grads[longer : stage.members])]
            own = None if learned is None else learned[:, begin:]
            sent = stage.through(each, y, slopes, pointwise, between, own)
            end = begin - len(depthwise)
            if learned is not None:
                stage.weight_grad(value, sent, norms, learned[:, end:])
            grad, longer, y = stage.input_grad(value, depthwise, sent, norms), stage.members, value
            if place:
                slopes = _slopes(grad, value, norms)
        (grad_x,) = _maps(grad, first.pictures, first.size).unbind()
        parts = [None] * len(sizes) if learned is None else learned.sum(0).split_with_sizes(sizes)
        shaped = [part if part is None else part.view(shape) for part, shape in zip(parts, ctx.shapes, strict=True)]
        return None, grad_x, *shaped


def _no_slopes(like: Tensor) -> Slopes:
    """Slopes of no batch norm."""
    return Slopes(like.new_empty(0, 2, like.shape[1]), like.new_empty(0, like.shape[1]))


def _slopes(grad: Tensor, value: Tensor, norms: Norms) -> Slopes:
    """The slopes of the gradients for the inputs ``value`` of batch norms, from the gradients for their results."""
    ones = constant((1.0,) * len(value), value.dtype, value.device).unsqueeze(0)
    where = launches.table(grad.unbind(), value.unbind())
    return launches.settle(where, ones, norms, [True] * len(value), value[0], paired=True)[1]


def _maps(flat: Tensor, pictures: int, size: tuple[int, int]) -> Tensor:
    """``(N, pixels, C)`` as ``(N, B, C, H, W)``."""
    return flat.view(len(flat), pictures, *size, -1).permute(0, 1, 4, 2, 3)
