"""Max and average pools of 3x3 pixels, and the batch statistics of their results, for Numba.

The pixels of a window that lie outside the picture do not count. The way back finds the largest pixel again, which
takes less time than reading where it was.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from diffnas.nets.compiled.buffer import Floats, Shape, Table, clear, filled, measure, narrow
from diffnas.nets.compiled.vectors import (
    LANES,
    compiled,
    load,
    load_part,
    splat,
    store,
    store_part,
    where_equal,
    where_larger,
    zeros,
)

AVERAGE, MAX = 0, 1


@compiled
def _largest(x: int, C: int, count: int, pitch: int, top: int, bottom: int, left: int, right: int) -> Any:
    """The largest pixel of a window and its number, the first of equals, in each lane; what is no number is larger."""
    best, where, number = splat(np.float32(-np.inf)), zeros(), np.float32(0)
    for h in range(top, bottom):
        for w in range(left, right):
            value, here = load_part(x + 4 * (h * pitch + w * C), count), splat(number)
            where = where_larger(value, best, here, where)
            best = where_larger(value, best, value, best)
            number += np.float32(1)
    return best, where


@compiled
def _sum(x: int, C: int, count: int, pitch: int, top: int, bottom: int, left: int, right: int) -> Any:
    total = zeros()
    for h in range(top, bottom):
        for w in range(left, right):
            total = total + load_part(x + 4 * (h * pitch + w * C), count)
    return total


@compiled
def _ends(at: int, stride: int, length: int) -> tuple[int, int]:
    """The first pixel of a window inside the picture, and one past its last."""
    return max(0, at * stride - 1), min(length, at * stride + 2)


@compiled
def scratch_size(shape: Shape) -> int:
    """How many numbers a thread needs to work in: a picture."""
    return shape.H * shape.W * filled(shape.C)


@compiled
def forward(
    kinds: Table, x: int, results: Table, stride: int, shape: Shape, means: Floats, squares: Floats, scratch: Floats,
    first: int, last: int,
) -> None:  # fmt: skip
    """Write every pool of each picture from ``first`` up to ``last``, its means, and the squared distances to them.

    Args:
        kinds: ``(K,)``, AVERAGE or MAX.
        x: pictures ``(B, H, W, C)``.
        results: K tensors ``(B, H', W', C)``.
        stride: 1 or 2.
        shape: the sizes.
        means: ``(K, B, C)``.
        squares: ``(K, B, C)``.
        scratch: numbers to work in, ``scratch_size`` of them.
        first: the first picture to handle.
        last: one past the last picture to handle.
    """
    C, full, pitch, pixels = shape.C, filled(shape.C), shape.W * shape.C, shape.rows * shape.columns
    y = scratch.ctypes.data
    for b in range(first, last):
        picture = x + 4 * b * shape.H * pitch
        for k in range(len(kinds)):
            for h in range(shape.rows):
                top, bottom = _ends(h, stride, shape.H)
                for w in range(shape.columns):
                    left, right = _ends(w, stride, shape.W)
                    place = y + 4 * (h * shape.columns + w) * full
                    share = splat(np.float32(1 / ((bottom - top) * (right - left))))
                    for c in range(0, C, LANES):
                        at = picture + 4 * c
                        if kinds[k] == MAX:
                            value = _largest(at, C, C - c, pitch, top, bottom, left, right)[0]
                        else:
                            value = _sum(at, C, C - c, pitch, top, bottom, left, right) * share
                        store(value, place + 4 * c)
            out = results[k] + 4 * b * pixels * C
            narrow(y, out, pixels, full, C)
            measure(y, pixels, 0, full, C, means[k, b].ctypes.data, squares[k, b].ctypes.data)


@compiled
def backward(
    kinds: Table, x: int, grads: Table, out: int, stride: int, shape: Shape, scratch: Floats, first: int, last: int
) -> None:
    """Write the sum of the pools' gradients for each picture from ``first`` up to ``last``.

    Args:
        kinds: ``(K,)``, AVERAGE or MAX.
        x: pictures ``(B, H, W, C)``.
        grads: K tensors ``(B, H', W', C)``.
        out: ``(B, H, W, C)``.
        stride: 1 or 2.
        shape: the sizes.
        scratch: as forward.
        first: the first picture to handle.
        last: one past the last picture to handle.
    """
    C, full, pitch = shape.C, filled(shape.C), shape.W * shape.C
    total = scratch.ctypes.data
    for b in range(first, last):
        picture = x + 4 * b * shape.H * pitch
        clear(total, shape.H * shape.W * full)
        for k in range(len(kinds)):
            grad = grads[k] + 4 * b * shape.rows * shape.columns * C
            for h in range(shape.rows):
                top, bottom = _ends(h, stride, shape.H)
                for w in range(shape.columns):
                    left, right = _ends(w, stride, shape.W)
                    share = splat(np.float32(1 / ((bottom - top) * (right - left))))
                    for c in range(0, C, LANES):
                        value = load_part(grad + 4 * ((h * shape.columns + w) * C + c), C - c)
                        if kinds[k] == MAX:
                            where = _largest(picture + 4 * c, C, C - c, pitch, top, bottom, left, right)[1]
                            _to_largest(total + 4 * c, value, where, full, shape.W, top, bottom, left, right)
                        else:
                            _to_all(total + 4 * c, value * share, full, shape.W, top, bottom, left, right)
        place = out + 4 * b * shape.H * pitch
        for pixel in range(shape.H * shape.W):
            for c in range(0, C, LANES):
                store_part(load(total + 4 * (pixel * full + c)), place + 4 * (pixel * C + c), C - c)


@compiled
def _to_largest(
    total: int, value: Any, where: Any, full: int, W: int, top: int, bottom: int, left: int, right: int
) -> None:
    number = np.float32(0)
    for h in range(top, bottom):
        for w in range(left, right):
            place = total + 4 * (h * W + w) * full
            store(load(place) + where_equal(where, splat(number), value), place)
            number += np.float32(1)


@compiled
def _to_all(total: int, value: Any, full: int, W: int, top: int, bottom: int, left: int, right: int) -> None:
    for h in range(top, bottom):
        for w in range(left, right):
            place = total + 4 * (h * W + w) * full
            store(load(place) + value, place)
