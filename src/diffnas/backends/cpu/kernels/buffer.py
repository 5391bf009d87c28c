"""Pictures in buffers, which are memory that stays in the cache, for Numba.

In a buffer the channels are padded with zeros to a multiple of ``FILL``. A picture over which a kernel slides has a
*margin* of zeros around it. Each row ends with a block of spare pixels, into which the last block of pixels may reach.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from diffnas.backends.cpu.kernels.compiler import part
from diffnas.backends.cpu.kernels.llvm import LANES
from diffnas.backends.cpu.kernels.loops import BLOCK
from diffnas.backends.cpu.kernels.vectors import (
    at_least,
    load,
    load_part,
    multiply_add,
    splat,
    store,
    store_part,
    zeros,
)

FILL = max(LANES, BLOCK)  # whole vectors, and whole blocks of the weights' gradients

Table = NDArray[np.int64]
Floats = NDArray[np.float32]


class Shape(NamedTuple):
    """Sizes that all branches of a call share."""

    B: int
    H: int
    W: int
    C: int
    rows: int  # of the results
    columns: int
    D: int  # channels of the results
    margin: int  # zeros around the buffered picture
    pitch: int  # pixels of a buffered row


class Norm(NamedTuple):
    """A batch norm and the ReLU after it, if there is one.

    The addresses are those of the factors by channel of ``(input - center) * rate + added``.
    """

    center: int
    rate: int
    added: int
    rectifies: bool


@part
def filled(channels: int) -> int:
    """The number of channels in a buffer: ``channels`` rounded up to a multiple of ``FILL``."""
    return (channels + FILL - 1) // FILL * FILL


@part
def clear(address: int, count: int) -> None:
    """Write ``count`` zeros, rounded up to a multiple of ``LANES``."""
    for at in range(0, count, LANES):
        store(zeros(), address + 4 * at)


@part
def floor_of(norm: Norm) -> Any:
    """What the normalized numbers are raised to: zero by a ReLU."""
    return splat(np.float32(0.0 if norm.rectifies else -np.inf))


@part
def normalize(x: int, norm: Norm, out: int, shape: Shape) -> None:
    """Write a normalized picture, after its ReLU, into the middle of a buffer."""
    C, full, floor = shape.C, filled(shape.C), floor_of(norm)
    for h in range(shape.H):  # row by row, so that memory is read once, in order
        for c in range(0, C, LANES):
            middle, factor, added = load(norm.center + 4 * c), load(norm.rate + 4 * c), load(norm.added + 4 * c)
            start = x + 4 * (h * shape.W * C + c)
            place = out + 4 * (((h + shape.margin) * shape.pitch + shape.margin) * full + c)
            for w in range(shape.W):
                value = load_part(start + 4 * w * C, C - c)
                store(at_least(multiply_add(value - middle, factor, added), floor), place + 4 * w * full)


@part
def normalize_rows(x: int, norm: Norm, out: int, pixels: int, C: int) -> None:
    """Write normalized pixels that follow each other without gaps, after their ReLU."""
    full, floor = filled(C), floor_of(norm)
    for p in range(pixels):  # pixel by pixel, so that memory is read in order
        for c in range(0, C, LANES):
            value = load_part(x + 4 * (p * C + c), C - c) - load(norm.center + 4 * c)
            value = multiply_add(value, load(norm.rate + 4 * c), load(norm.added + 4 * c))
            store(at_least(value, floor), out + 4 * (p * full + c))


@part
def normalize_pairs(x: int, norm: Norm, out: int, shape: Shape, top: int, rows: int) -> None:
    """Write, for some rows of the result, a normalized picture's even pixels after their ReLU, each beside its odd."""
    C, full, floor = shape.C, filled(shape.C), floor_of(norm)
    for c in range(0, C, LANES):
        middle, factor, added = load(norm.center + 4 * c), load(norm.rate + 4 * c), load(norm.added + 4 * c)
        for h in range(rows):
            for w in range(shape.columns):
                for odd in range(2):
                    y, column = 2 * (top + h) + odd, 2 * w + odd
                    place = out + 4 * (((h * shape.columns + w) * 2 + odd) * full + c)
                    if y < shape.H and column < shape.W:
                        value = load_part(x + 4 * ((y * shape.W + column) * C + c), C - c)
                        store(at_least(multiply_add(value - middle, factor, added), floor), place)
                    else:
                        store(zeros(), place)


@part
def widen(x: int, out: int, rows: int, columns: int, C: int, pitch: int, margin: int) -> None:
    """Write a picture into the middle of a buffer, with padded channels."""
    full = filled(C)
    for h in range(rows):
        for w in range(columns):
            for c in range(0, C, LANES):
                place = out + 4 * (((h + margin) * pitch + w + margin) * full + c)
                store(load_part(x + 4 * ((h * columns + w) * C + c), C - c), place)


@part
def gather_pairs(x: int, out: int, shape: Shape, top: int, rows: int) -> None:
    """Write, for some rows of the result, the even pixels of a buffered picture, each beside its odd pixel."""
    full = filled(shape.C)
    for h in range(rows):
        for w in range(shape.columns):
            for odd in range(2):
                pixel = (2 * (top + h) + odd + shape.margin) * shape.pitch + 2 * w + odd + shape.margin
                for c in range(0, full, LANES):
                    place = out + 4 * (((h * shape.columns + w) * 2 + odd) * full + c)
                    store(load(x + 4 * (pixel * full + c)), place)


@part
def spread_pairs(grad: int, out: int, shape: Shape, top: int, rows: int) -> None:
    """Add the gradients of even and odd pixels to the gradient of a picture."""
    full = filled(shape.C)
    for h in range(rows):
        for w in range(shape.columns):
            for odd in range(2):
                y, x = 2 * (top + h) + odd, 2 * w + odd
                if y < shape.H and x < shape.W:
                    for c in range(0, full, LANES):
                        place = out + 4 * ((y * shape.W + x) * full + c)
                        part = load(grad + 4 * (((h * shape.columns + w) * 2 + odd) * full + c))
                        store(load(place) + part, place)


@part
def gather(x: int, out: int, shape: Shape, top: int, rows: int) -> None:
    """Write some rows of a buffered picture without its margin."""
    full = filled(shape.C)
    for h in range(rows):
        row = x + 4 * ((top + h + shape.margin) * shape.pitch + shape.margin) * full
        for at in range(0, shape.W * full, LANES):
            store(load(row + 4 * at), out + 4 * (h * shape.W * full + at))


@part
def scatter(grad: int, out: int, top: int, rows: int, columns: int, pitch: int, margin: int, full: int) -> None:
    """Write some rows of a picture into the middle of a cleared buffer."""
    for h in range(rows):
        for w in range(columns):
            pixel = (top + h + margin) * pitch + w + margin
            for c in range(0, full, LANES):
                store(load(grad + 4 * ((h * columns + w) * full + c)), out + 4 * (pixel * full + c))


@part
def measure(y: int, pixels: int, seen: int, full: int, D: int, mean: int, squares: int) -> None:
    """Update the means and sums of squared deviations of ``seen`` pixels by ``pixels`` more (Chan et al., 1979)."""
    for c in range(0, D, LANES):
        sums = (zeros(), zeros())
        for p in range(0, pixels - 1, 2):
            at = y + 4 * (p * full + c)
            sums = (sums[0] + load(at), sums[1] + load(at + 4 * full))
        if pixels % 2:
            sums = (sums[0] + load(y + 4 * ((pixels - 1) * full + c)), sums[1])
        middle = (sums[0] + sums[1]) * splat(np.float32(1 / pixels))
        sums = (zeros(), zeros())
        for p in range(0, pixels - 1, 2):
            at = y + 4 * (p * full + c)
            first, second = load(at) - middle, load(at + 4 * full) - middle
            sums = (multiply_add(first, first, sums[0]), multiply_add(second, second, sums[1]))
        if pixels % 2:
            last = load(y + 4 * ((pixels - 1) * full + c)) - middle
            sums = (multiply_add(last, last, sums[0]), sums[1])
        apart = sums[0] + sums[1]
        if seen:
            before, share = load_part(mean + 4 * c, D - c), np.float32(pixels / (seen + pixels))
            step = middle - before
            middle = multiply_add(step, splat(share), before)
            apart = multiply_add(step * step, splat(seen * share), apart + load_part(squares + 4 * c, D - c))
        store_part(middle, mean + 4 * c, D - c)
        store_part(apart, squares + 4 * c, D - c)


@part
def narrow(y: int, out: int, pixels: int, full: int, D: int) -> None:
    """Write pixels without the padding of their channels."""
    for p in range(pixels):
        for c in range(0, D, LANES):
            store_part(load(y + 4 * (p * full + c)), out + 4 * (p * D + c), D - c)
