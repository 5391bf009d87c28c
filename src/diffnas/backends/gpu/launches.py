"""The launches of the kernels for mixed sums; each is one launch for all maps.

Maps are ``(B, C, H, W)`` in float32, with the channels last in memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor, nn

from diffnas.backends.gpu import kernels
from diffnas.backends.norms import constant

TILE = 2048
"""How many numbers a program computes at once."""

PROGRAMS = 528
"""How many programs keep a whole GPU busy: four for each of an H100's 132 multiprocessors."""

EPS = 1e-5
"""The term that batch norms add to the variance."""

Table = tuple[int, ...]
"""Addresses of maps, an argument of a kernel."""

ADDRESSES = 8
"""The length of a table is a multiple of this, so that few kernels are compiled."""


class Norms(NamedTuple):
    """The batch norms of K maps: four tables, ``(K, C)``, float32.

    Attributes:
        mean, variance: of each channel over the batch; the variance is biased. 0 and 1 for a map without batch norm.
        rate, shift: the batch norm as a linear map: ``rate`` times a number, plus ``shift``.
    """

    mean: Tensor
    variance: Tensor
    rate: Tensor
    shift: Tensor


def width(channels: int) -> int:
    """The number of channels in a tile: ``channels`` rounded up to a power of two."""
    return 1 << (channels - 1).bit_length()


def tile(channels: int, numbers: int = TILE) -> dict[str, int]:
    """The sizes of a tile of about ``numbers`` numbers, as arguments of a kernel."""
    return {"PIXELS": max(1, numbers // width(channels)), "CHANNELS": width(channels)}


def tiles(pixels: int, sizes: Mapping[str, int]) -> int:
    """How many tiles of these sizes cover the pixels."""
    return -(-pixels // sizes["PIXELS"])


def split(pixels: int, of: int, step: int) -> tuple[int, int]:
    """The pixels of a chunk, a multiple of ``step``, and the number of chunks.

    Each of ``of`` maps is split into chunks, one for each program, so that all programs keep the GPU busy.
    """
    chunks = max(1, min(-(-PROGRAMS // of), -(-pixels // step)))
    chunk = -(-pixels // (chunks * step)) * step
    return chunk, -(-pixels // chunk)


def table(*tensors: Sequence[Tensor]) -> Table:
    """The address of each tensor's first number; the table is filled up with the first one."""
    addresses = [x.data_ptr() for several in tensors for x in several]
    return (*addresses, *addresses[:1] * (-len(addresses) % ADDRESSES))


def normalize(where: Table, norms: Sequence[Sequence[nn.BatchNorm2d]], like: Tensor) -> Norms:
    """The batch norms of K maps; a map without batch norms gets a linear map that changes nothing.

    Updates the buffers of all batch norms.

    Args:
        where: a table that begins with the K maps.
        norms: for each map, the batch norms that normalize it.
        like: a map with the shape of all of them.
    """
    which = tuple(k for k in range(len(norms)) if norms[k])
    C, pixels, device, sizes = like.shape[1], pixels_of(like), like.device, tile(like.shape[1])
    if not which:
        return unchanged(len(norms), C, device)
    chunk, chunks = split(pixels, len(which), sizes["PIXELS"])
    mean, square = torch.empty(2, len(which), chunks, C, device=device)
    found, places = Moments(mean, square, pixels, chunk), constant(which, torch.int32, device)
    kernels.moments[(len(which), chunks)](where, places, *found, C, **sizes)
    return join(found, norms)


class Moments(NamedTuple):
    """The moments of maps, for each of S chunks of pixels.

    Attributes:
        mean: the mean of each channel, ``(maps, S, C)``.
        square: the sum of squared deviations from it, ``(maps, S, C)``.
        pixels, chunk: how many pixels a map has, and how many a chunk has; the last chunk may be smaller.
    """

    mean: Tensor
    square: Tensor
    pixels: int
    chunk: int


def join(moments: Moments, norms: Sequence[Sequence[nn.BatchNorm2d]]) -> Norms:
    """The batch norms of K maps; ``moments`` has those of the maps that have a batch norm. Updates their buffers."""
    K, (_, chunks, C), pixels, device = len(norms), moments.mean.shape, moments.pixels, moments.mean.device
    rows = tuple(sum(map(bool, norms[:k])) if norms[k] else -1 for k in range(K))
    found = Norms(*torch.empty(4, K, C, device=device))
    tables = constant(rows, torch.int32, device), *_buffers(norms, device), *found
    numbers = pixels, moments.chunk, chunks, EPS, pixels / max(pixels - 1, 1)
    kernels.join[(K,)](moments.mean, moments.square, *tables, *numbers, C, CHANNELS=width(C))
    return found


def unchanged(maps: int, channels: int, device: torch.device) -> Norms:
    """The linear maps that leave maps as they are."""
    zeros, ones = (
        constant((value,) * maps * channels, torch.float32, device).view(maps, channels) for value in (0.0, 1.0)
    )
    return Norms(mean=zeros, variance=ones, rate=ones, shift=zeros)


def _buffers(norms: Sequence[Sequence[nn.BatchNorm2d]], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """What a kernel needs to update the buffers of each map's batch norms.

    That is where the batch norms of each map end, three addresses for each batch norm, and its rate.
    """
    every = [norm for own in norms for norm in own]
    ends = tuple(accumulate(map(len, norms), initial=0))
    buffers = [buffer for norm in every for buffer in (norm.running_mean, norm.running_var, norm.num_batches_tracked)]
    # Buffers stay where they are, so the warm-up before a capture has copied their addresses to the GPU.
    where = constant(tuple(map(_address, buffers)), torch.int64, device)
    rates = constant(tuple(norm.momentum for norm in every), torch.float32, device)
    return constant(ends, torch.int32, device), where, rates


def _address(buffer: Tensor | None) -> int:
    assert buffer is not None
    return buffer.data_ptr()


def mix_maps(where: Table, mix: Tensor, norms: Norms, like: Tensor, added: int) -> None:
    """Compute T weighted sums of K normed maps, ``mix`` is ``(T, K)``; the table ``where`` is that of the kernel."""
    T, K, C, pixels = *mix.shape, like.shape[1], pixels_of(like)
    sizes = tile(C)
    grid = tiles(pixels, sizes), T
    kernels.mixed[grid](where, mix, norms.rate, norms.shift, pixels, K, added, C, **sizes)


class Slopes(NamedTuple):
    """The gradient for each of K maps, as numbers by channel: the factors of its map and of each of T gradients.

    It is ``shift + factors[0] * map + sum_t factors[1 + t] * grads[t]``.

    Attributes:
        factors: ``(K, 1 + T, C)``.
        shift: ``(K, C)``.
    """

    factors: Tensor
    shift: Tensor


def settle(
    where: Table, mix: Tensor, norms: Norms, normed: Sequence[bool], like: Tensor, *, paired: bool = False
) -> tuple[Tensor, Slopes]:
    """The gradient for ``mix``, ``(T, K)``, and the slopes from which ``spread`` computes the gradients for the maps.

    Args:
        where: a table of the gradients for the sums, and of the K maps.
        mix: the mixing weights, ``(T, K)``.
        norms: the batch norms of the maps.
        normed: for each map, whether it has a batch norm.
        like: a map with the shape of all of them.
        paired: there are K sums of one map each, and ``mix`` is ``(1, K)``.
    """
    T, K, C, pixels, device = *mix.shape, like.shape[1], pixels_of(like), like.device
    sizes = tile(C)
    chunk, chunks = split(pixels, T * K, sizes["PIXELS"])
    sums = torch.empty(T * K, chunks, 2, C, device=device)
    grads = K if paired else T
    kernels.reduce[(T * K, chunks)](where, norms.mean, sums, pixels, chunk, grads, K, paired, C, **sizes)
    flags = constant(tuple(map(int, normed)), torch.int32, device)
    slopes = Slopes(torch.empty(K, 1 + T, C, device=device), torch.empty(K, C, device=device))
    grad_mix = torch.empty(T, K, device=device)
    arguments = (mix, norms.mean, norms.rate, flags, *slopes, grad_mix, pixels, chunks, T, K, C)
    kernels.settle[(K,)](sums, *arguments, CHANNELS=sizes["CHANNELS"])
    return grad_mix, slopes


def spread(where: Table, slopes: Slopes, normed: Sequence[bool], like: Tensor) -> None:
    """Compute the gradients for the K maps; the table ``where`` is that of the kernel."""
    factors, shift = slopes
    (K, C), T, pixels, sizes = shift.shape, factors.shape[1] - 1, pixels_of(like), tile(like.shape[1])
    flags = constant(tuple(map(int, normed)), torch.int32, like.device)
    kernels.spread[tiles(pixels, sizes), K](where, flags, factors, shift, pixels, K, T, C, **sizes)


def empty_maps(count: int, like: Tensor, size: Sequence[int] = ()) -> Tensor:
    """Memory for maps like ``like``, ``(count, B, C, H, W)``, with the channels last; ``size`` replaces H and W."""
    B, C, *before = like.shape
    return torch.empty(count, B, *(size or before), C, device=like.device).permute(0, 1, 4, 2, 3)


def pixels_of(x: Tensor) -> int:
    """The number of pixels in all pictures of a map ``(B, C, H, W)``."""
    return x.numel() // x.shape[1]
