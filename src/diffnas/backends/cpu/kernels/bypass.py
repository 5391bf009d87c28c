"""Partial channels, for Numba: the first channels of a map go through operations, and the rest bypasses them.

The rest goes through 2x2 max pooling if the operations halve the resolution. Both results are joined, with the channels
shuffled as by :func:`diffnas.nets.partial_channels.shuffled`.
"""

from __future__ import annotations

from typing import Any

from diffnas.backends.cpu.kernels.address import floats
from diffnas.backends.cpu.kernels.buffer import Shape
from diffnas.backends.cpu.kernels.compiler import part
from diffnas.backends.cpu.kernels.llvm import LANES
from diffnas.backends.cpu.kernels.vectors import load_part, store_part, where_equal, where_larger


@part
def _copy(x: int, out: int, count: int) -> None:
    for c in range(0, count, LANES):
        store_part(load_part(x + 4 * c, count - c), out + 4 * c, count - c)


@part
def split(x: int, seen: int, rest: int, one_in: int, stride: int, shape: Shape, first: int, last: int) -> None:
    """Write the channels that operations read, and the rest, of the pictures from ``first`` up to ``last``.

    Args:
        x: pictures ``(B, H, W, C)``.
        seen: ``(B, H, W, C / one_in)``.
        rest: ``(B, H', W', C - C / one_in)``.
        one_in: the operations read ``1 / one_in`` of the channels.
        stride: 2 if the rest goes through max pooling, else 1.
        shape: the sizes.
        first: the first picture to handle.
        last: one past the last picture to handle.
    """
    C, N, pixels = shape.C, shape.C // one_in, shape.H * shape.W
    for p in range(first * pixels, last * pixels):
        _copy(x + 4 * p * C, seen + 4 * p * N, N)
        if stride == 1:
            _copy(x + 4 * (p * C + N), rest + 4 * p * (C - N), C - N)
    if stride == 1:
        return
    for row in range(first * shape.rows, last * shape.rows):
        for w in range(shape.columns):
            at, right, below = _window(row, w, shape)
            out = rest + 4 * (row * shape.columns + w) * (C - N)
            for c in range(0, C - N, LANES):
                store_part(_largest(x + 4 * (at * C + N + c), right, below, C - N - c), out + 4 * c, C - N - c)


@part
def split_backward(
    x: int, seen: int, rest: int, out: int, one_in: int, stride: int, shape: Shape, first: int, last: int
) -> None:
    """Write to ``out`` the gradient for ``x``, the input of ``split``, from those for its results.

    If several pixels of a window are the largest, the first gets the gradient.
    """
    C, N, pixels = shape.C, shape.C // one_in, shape.H * shape.W
    for p in range(first * pixels, last * pixels):
        _copy(seen + 4 * p * N, out + 4 * p * C, N)
        if stride == 1:
            _copy(rest + 4 * p * (C - N), out + 4 * (p * C + N), C - N)
    if stride == 1:
        return
    for row in range(first * shape.rows, last * shape.rows):
        for w in range(shape.columns):
            at, right, below = _window(row, w, shape)
            grad = rest + 4 * (row * shape.columns + w) * (C - N)
            for c in range(0, C - N, LANES):
                place, count = 4 * (at * C + N + c), C - N - c
                best, left = _largest(x + place, right, below, count), load_part(grad + 4 * c, count)
                for down in range(0, below + 1, max(below, 1)):
                    for across in range(0, right + 1, max(right, 1)):
                        pixel = place + down + across
                        passed = where_equal(load_part(x + pixel, count), best, left)
                        store_part(passed, out + pixel, count)
                        left = left - passed


@part
def _window(row: int, w: int, shape: Shape) -> tuple[int, int, int]:
    """The first pixel of a window, and the bytes to its neighbors on the right and below, 0 if one is outside."""
    b, h = row // shape.rows, row % shape.rows
    at = (b * shape.H + 2 * h) * shape.W + 2 * w
    right = 4 * shape.C if 2 * w + 1 < shape.W else 0
    below = 4 * shape.W * shape.C if 2 * h + 1 < shape.H else 0
    return at, right, below


@part
def _largest(x: int, right: int, below: int, count: int) -> Any:
    """The largest pixel of a window; NaN is larger than any number."""
    value = load_part(x, count)
    for pixel in (x + right, x + below, x + below + right):
        other = load_part(pixel, count)
        value = where_larger(other, value, other, value)
    return value


@part
def join(mixed: int, rest: int, out: int, one_in: int, shape: Shape, first: int, last: int) -> None:
    """Write the sum of operations and the rest as one shuffled map, ``(B, H, W, C)``."""
    C, N, pixels = shape.C, shape.C // one_in, shape.H * shape.W
    for p in range(first * pixels, last * pixels):
        one, others = floats(mixed + 4 * p * N, N), floats(rest + 4 * p * (C - N), C - N)
        joined = floats(out + 4 * p * C, C)
        for n in range(N):
            joined[n * one_in] = one[n]
            for k in range(one_in - 1):
                joined[n * one_in + 1 + k] = others[k * N + n]


@part
def join_backward(grad: int, mixed: int, rest: int, one_in: int, shape: Shape, first: int, last: int) -> None:
    """Write the gradients for ``mixed`` and ``rest``, the inputs of ``join``, from the gradient for its result."""
    C, N, pixels = shape.C, shape.C // one_in, shape.H * shape.W
    for p in range(first * pixels, last * pixels):
        one, others = floats(mixed + 4 * p * N, N), floats(rest + 4 * p * (C - N), C - N)
        joined = floats(grad + 4 * p * C, C)
        for n in range(N):
            one[n] = joined[n * one_in]
            for k in range(one_in - 1):
                others[k * N + n] = joined[n * one_in + 1 + k]
