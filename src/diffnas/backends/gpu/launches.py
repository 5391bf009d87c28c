"""The steps of mixed sums (:mod:`diffnas.backends.norms`) on a GPU; each is one launch of a kernel for all maps.

Maps are ``(B, C, H, W)`` in float32, with the channels last in memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from diffnas.backends.gpu import kernels

TILE = 2048
"""How many numbers a program computes at once."""

PROGRAMS = 528
"""How many programs keep a whole GPU busy: four for each of an H100's 132 multiprocessors."""


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


def table(addresses: Sequence[int], device: torch.device) -> Tensor:
    """The addresses as an int64 tensor on the device.

    They are arguments of a kernel, so the GPU does not wait for a copy from the host, and a CUDA graph keeps them.
    """
    found = torch.empty(len(addresses), dtype=torch.int64, device=device)
    for start in range(0, len(addresses), 8):
        part = list(addresses[start : start + 8])
        kernels.write[(1,)](found, start, len(part), *part, *[0] * (8 - len(part)))
    return found


def addresses(tensors: Sequence[Tensor]) -> list[int]:
    """The address of each tensor's first number."""
    return [x.data_ptr() for x in tensors]


def moments(inputs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel of K maps, ``(K, C)``, float64."""
    K, C, pixels, device = len(inputs), inputs[0].shape[1], pixels_of(inputs[0]), inputs[0].device
    sizes = tile(C)
    chunk, chunks = split(pixels, K, sizes["PIXELS"])
    means, squares = torch.empty(2, K, chunks, C, device=device)
    mean, variance = torch.empty(2, K, C, dtype=torch.float64, device=device)
    kernels.moments[(K, chunks)](table(addresses(inputs), device), means, squares, pixels, chunk, C, **sizes)
    kernels.join[(K,)](means, squares, mean, variance, pixels, chunk, chunks, C, CHANNELS=sizes["CHANNELS"])
    return mean, variance


def combine(inputs: Sequence[Tensor], scale: Tensor, shift: Tensor) -> Sequence[Tensor]:
    """T weighted sums of K maps, by channel: ``shift[t] + sum_k scale[t, k] * inputs[k]``.

    ``scale`` is ``(T, K, C)``, and ``shift`` is ``(T, C)``.
    """
    return weighted(inputs[0], [addresses(inputs)] * len(scale), scale, shift).unbind()


def spread(
    grads: Sequence[Tensor],
    inputs: Sequence[Tensor],
    normed: Sequence[bool],
    scale: Tensor,
    slope: Tensor,
    shift: Tensor,
) -> Sequence[Tensor]:
    """The gradient for each input: ``shift + slope * input + sum_t scale[t] * grads[t]``.

    The term with ``slope`` is left out for inputs that are not normed. ``scale`` is ``(T, K, C)``; ``slope`` and
    ``shift`` are ``(K, C)``.
    """
    where = [[x.data_ptr() * normed[k], *addresses(grads)] for k, x in enumerate(inputs)]
    factors = torch.cat([slope.unsqueeze(1), scale[:, : len(inputs)].transpose(0, 1)], 1)
    return weighted(inputs[0], where, factors, shift).unbind()


def reduce(grads: Sequence[Tensor], inputs: Sequence[Tensor], mean: Tensor) -> tuple[Tensor, Tensor]:
    """For each gradient its sum, ``(T, C)``, and for each input ``sum(grad * (input - mean))``, ``(T, K, C)``."""
    T, K = len(grads), len(inputs)
    pairs = [grad for grad in grads for _ in inputs], [*inputs] * T
    totals, products = (sums.view(T, K, -1) for sums in paired(*pairs, mean.repeat(T, 1)))
    return totals[:, 0], products


def weighted(like: Tensor, where: Sequence[Sequence[int]], scale: Tensor, shift: Tensor) -> Tensor:
    """T weighted sums of maps, given by their addresses, ``(T, B, C, H, W)``.

    Args:
        like: a map with the shape of all of them.
        where: for each sum the addresses of K maps; 0 means no map.
        scale: the factor of each map, ``(T, K, C)``.
        shift: the summand of each sum, ``(T, C)``.
    """
    T, K, C = scale.shape
    B, _, H, W = like.shape
    results = torch.empty(T, B, H, W, C, device=like.device).permute(0, 1, 4, 2, 3)
    every = table([*addresses(results.unbind()), *(address for row in where for address in row)], like.device)
    sizes, pixels = tile(C), pixels_of(like)
    grid = tiles(pixels, sizes), T
    kernels.combine[grid](every, every[T:], scale.float(), shift.float(), pixels, K, C, **sizes)
    return results


def paired(grads: Sequence[Tensor], inputs: Sequence[Tensor], mean: Tensor) -> tuple[Tensor, Tensor]:
    """For each pair ``sum(grad)`` and ``sum(grad * (input - mean))``, by channel: ``(P, C)``, float64."""
    P, C, pixels, device = len(grads), grads[0].shape[1], pixels_of(grads[0]), grads[0].device
    sizes = tile(C)
    chunk, chunks = split(pixels, P, sizes["PIXELS"])
    sums = torch.empty(2, P, chunks, C, device=device)
    every = table([*addresses(grads), *addresses(inputs)], device)
    kernels.reduce[(P, chunks)](every, every[P:], mean.float(), *sums, pixels, chunk, C, **sizes)
    totals, products = sums.sum(2, dtype=torch.float64)
    return totals, products


def pixels_of(x: Tensor) -> int:
    """The number of pixels in all pictures of a map ``(B, C, H, W)``."""
    return x.numel() // x.shape[1]
