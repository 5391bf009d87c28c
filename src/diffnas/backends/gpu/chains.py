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
from diffnas.backends.gpu.launches import Norms
from diffnas.backends.gpu.stage import Stage
from diffnas.backends.norms import constant
from diffnas.nets.geometry import DEPTHWISE
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
    return link.geometry.kind == DEPTHWISE and link.geometry.kernel <= LARGEST and link.bias is None


def _outline(link: Link) -> _Outline:
    _, kernel, stride, padding, dilation = link.geometry
    return _Outline(link.before, link.channels, stride, dilation * (kernel - 1) - 2 * padding)


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
    def forward(
        ctx: Any, by_place: tuple[tuple[Link, ...], ...], x: Tensor, *weights: Tensor
    ) -> tuple[Tensor, ...]:
        flat, first, size = torch.cat([weight.flatten() for weight in weights]), 0, (x.shape[2], x.shape[3])
        value, norms = x.contiguous(memory_format=torch.channels_last), launches.unchanged(1, x.shape[1], x.device)
        stages, saved, results = [], [], list[Tensor]()
        for place, own in enumerate(by_place):
            stage = Stage(tuple(link.geometry for link in own), place == 0, len(x), size, value.shape[-3])
            if place:
                maps, before = value.unbind(), by_place[place - 1][: len(value)]
                norms = launches.normalize(launches.table(maps), [[link.norm] for link in before], maps[0])
            halves = weights[first : first + len(own)], weights[first + len(own) : first + 2 * len(own)]
            sizes = [*map(_numbers, halves)]
            depthwise, pointwise, flat = flat.split_with_sizes([*sizes, len(flat) - sum(sizes)])
            pointwise = pointwise.view(len(own), -1, stage.channels)
            first += 2 * len(own)
            between = stage.forward(value, depthwise, norms)
            saved += [value, depthwise, pointwise, between, *norms]
            stages.append(stage)
            size = stage.after
            value = _maps(torch.bmm(between, pointwise.transpose(1, 2)), len(x), size)
            longer = len(by_place[place + 1]) if place + 1 < len(by_place) else 0
            results, value = [*value[longer:].unbind(), *results], value[:longer]
        ctx.save_for_backward(*saved)
        ctx.stages, ctx.shapes = stages, [weight.shape for weight in weights]
        return tuple(results)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        learned: list[Tensor] = []
        learn, longer = any(ctx.needs_input_grad[2:]), 0
        grad: Tensor | None = None
        for place in reversed(range(len(ctx.stages))):
            stage: Stage = ctx.stages[place]
            value, depthwise, pointwise, between, *tables = ctx.saved_tensors[8 * place : 8 * place + 8]
            norms = Norms(*tables)
            # The first rows are those of longer chains, whose gradients come from the place after this one.
            grad = stage.memory_after(value, pointwise.shape[1]) if grad is None else grad
            if longer < stage.members:
                torch.stack([_flat(each) for each in grads[longer : stage.members]], out=grad[longer:])
            sent = torch.bmm(grad, pointwise)
            if learn:
                learned = [stage.weight_grad(value, depthwise, sent, norms), _products(grad, between), *learned]
            grad, longer = stage.input_grad(value, depthwise, sent, norms), stage.members
            if place:
                grad = _norm_backward(grad, value, norms, ctx.stages[place - 1])
        assert grad is not None
        (grad_x,) = _maps(grad, ctx.stages[0].pictures, ctx.stages[0].size).unbind()
        return (None, grad_x, *(_split(learned, ctx.shapes) if learn else [None] * len(ctx.shapes)))


def _norm_backward(grad: Tensor, value: Tensor, norms: Norms, before: Stage) -> Tensor:
    """The gradients for the results of the stage before, ``(N of that stage, pixels, C)``.

    The first rows are the gradients for the inputs of the batch norms; the others are only memory.

    Args:
        grad: the gradients for the normalized maps, ``(N, pixels, C)``.
        value: the inputs, ``(N, B, C, H, W)``.
        norms: the batch norms.
        before: the stage whose results the inputs are.
    """
    N = len(value)
    into = before.memory_after(value, value.shape[2])
    where = launches.table(grad.unbind(), value.unbind(), into[:N].unbind())
    ones = constant((1.0,) * N, value.dtype, value.device).unsqueeze(0)
    launches.mix_backward(where, ones, norms, [True] * N, value[0], paired=True)
    return into


def _numbers(weights: Sequence[Tensor]) -> int:
    return sum(weight.numel() for weight in weights)


def _split(parts: Sequence[Tensor], shapes: Sequence[torch.Size]) -> list[Tensor]:
    """The numbers of all parts, one after the other, as tensors of these shapes."""
    found: list[Tensor] = []
    left = iter(shapes)
    for part in parts:
        flat = part.flatten()
        while len(flat):
            shape = next(left)
            found.append(flat[: shape.numel()].view(shape))
            flat = flat[shape.numel() :]
    return found


def _maps(flat: Tensor, pictures: int, size: tuple[int, int]) -> Tensor:
    """``(N, pixels, C)`` as ``(N, B, C, H, W)``."""
    return flat.view(len(flat), pictures, *size, -1).permute(0, 1, 4, 2, 3)


def _flat(x: Tensor) -> Tensor:
    """``(B, C, H, W)`` as ``(pixels, C)``."""
    return x.permute(0, 2, 3, 1).flatten(0, 2)


def _products(one: Tensor, other: Tensor) -> Tensor:
    """The products of ``(N, pixels, D)`` and ``(N, pixels, C)``, summed over pixels: ``(N, D, C)``.

    The pixels are split into equal parts, so that the whole GPU is busy.
    """
    N, pixels, D = one.shape
    parts = launches.parts(pixels, N)
    split = [x.reshape(N * parts, pixels // parts, -1) for x in (one, other)]
    return torch.bmm(split[0].transpose(1, 2), split[1]).view(N, parts, D, -1).sum(1)
