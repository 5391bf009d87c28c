"""The launches of the kernels for mixed sums; each is one launch for all maps.

Maps are ``(B, C, H, W)`` in float32, with the channels last in memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from diffnas.backends.gpu import kernels
from diffnas.backends.norms import Statistics, constant

TILE = 2048
"""How many numbers a program computes at once."""

PROGRAMS = 528
"""How many programs keep a whole GPU busy: four for each of an H100's 132 multiprocessors."""

EPS = 1e-5
"""The term that batch norms add to the variance."""

ADDRESSES = 16
"""How many addresses one launch writes into a table."""


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


def parts(pixels: int, of: int) -> int:
    """Into how many equal parts of at least 256 pixels each of ``of`` maps is split, so that the GPU is busy."""
    most = max(1, min(PROGRAMS // (2 * of), pixels // 256))
    return max(count for count in range(1, most + 1) if pixels % count == 0)


def split(pixels: int, of: int, step: int) -> tuple[int, int]:
    """The pixels of a chunk, a multiple of ``step``, and the number of chunks.

    Each of ``of`` maps is split into chunks, one for each program, so that all programs keep the GPU busy.
    """
    chunks = max(1, min(-(-PROGRAMS // of), -(-pixels // step)))
    chunk = -(-pixels // (chunks * step)) * step
    return chunk, -(-pixels // chunk)


def table(*tensors: Sequence[Tensor]) -> Tensor:
    """The address of each tensor's first number, as an int64 tensor on their device.

    They are arguments of a kernel, so the GPU does not wait for a copy from the host, and a CUDA graph keeps them.
    """
    addresses = [x.data_ptr() for several in tensors for x in several]
    found = torch.empty(len(addresses), dtype=torch.int64, device=tensors[0][0].device)
    for start in range(0, len(addresses), ADDRESSES):
        part = addresses[start : start + ADDRESSES]
        kernels.write[(1,)](found, start, len(part), *part, *[0] * (ADDRESSES - len(part)))
    return found


def normalize(where: Tensor, normed: Sequence[bool], like: Tensor) -> Norms:
    """The batch norms of the K maps that are normed, and linear maps that change nothing for the others.

    Args:
        where: a table that begins with the K maps.
        normed: for each map, whether it has a batch norm.
        like: a map with the shape of all of them.
    """
    K, C, pixels, device = len(normed), like.shape[1], pixels_of(like), like.device
    which = tuple(k for k in range(K) if normed[k])
    sizes = tile(C)
    chunk, chunks = split(pixels, max(1, len(which)), sizes["PIXELS"])
    means, squares = torch.empty(2, len(which), chunks, C, device=device)
    if which:
        places = constant(which, torch.int32, device)
        kernels.moments[(len(which), chunks)](where, places, means, squares, pixels, chunk, C, **sizes)
    found = Norms(*torch.empty(4, K, C, device=device))
    rows = constant(tuple(which.index(k) if normed[k] else -1 for k in range(K)), torch.int32, device)
    kernels.join[(K,)](means, squares, rows, *found, pixels, chunk, chunks, EPS, C, CHANNELS=sizes["CHANNELS"])
    return found


def track(norms: Sequence[nn.BatchNorm2d], statistics: Statistics, rows: Sequence[int]) -> None:
    """As :func:`diffnas.backends.norms.update_running`, in one launch."""
    if not norms:
        return
    mean, variance, pixels = statistics
    C, device = mean.shape[1], mean.device
    buffers = [buffer for norm in norms for buffer in (norm.running_mean, norm.running_var, norm.num_batches_tracked)]
    # Buffers stay where they are, so the warm-up before a capture has copied their addresses to the GPU.
    where = constant(tuple(_address(buffer) for buffer in buffers), torch.int64, device)
    rates = constant(tuple(norm.momentum for norm in norms), torch.float32, device)
    kernels.track[(len(norms),)](
        where, constant(tuple(rows), torch.int32, device), mean, variance, rates, pixels / max(pixels - 1, 1), C,
        CHANNELS=width(C),
    )  # fmt: skip


def _address(buffer: Tensor | None) -> int:
    assert buffer is not None
    return buffer.data_ptr()


def mix_maps(where: Tensor, mix: Tensor, norms: Norms, like: Tensor, added: int) -> None:
    """Compute T weighted sums of K normed maps, ``mix`` is ``(T, K)``; the table ``where`` is that of the kernel."""
    T, K, C, pixels = *mix.shape, like.shape[1], pixels_of(like)
    sizes = tile(C)
    grid = tiles(pixels, sizes), T
    kernels.mixed[grid](where, mix, norms.rate, norms.shift, pixels, K, added, C, **sizes)


def mix_backward(
    where: Tensor, mix: Tensor, norms: Norms, normed: Sequence[bool], like: Tensor, *, paired: bool = False
) -> Tensor:
    """The gradient for ``mix``, ``(T, K)``; computes the gradients for the K maps.

    Args:
        where: a table of the gradients for the sums, of the K maps and of the K results.
        mix: the weights, ``(T, K)``.
        norms: the batch norms of the maps.
        normed: for each map, whether it has a batch norm.
        like: a map with the shape of all of them.
        paired: there are K sums of one map each, and ``mix`` is ``(1, K)``.
    """
    T, K, C, pixels, device = *mix.shape, like.shape[1], pixels_of(like), like.device
    grads = K if paired else T
    sizes = tile(C)
    chunk, chunks = split(pixels, T * K, sizes["PIXELS"])
    sums = torch.empty(T * K, chunks, 2, C, device=device)
    kernels.reduce[(T * K, chunks)](where, norms.mean, sums, pixels, chunk, grads, K, paired, C, **sizes)
    flags = constant(tuple(map(int, normed)), torch.int32, device)
    factors, shift = torch.empty(K, 1 + T, C, device=device), torch.empty(K, C, device=device)
    grad_mix = torch.empty(T, K, device=device)
    arguments = (mix, norms.mean, norms.rate, flags, factors, shift, grad_mix, pixels, chunks, T, K, C)
    kernels.settle[(K,)](sums, *arguments, CHANNELS=sizes["CHANNELS"])
    grid = tiles(pixels, sizes), K
    kernels.spread[grid](where, flags, factors, shift, pixels, grads, K, T, paired, C, **sizes)
    return grad_mix


def empty_maps(count: int, like: Tensor) -> Tensor:
    """Memory for maps of the shape of ``like``, ``(count, B, C, H, W)``, with the channels last."""
    B, C, H, W = like.shape
    return torch.empty(count, B, H, W, C, device=like.device).permute(0, 1, 4, 2, 3)


def pixels_of(x: Tensor) -> int:
    """The number of pixels in all pictures of a map ``(B, C, H, W)``."""
    return x.numel() // x.shape[1]
