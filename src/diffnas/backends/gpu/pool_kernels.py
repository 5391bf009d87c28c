"""Triton kernels of max and average pools of 3x3 pixels, for maps that lie in memory as ``(B, H, W, C)``.

One launch computes all pools of a map. Pixels of a window outside the picture do not count. Tiles of pixels are on the
first axis of a grid, as in :mod:`diffnas.backends.gpu.kernels`.
"""

# Triton compiles these functions; they have no types that a checker knows.
# mypy: ignore-errors

from __future__ import annotations

import triton
import triton.language as tl

from diffnas.backends.gpu.kernels import map_of

OUTSIDE = tl.constexpr(float("-inf"))


@triton.jit
def _span(at, stride, length):
    """How many pixels a window has inside the picture, in one direction."""
    return tl.minimum(at * stride + 2, length) - tl.maximum(at * stride - 1, 0)


@triton.jit
def pool(
    x, largest, where, average, pixels,
    rows: tl.constexpr, columns: tl.constexpr, H: tl.constexpr, W: tl.constexpr, C: tl.constexpr,
    stride: tl.constexpr, MAX: tl.constexpr, AVERAGE: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Write the pools of a map, of ``pixels`` pixels: ``largest``, the tap ``where`` it is (int8), and ``average``.

    Of several equal pixels the first is the maximum. NaN is larger than all numbers.
    """
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    channel = tl.arange(0, CHANNELS)
    inside, within = channel < C, pixel < pixels
    column, row, picture = pixel % columns, (pixel // columns) % rows, pixel // (columns * rows)
    total = tl.zeros((PIXELS, CHANNELS), tl.float32)
    most = tl.full((PIXELS, CHANNELS), OUTSIDE, tl.float32)
    # The middle of a window is always inside the picture.
    found = tl.full((PIXELS, CHANNELS), 4, tl.int32)
    for tap in tl.static_range(9):
        h, w = row * stride + tap // 3 - 1, column * stride + tap % 3 - 1
        there = within & (h >= 0) & (h < H) & (w >= 0) & (w < W)
        mask = there[:, None] & inside[None, :]
        place = ((picture * H + h) * W + w)[:, None] * C + channel[None, :]
        value = tl.load(x + place, mask=mask, other=OUTSIDE)
        if AVERAGE:
            total += tl.where(mask, value, 0.0)
        if MAX:
            larger = (value > most) | ((value != value) & (most == most))
            most, found = tl.where(larger, value, most), tl.where(larger, tap, found)
    place = pixel[:, None] * C + channel[None, :]
    mask = within[:, None] & inside[None, :]
    if AVERAGE:
        count = _span(row, stride, H) * _span(column, stride, W)
        tl.store(average + place, total / count[:, None], mask=mask)
    if MAX:
        tl.store(largest + place, most, mask=mask)
        tl.store(where + place, found.to(tl.int8), mask=mask)


@triton.jit
def pool_backward(
    table, largest, where, average, out, pixels,
    rows: tl.constexpr, columns: tl.constexpr, H: tl.constexpr, W: tl.constexpr, C: tl.constexpr,
    stride: tl.constexpr, SAME: tl.constexpr, MAX: tl.constexpr, AVERAGE: tl.constexpr,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The gradient for a map of ``pixels`` pixels, which ``pool`` and other operations have read.

    It is a sum. The table has ``SAME`` gradients for the map from the other operations. ``largest`` and ``average`` are
    the gradients for the results of ``pool``; each place of a map belongs to up to 9 windows.
    """
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    channel = tl.arange(0, CHANNELS)
    inside, within = channel < C, pixel < pixels
    w, h, picture = pixel % W, (pixel // W) % H, pixel // (W * H)
    own = pixel[:, None] * C + channel[None, :]
    all_of = within[:, None] & inside[None, :]
    total = tl.zeros((PIXELS, CHANNELS), tl.float32)
    for k in tl.static_range(SAME):
        total += tl.load(map_of(table, k, C) + own, mask=all_of, other=0.0)
    for tap in tl.static_range(9):
        up, left = h + 1 - tap // 3, w + 1 - tap % 3
        row, column = up // stride, left // stride
        there = within & (up >= 0) & (row < rows) & (left >= 0) & (column < columns)
        if stride > 1:
            there = there & (up % stride == 0) & (left % stride == 0)
        mask = there[:, None] & inside[None, :]
        place = ((picture * rows + row) * columns + column)[:, None] * C + channel[None, :]
        if AVERAGE:
            share = _span(row, stride, H) * _span(column, stride, W)
            grads = tl.load(average + place, mask=mask, other=0.0)
            total += grads / tl.where(there, share, 1)[:, None]
        if MAX:
            found = tl.load(where + place, mask=mask, other=-1)
            total += tl.where(found == tap, tl.load(largest + place, mask=mask, other=0.0), 0.0)
    tl.store(out + own, total, mask=all_of)
