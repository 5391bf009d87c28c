"""Max and average pools of 3x3 pixels, and the batch statistics of their results, for Numba.

Pixels of a window outside the picture do not count. Windows are pooled first down, then across, so that each column is
pooled once. The backward pass searches the largest pixel again, which is faster than to store and read its place.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from diffnas.backends.cpu.kernels.address import address_of
from diffnas.backends.cpu.kernels.buffer import Floats, Shape, Table, clear, filled, measure, narrow, widen
from diffnas.backends.cpu.kernels.compiler import compiled, part
from diffnas.backends.cpu.kernels.llvm import LANES
from diffnas.backends.cpu.kernels.vectors import load, multiply_add, splat, store, where_equal, where_larger

AVERAGE, MAX = 0, 1


@part
def _ends(at: int, stride: int, length: int) -> tuple[int, int]:
    """The first pixel of a window inside the picture, and one past the last, in one direction."""
    return max(0, at * stride - 1), min(length, at * stride + 2)


@part
def _share(at: int, stride: int, length: int) -> Any:
    """The weight of each pixel in the average of its window, in one direction."""
    first, last = _ends(at, stride, length)
    return splat(np.float32(1 / (last - first)))


@part
def scratch_size(shape: Shape) -> int:
    """How many numbers of scratch memory a thread needs: three pictures, and two rows with a pixel on either side."""
    return (3 * shape.H * shape.W + 2 * (shape.W + 2)) * filled(shape.C)


@part
def _larger(x: Any, y: Any) -> Any:
    """The larger number; nan is larger than all others."""
    return where_larger(x, y, x, y)


@part
def _pooled_row(kind: int, x: int, out: int, columns: int, stride: int, shape: Shape, h: int, line: int) -> None:
    """A row of one pool's results, from a picture with padded channels; ``line`` is scratch memory for one row."""
    full = filled(shape.C)
    top, bottom = _ends(h, stride, shape.H)
    height = _share(h, stride, shape.H)
    outside = splat(np.float32(-np.inf if kind == MAX else 0))
    for c in range(0, full, LANES):
        store(outside, line + 4 * c)
        store(outside, line + 4 * ((shape.W + 1) * full + c))
    row, pitch = x + 4 * top * shape.W * full, 4 * shape.W * full
    for at in range(0, shape.W * full, LANES):
        pixel = row + 4 * at
        value, below = load(pixel), load(pixel + pitch) if bottom - top > 1 else outside
        if kind == MAX:
            value = _larger(below, value)
            if bottom - top > 2:
                value = _larger(load(pixel + 2 * pitch), value)
        else:
            value = value + below
            if bottom - top > 2:
                value = value + load(pixel + 2 * pitch)
            value = value * height
        store(value, line + 4 * (full + at))
    for w in range(columns):
        width = _share(w, stride, shape.W)
        for c in range(0, full, LANES):
            place = line + 4 * (w * stride * full + c)
            first, second, third = load(place), load(place + 4 * full), load(place + 8 * full)
            value = _larger(third, _larger(second, first)) if kind == MAX else (first + second + third) * width
            store(value, out + 4 * (w * full + c))


@part
def _wide(x: int, scratch: int, rows: int, columns: int, C: int) -> int:
    """The address of a picture with padded channels: ``x`` if it needs no padding, else its padded copy in scratch."""
    if filled(C) == C:
        return x
    widen(x, scratch, rows, columns, C, columns, 0)
    return scratch


@compiled
def forward(
    kinds: Table, x: int, results: Table, stride: int, shape: Shape, means: Floats, squares: Floats, scratch: Floats,
    first: int, last: int,
) -> None:  # fmt: skip
    """Write every pool of each picture from ``first`` up to ``last``, its means, and its sums of squared deviations.

    Args:
        kinds: ``(K,)``, AVERAGE or MAX.
        x: pictures ``(B, H, W, C)``.
        results: K tensors ``(B, H', W', C)``.
        stride: 1 or 2.
        shape: the sizes.
        means: ``(K, B, C)``.
        squares: ``(K, B, C)``.
        scratch: scratch memory, ``scratch_size`` numbers.
        first: the first picture to handle.
        last: one past the last picture to handle.
    """
    C, full, pixels = shape.C, filled(shape.C), shape.rows * shape.columns
    size = 4 * shape.H * shape.W * full
    y = address_of(scratch) + size
    line = y + 2 * size
    for b in range(first, last):
        picture = _wide(x + 4 * b * shape.H * shape.W * C, address_of(scratch), shape.H, shape.W, C)
        for k in range(len(kinds)):
            out = results[k] + 4 * b * pixels * C
            place = out if full == C else y
            for h in range(shape.rows):
                row = place + 4 * h * shape.columns * full
                if kinds[k] == MAX:
                    _pooled_row(MAX, picture, row, shape.columns, stride, shape, h, line)
                else:
                    _pooled_row(AVERAGE, picture, row, shape.columns, stride, shape, h, line)
            if full != C:
                narrow(y, out, pixels, full, C)
            measure(place, pixels, 0, full, C, address_of(means[k, b]), address_of(squares[k, b]))


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
        scratch: scratch memory, ``scratch_size`` numbers.
        first: the first picture to handle.
        last: one past the last picture to handle.
    """
    C, full, pixels = shape.C, filled(shape.C), shape.H * shape.W
    size = 4 * pixels * full
    spare = address_of(scratch) + size
    total, line = spare + size, spare + 2 * size
    for b in range(first, last):
        picture = _wide(x + 4 * b * pixels * C, address_of(scratch), shape.H, shape.W, C)
        place = out + 4 * b * pixels * C
        sums = place if full == C else total
        clear(sums, pixels * full)
        for k in range(len(kinds)):
            grad = _wide(grads[k] + 4 * b * shape.rows * shape.columns * C, spare, shape.rows, shape.columns, C)
            if kinds[k] == MAX:
                _to_largest(sums, picture, grad, stride, shape, line)
            else:
                _to_all(sums, grad, stride, shape, line)
        if full != C:
            narrow(sums, place, pixels, full, C)


@part
def _to_all(total: int, grad: int, stride: int, shape: Shape, line: int) -> None:
    """Add the gradient of an average pool for a picture with padded channels; ``line`` is scratch for one row."""
    full, rows, columns = filled(shape.C), shape.rows, shape.columns
    clear(line, full)
    clear(line + 4 * (columns + 1) * full, full)
    for h in range(shape.H):
        # The windows with this row are those of the results from ``first`` up to ``last``.
        first, last = h // stride if stride > 1 else max(0, h - 1), min(rows, (h + 1) // stride + 1)
        count, row, pitch = last - first, grad + 4 * first * columns * full, 4 * columns * full
        one = _share(first, stride, shape.H)
        two = _share(min(first + 1, last - 1), stride, shape.H)
        three = _share(last - 1, stride, shape.H)
        for w in range(columns):
            width = _share(w, stride, shape.W)
            for at in range(w * full, (w + 1) * full, LANES):
                value = load(row + 4 * at) * one
                if count > 1:
                    value = multiply_add(load(row + pitch + 4 * at), two, value)
                if count > 2:
                    value = multiply_add(load(row + 2 * pitch + 4 * at), three, value)
                store(value * width, line + 4 * (full + at))
        for w in range(shape.W):
            at = w // stride if stride > 1 else w - 1
            for c in range(0, full, LANES):
                place, part = total + 4 * ((h * shape.W + w) * full + c), line + 4 * ((at + 1) * full + c)
                value = load(place) + load(part)
                if stride == 1:
                    value = value + load(part + 4 * full) + load(part + 8 * full)
                elif w % 2:
                    value = value + load(part + 4 * full)
                store(value, place)


@part
def _to_largest(total: int, x: int, grad: int, stride: int, shape: Shape, line: int) -> None:
    """Add the gradient of a max pool to ``total``: in each window, the first of the largest pixels gets it."""
    full, columns = filled(shape.C), shape.columns
    most = line + 4 * (shape.W + 2) * full
    pitch = 4 * shape.W * full
    for h in range(shape.rows):
        _pooled_row(MAX, x, most, columns, stride, shape, h, line)
        top, bottom = _ends(h, stride, shape.H)
        for w in range(columns):
            left, right = _ends(w, stride, shape.W)
            for c in range(0, full, LANES):
                best = load(most + 4 * (w * full + c))
                rest = load(grad + 4 * ((h * columns + w) * full + c))
                at = 4 * (left * full + c) + top * pitch
                for _ in range(top, bottom):
                    if right - left == 3:
                        rest = _given(total + at, x + at, best, rest)
                        rest = _given(total + at + 4 * full, x + at + 4 * full, best, rest)
                        rest = _given(total + at + 8 * full, x + at + 8 * full, best, rest)
                    else:
                        for pixel in range(right - left):
                            rest = _given(total + at + 4 * pixel * full, x + at + 4 * pixel * full, best, rest)
                    at += pitch


@part
def _given(total: int, x: int, best: Any, rest: Any) -> Any:
    """Add ``rest`` to ``total``, the gradient of one pixel, in the lanes where the pixel equals ``best``; what remains.

    In those lanes 0 remains, so that no later pixel of the window gets the gradient again.
    """
    passed = where_equal(load(x), best, rest)
    store(load(total) + passed, total)
    return rest - passed
