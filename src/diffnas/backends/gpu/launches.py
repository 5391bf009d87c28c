"""The steps of mixed sums (:mod:`diffnas.backends.norms`) by kernels for a GPU: for all maps in one launch.

Maps are ``(B, C, H, W)`` in float32, with the channels last in memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
from torch import Tensor

from diffnas.backends.gpu import kernels

TILE = 2048
"""Numbers that a program works on at once."""

PROGRAMS = 528
"""How many programs keep all of a GPU busy: four for each processor of an H100."""


def width(channels: int) -> int:
    """The channels of a tile."""
    power: int = triton.next_power_of_2(channels)
    return power


def tile(channels: int, numbers: int = TILE) -> dict[str, int]:
    """The sizes of a tile, as the kernels are told."""
    return {"PIXELS": max(1, numbers // width(channels)), "CHANNELS": width(channels)}


def split(pixels: int, of: int, step: int) -> tuple[int, int]:
    """Pixels a chunk, and chunks, if each of so many maps is divided among programs that take ``step`` at a time."""
    chunks = max(1, min(-(-PROGRAMS // of), -(-pixels // step)))
    chunk = -(-pixels // (chunks * step)) * step
    return chunk, -(-pixels // chunk)


def table(addresses: Sequence[int], device: torch.device) -> Tensor:
    """Addresses as an int64 tensor on the device.

    They travel as arguments of a kernel, so nothing waits for the host, and a CUDA graph keeps them.
    """
    found = torch.empty(len(addresses), dtype=torch.int64, device=device)
    for start in range(0, len(addresses), 8):
        part = list(addresses[start : start + 8])
        kernels.write[(1,)](found, start, len(part), *part, *[0] * (8 - len(part)))
    return found


def addresses(tensors: Sequence[Tensor]) -> list[int]:
    """Where the numbers of tensors are."""
    return [x.data_ptr() for x in tensors]


def moments(inputs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel, ``(K, C)``, float64."""
    K, C, pixels, device = len(inputs), inputs[0].shape[1], pixels_of(inputs[0]), inputs[0].device
    sizes = tile(C)
    chunk, chunks = split(pixels, K, sizes["PIXELS"])
    means, squares = torch.empty(2, K, chunks, C, device=device)
    mean, variance = torch.empty(2, K, C, dtype=torch.float64, device=device)
    kernels.moments[(K, chunks)](table(addresses(inputs), device), means, squares, pixels, chunk, C, **sizes)
    kernels.join[(K,)](means, squares, mean, variance, pixels, chunk, chunks, C, CHANNELS=sizes["CHANNELS"])
    return mean, variance


def combine(inputs: Sequence[Tensor], scale: Tensor, shift: Tensor) -> Sequence[Tensor]:
    """Weighted sums of K maps: by channel, shift ``(T, C)`` + the sum of scales ``(T, K, C)`` times maps."""
    return weighted(inputs[0], [addresses(inputs)] * len(scale), scale, shift).unbind()


def spread(
    grads: Sequence[Tensor],
    inputs: Sequence[Tensor],
    normed: Sequence[bool],
    scale: Tensor,
    slope: Tensor,
    shift: Tensor,
) -> Sequence[Tensor]:
    """For each input: shift + slope times it, if it is normed, + the sum of the gradients, each times its scale."""
    where = [[x.data_ptr() * normed[k], *addresses(grads)] for k, x in enumerate(inputs)]
    factors = torch.cat([slope.unsqueeze(1), scale[:, : len(inputs)].transpose(0, 1)], 1)
    return weighted(inputs[0], where, factors, shift).unbind()


def reduce(grads: Sequence[Tensor], inputs: Sequence[Tensor], mean: Tensor) -> tuple[Tensor, Tensor]:
    """The sums of each gradient, ``(T, C)``, and of its products with each input less its mean, ``(T, K, C)``."""
    T, K = len(grads), len(inputs)
    pairs = [grad for grad in grads for _ in inputs], [*inputs] * T
    totals, products = (sums.view(T, K, -1) for sums in paired(*pairs, mean.repeat(T, 1)))
    return totals[:, 0], products


def weighted(like: Tensor, where: Sequence[Sequence[int]], scale: Tensor, shift: Tensor) -> Tensor:
    """Weighted sums of maps at addresses, ``(T, B, C, H, W)``.

    Args:
        like: a map of their shape.
        where: for each sum the addresses of K maps; 0 for none.
        scale: ``(T, K, C)``.
        shift: ``(T, C)``.
    """
    T, K, C = scale.shape
    B, _, H, W = like.shape
    results = torch.empty(T, B, H, W, C, device=like.device).permute(0, 1, 4, 2, 3)
    every = table([*addresses(results.unbind()), *(address for row in where for address in row)], like.device)
    sizes, pixels = tile(C), pixels_of(like)
    grid = T, triton.cdiv(pixels, sizes["PIXELS"])
    kernels.combine[grid](every, every[T:], scale.float(), shift.float(), pixels, K, C, **sizes)
    return results


def paired(grads: Sequence[Tensor], inputs: Sequence[Tensor], mean: Tensor) -> tuple[Tensor, Tensor]:
    """For each pair the sum of the gradient, and of its product with the input less its mean: ``(P, C)``, float64."""
    P, C, pixels, device = len(grads), grads[0].shape[1], pixels_of(grads[0]), grads[0].device
    sizes = tile(C)
    chunk, chunks = split(pixels, P, sizes["PIXELS"])
    sums = torch.empty(2, P, chunks, C, device=device)
    every = table([*addresses(grads), *addresses(inputs)], device)
    kernels.reduce[(P, chunks)](every, every[P:], mean.float(), *sums, pixels, chunk, C, **sizes)
    totals, products = sums.sum(2, dtype=torch.float64)
    return totals, products


def pixels_of(x: Tensor) -> int:
    """Of all pictures."""
    return x.numel() // x.shape[1]
