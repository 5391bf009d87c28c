"""Chains of ReLU, depthwise and 1x1 convolution, and batch norm; all chains of one shape that read one node at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor
from torch.autograd.function import once_differentiable

from diffnas.backends.gpu import kernels, launches
from diffnas.backends.norms import Statistics, update_running
from diffnas.nets.geometry import DEPTHWISE, Geometry
from diffnas.nets.links import Link

EPS = 1e-5
"""The term that batch norms add to the variance."""


class ChainKey(NamedTuple):
    """What all chains that are computed together have in common.

    Attributes:
        geometries: of the depthwise convolution in each link.
        channels: input and output channels of each link.
    """

    geometries: tuple[Geometry, ...]
    channels: tuple[tuple[int, int], ...]


def chain_key(chain: Sequence[Link]) -> ChainKey | None:
    """The key of a chain; None if a link is no separable convolution or has a bias, or if their channels differ."""
    uneven = len({link.channels for link in chain}) > 1
    if uneven or any(link.geometry.kind != DEPTHWISE or link.bias is not None for link in chain):
        return None
    return ChainKey(tuple(link.geometry for link in chain), tuple((link.before, link.channels) for link in chain))


def convolve(x: Tensor, chains: Sequence[Sequence[Link]]) -> tuple[Tensor, ...]:
    """The result of each chain of links for ``x``, in training mode, before the last batch norm.

    The running averages of all batch norms but the last are updated; the caller updates those of the last.

    Args:
        x: a node's value, ``(B, C, H, W)``, float32, on a GPU.
        chains: the links of each chain; all chains have one :func:`chain_key`.

    Returns:
        A result for each chain, ``(B, D, H', W')``.
    """
    key = chain_key(chains[0])
    assert key is not None
    assert all(chain_key(chain) == key for chain in chains)
    by_place = list(zip(*chains, strict=True))
    weights = [link.modules[half].weight for links in by_place for half in (0, 1) for link in links]
    found: list[Statistics] = []
    apply: Callable[..., tuple[Tensor, ...]] = _Convolve.apply
    results = apply(key, found, x, *weights)
    for links, statistics in zip(by_place[:-1], found, strict=True):
        update_running([link.norm for link in links], statistics, range(len(links)))
    return results


class Norm(NamedTuple):
    """The batch norms of N maps as one linear map: each channel times ``rate``, plus ``shift``; both ``(N, C)``."""

    rate: Tensor
    shift: Tensor


class _Window(NamedTuple):
    """One link of N chains: the geometry of its depthwise convolution, and the sizes of its input.

    In the first link all chains share one map, without a batch norm before it. Later each chain has a map of its own.

    Attributes:
        geometry: of the depthwise convolution.
        members: N, the number of chains.
        shared: whether all chains read one map.
        pictures: B.
        size: height and width of the input.
        channels: of the input.
    """

    geometry: Geometry
    members: int
    shared: bool
    pictures: int
    size: tuple[int, int]
    channels: int

    @property
    def after(self) -> tuple[int, int]:
        """Height and width of the result."""
        rows, columns = (self.geometry.size(length) for length in self.size)
        return rows, columns

    @property
    def pixels(self) -> int:
        return self.pictures * self.size[0] * self.size[1]

    @property
    def pixels_after(self) -> int:
        return self.pictures * self.after[0] * self.after[1]

    @property
    def map_stride(self) -> int:
        """How many numbers lie from the start of one map to the start of the next; 0 for a shared map."""
        return 0 if self.shared else self.pixels * self.channels

    def sizes(self, *counts: int) -> tuple[int, ...]:
        """The size arguments of a kernel, in order; ``counts`` are those that differ from kernel to kernel."""
        _, kernel, stride, padding, dilation = self.geometry
        return self.map_stride, *counts, *self.after, *self.size, self.channels, kernel, stride, padding, dilation

    def forward(self, x: Tensor, weight: Tensor, norm: Norm) -> Tensor:
        """The results of the depthwise convolutions, ``(N, pixels after, C)``."""
        out = x.new_empty(self.members, self.pixels_after, self.channels)
        tile = launches.tile(self.channels)
        grid = self.members, triton.cdiv(self.pixels_after, tile["PIXELS"])
        kernels.depthwise[grid](x, weight, out, *norm, *self.sizes(self.pixels_after), **tile)
        return out

    def input_grad(self, x: Tensor, weight: Tensor, grad: Tensor, norm: Norm) -> Tensor:
        """The gradients for the maps, ``(maps, pixels, C)``; for a shared map the sum over all chains."""
        count, members = (1, self.members) if self.shared else (self.members, 1)
        out = x.new_empty(count, self.pixels, self.channels)
        tile = launches.tile(self.channels, launches.TILE // 2)
        grid = count, triton.cdiv(self.pixels, tile["PIXELS"])
        kernels.depthwise_input[grid](x, weight, grad, out, *norm, *self.sizes(members, self.pixels), **tile)
        return out

    def weight_grad(self, x: Tensor, weight: Tensor, grad: Tensor, norm: Norm) -> Tensor:
        """The gradients for the depthwise weights, with the shape of ``weight``."""
        kernel, tile = self.geometry.kernel, launches.tile(self.channels, launches.TILE // 4)
        chunk, chunks = launches.split(self.pixels_after, self.members * kernel, tile["PIXELS"])
        out = x.new_empty(chunks, *weight.shape)
        sizes = self.sizes(self.pixels_after, chunk)
        grid = self.members * kernel, chunks
        kernels.depthwise_weight[grid](x, grad, out, *norm, *sizes, **tile, TAPS=launches.width(kernel))
        return out.sum(0)


class _Convolve(torch.autograd.Function):
    """The results of ``convolve``, with their gradients."""

    @staticmethod
    def forward(ctx: Any, key: ChainKey, found: list[Statistics], x: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        N, B = len(weights) // (2 * len(key.geometries)), len(x)
        value = x.contiguous(memory_format=torch.channels_last)
        size, windows, saved = (x.shape[2], x.shape[3]), [], []
        mean = value.new_zeros(N, x.shape[1])
        norm = Norm(torch.ones_like(mean), mean)
        for place, (geometry, (before, _)) in enumerate(zip(key.geometries, key.channels, strict=True)):
            own = weights[2 * place * N : 2 * (place + 1) * N]
            depthwise, pointwise = torch.stack(own[:N]), torch.stack(own[N:]).flatten(2)
            window = _Window(geometry, N, place == 0, B, size, before)
            if place:
                mean, variance = launches.moments(value.unbind())
                found.append(Statistics(mean, variance, window.pixels))
                rate = (variance + EPS).rsqrt()
                norm = Norm(rate.float(), (-mean * rate).float())
            between = window.forward(value, depthwise, norm)
            saved += [value, depthwise, pointwise, between, mean, *norm]
            windows.append(window)
            size = window.after
            value = _maps(torch.bmm(between, pointwise.transpose(1, 2)), B, size)
        ctx.save_for_backward(*saved)
        ctx.windows, ctx.count = windows, len(weights)
        return value.unbind()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        learned: list[Tensor | None] = []
        learn = any(ctx.needs_input_grad[3:])
        grad = torch.stack([_flat(each) for each in grads])
        for place in reversed(range(len(ctx.windows))):
            window: _Window = ctx.windows[place]
            value, depthwise, pointwise, between, mean, rate, shift = ctx.saved_tensors[7 * place : 7 * place + 7]
            norm = Norm(rate, shift)
            sent = torch.bmm(grad, pointwise)
            if learn:
                own = window.weight_grad(value, depthwise, sent, norm), _products(grad, between)[..., None, None]
                learned = [*own[0].unbind(), *own[1].unbind(), *learned]
            grad = window.input_grad(value, depthwise, sent, norm)
            if not window.shared:
                grad = _norm_backward(_maps(grad, window.pictures, window.size), value, mean, rate)
        (grad_x,) = _maps(grad, ctx.windows[0].pictures, ctx.windows[0].size).unbind()
        return (None, None, grad_x, *(learned or [None] * ctx.count))


def _norm_backward(grad: Tensor, value: Tensor, mean: Tensor, rate: Tensor) -> Tensor:
    """The gradients for the inputs of N batch norms, ``(N, pixels, C)``.

    Args:
        grad: the gradients for the normalized maps, ``(N, B, C, H, W)``.
        value: the inputs, of the same shape.
        mean: of each input's channels, ``(N, C)``.
        rate: one over the standard deviation, ``(N, C)``.
    """
    sent, maps_before, rate = grad.unbind(), value.unbind(), rate.double()
    totals, products = launches.paired(sent, maps_before, mean)
    pixels = launches.pixels_of(maps_before[0])
    slope = -(rate**3) * products / pixels
    shift = -rate * totals / pixels - slope * mean
    where = [[one.data_ptr(), other.data_ptr()] for one, other in zip(sent, maps_before, strict=True)]
    return launches.weighted(sent[0], where, torch.stack([rate, slope], 1), shift).permute(0, 1, 3, 4, 2).flatten(1, 3)


def _maps(flat: Tensor, pictures: int, size: tuple[int, int]) -> Tensor:
    """``(N, pixels, C)`` as ``(N, B, C, H, W)``."""
    return flat.view(len(flat), pictures, *size, -1).permute(0, 1, 4, 2, 3)


def _flat(x: Tensor) -> Tensor:
    """``(B, C, H, W)`` as ``(pixels, C)``."""
    return x.permute(0, 2, 3, 1).flatten(0, 2)


def _products(one: Tensor, other: Tensor) -> Tensor:
    """The products of ``(N, pixels, D)`` and ``(N, pixels, C)``, summed over pixels: ``(N, D, C)``.

    The pixels are split into parts, so that the whole GPU is busy.
    """
    N, pixels, D = one.shape
    parts = 1
    while pixels % (2 * parts) == 0 and N * parts < launches.PROGRAMS // 4 and pixels // parts > 256:
        parts *= 2
    split = [x.reshape(N * parts, pixels // parts, -1) for x in (one, other)]
    return torch.bmm(split[0].transpose(1, 2), split[1]).view(N, parts, D, -1).sum(1)
