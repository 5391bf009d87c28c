"""Convolutions of pictures in buffers, and their weight gradients, built from the inner loops, for Numba.

Weights are packed: the channels of the results are the last dimension. All channels are padded (``buffer.filled``).
"""

from __future__ import annotations

import math
from typing import NamedTuple

from diffnas.backends.cpu.kernels.compiler import part
from diffnas.backends.cpu.kernels.llvm import LANES
from diffnas.backends.cpu.kernels.loops import BLOCK, HALF, TALL, TAPS_DOWN, correlate, multiply, slide, sweep


@part
def sweep_row(
    out: int, out_step: int, start: int, start_step: int, x: int, x_step: int, x_tap: int, x_tap_row: int, w: int,
    w_tap: int, w_tap_row: int, taps: int, taps_down: int, columns: int,
) -> None:  # fmt: skip
    """A row of a depthwise convolution, by ``sweep``, which has the same arguments."""
    p = 0
    while p < columns:
        o, s, a = out + 4 * p * out_step, start + 4 * p * start_step, x + 4 * p * x_step
        if p + BLOCK <= columns:
            sweep(o, out_step, s, start_step, a, x_step, x_tap, x_tap_row, w, w_tap, w_tap_row, taps, taps_down, BLOCK)
            p += BLOCK
        else:
            sweep(o, out_step, s, start_step, a, x_step, x_tap, x_tap_row, w, w_tap, w_tap_row, taps, taps_down, 1)
            p += 1


@part
def depthwise(
    out: int, add: bool, nothing: int, x: int, pitch: int, w: int, rows: int, columns: int, full: int, kernel: int,
    dilation: int, stride: int,
) -> None:  # fmt: skip
    """A depthwise convolution of a buffered picture; ``x`` is the address that the kernel's first tap reads first.

    The last block of a row may write past its end, into the next row, which is written later, or into spare memory.
    """
    step = full if add else 0
    for h in range(rows):
        for c in range(0, full, LANES):
            row = x + 4 * (h * stride * pitch * full + c)
            taps = w + 4 * c
            place = out + 4 * (h * columns * full + c)
            start = place if add else nothing
            known = (kernel in (3, 5) and dilation <= 2) or (kernel == 7 and dilation == 1)
            if stride > 1 or not known or (add and columns % BLOCK):
                sweep_row(
                    place, full, start, step, row, stride * full, dilation * full, dilation * pitch * full, taps, full,
                    kernel * full, kernel, kernel, columns,
                )  # fmt: skip
                continue
            for p in range(0, columns, BLOCK):
                at = 4 * p * full
                begin = place + at if add else nothing
                if kernel == 3 and dilation == 1:
                    slide(place + at, full, begin, step, row + at, full, pitch * full, taps, full, 3, 1, 1)
                elif kernel == 3:
                    slide(place + at, full, begin, step, row + at, full, pitch * full, taps, full, 3, 2, 1)
                elif kernel == 7:
                    slide(place + at, full, begin, step, row + at, full, pitch * full, taps, full, 7, 1, 1)
                elif dilation == 1:
                    slide(place + at, full, begin, step, row + at, full, pitch * full, taps, full, 5, 1, 1)
                else:
                    slide(place + at, full, begin, step, row + at, full, pitch * full, taps, full, 5, 2, 1)


@part
def depthwise_back(
    out: int, grad: int, pitch: int, w: int, rows: int, columns: int, full: int, kernel: int, dilation: int,
    stride: int, padding: int,
) -> None:  # fmt: skip
    """Add the gradient for a picture ``(rows, columns, full)`` that a depthwise convolution with a stride has read.

    All pixels with the same row and column modulo the stride were read by the same taps. So their gradient is a
    convolution of ``grad`` with a part of the rotated weights ``w``. ``grad`` is the address of its first pixel; it has
    zeros around it.
    """
    common = math.gcd(dilation, stride)
    every, apart = stride // common, dilation // common
    for top in range(stride):
        for left in range(stride):
            phase = _phase(top, left, columns, kernel, dilation, stride, padding)
            taps = w + 4 * phase.tap * full
            for h in range(top, rows, stride):
                row = grad + 4 * ((phase.row + h // stride) * pitch + phase.column) * full
                for c in range(0, full, LANES):
                    place = out + 4 * ((h * columns + left) * full + c)
                    sweep_row(
                        place, stride * full, place, stride * full, row + 4 * c, full, apart * full,
                        apart * pitch * full, taps + 4 * c, every * full, every * kernel * full, phase.across,
                        phase.down, phase.pixels,
                    )  # fmt: skip


class Phase(NamedTuple):
    """The pixels of a picture with one row and one column modulo a stride, and the taps that have read them."""

    down: int  # rows of taps
    across: int  # taps of a row
    tap: int  # the number of the first tap, of the rotated weights
    row: int  # of the result for which the first tap has read the first row of pixels
    column: int
    pixels: int  # how many a row has; 0 if no tap has read them


@part
def _phase(top: int, left: int, columns: int, kernel: int, dilation: int, stride: int, padding: int) -> Phase:
    """The pixels of rows of ``columns`` pixels that begin in row ``top`` and column ``left``."""
    down, first_down, row = _taps(top, kernel, dilation, stride, padding)
    across, first_across, column = _taps(left, kernel, dilation, stride, padding)
    read = down > 0 and across > 0 and left < columns
    pixels = (columns - left + stride - 1) // stride if read else 0
    return Phase(down, across, first_down * kernel + first_across, row, column, pixels)


@part
def _taps(at: int, kernel: int, dilation: int, stride: int, padding: int) -> tuple[int, int, int]:
    """How many taps have read the pixel at ``at``, the first of them, and the result for which that tap read the pixel.

    This is for one direction, and the first is that of the rotated weights. The taps repeat with the stride.
    """
    every = stride // math.gcd(dilation, stride)
    tap = 0
    while tap < every and (at + padding - tap * dilation) % stride:
        tap += 1
    if tap == every or tap >= kernel:
        return 0, 0, 0
    last = tap + (kernel - 1 - tap) // every * every
    return (last - tap) // every + 1, kernel - 1 - last, (at + padding - last * dilation) // stride


@part
def depthwise_weights(
    out: int, x: int, pitch: int, grad: int, grad_pitch: int, rows: int, columns: int, full: int, kernel: int,
    dilation: int, stride: int,
) -> None:  # fmt: skip
    """Add a picture's weight gradient, ``(kernel, kernel, full)``."""
    down, across = dilation * pitch * full, dilation * full
    x_row, grad_row = stride * pitch * full, grad_pitch * full
    for c in range(0, full, LANES):
        o, a, g = out + 4 * c, x + 4 * c, grad + 4 * c
        if kernel == 3 and stride == 1 and dilation == 1:
            correlate(o, full, a, full, x_row, across, down, g, full, grad_row, columns, rows, 3, 3, 1)
        elif kernel == 3 and stride == 1 and dilation == 2:
            correlate(o, full, a, full, x_row, across, down, g, full, grad_row, columns, rows, 3, 3, 2)
        elif kernel == 3:
            correlate(o, full, a, stride * full, x_row, across, down, g, full, grad_row, columns, rows, 3, 3, 0)
        elif kernel == 5:
            _five_weights(o, a, x_row, across, down, g, grad_row, columns, rows, full, stride, dilation)
        elif kernel == 7 and (stride > 1 or dilation == 1):
            _seven_weights(o, a, x_row, across, down, g, grad_row, columns, rows, full, stride)
        else:
            for t in range(kernel * kernel):
                tap = 4 * (t // kernel * down + t % kernel * across)
                place = o + 4 * t * full
                correlate(place, full, a + tap, stride * full, x_row, 0, 0, g, full, grad_row, columns, rows, 1, 1, 0)


@part
def _five_weights(
    out: int, x: int, x_row: int, across: int, down: int, grad: int, grad_row: int, columns: int, rows: int, full: int,
    stride: int, dilation: int,
) -> None:  # fmt: skip
    """``depthwise_weights`` of a 5x5 kernel, for one vector of channels."""
    step = stride * full
    for top in range(0, 5, TAPS_DOWN):
        o, a = out + 4 * top * 5 * full, x + 4 * top * down
        if top + TAPS_DOWN > 5:
            correlate(o, full, a, step, x_row, across, down, grad, full, grad_row, columns, rows, 1, 5, 0)
        elif stride == 1 and dilation == 1:
            correlate(o, full, a, full, x_row, across, down, grad, full, grad_row, columns, rows, TAPS_DOWN, 5, 1)
        elif stride == 1 and dilation == 2:
            correlate(o, full, a, full, x_row, across, down, grad, full, grad_row, columns, rows, TAPS_DOWN, 5, 2)
        else:
            correlate(o, full, a, step, x_row, across, down, grad, full, grad_row, columns, rows, TAPS_DOWN, 5, 0)


@part
def _seven_weights(
    out: int, x: int, x_row: int, across: int, down: int, grad: int, grad_row: int, columns: int, rows: int, full: int,
    stride: int,
) -> None:  # fmt: skip
    """``depthwise_weights`` of a 7x7 kernel, for one vector of channels; with a stride of 1 it has no dilation."""
    for top in range(7):
        o, a = out + 4 * top * 7 * full, x + 4 * top * down
        if stride == 1:
            correlate(o, full, a, full, x_row, across, down, grad, full, grad_row, columns, rows, 1, 7, 1)
        else:
            correlate(o, full, a, stride * full, x_row, across, down, grad, full, grad_row, columns, rows, 1, 7, 0)


@part
def pointwise(
    out: int, out_step: int, add: bool, nothing: int, a: int, a_step: int, a_row: int, w: int, w_row: int, pixels: int,
    before: int, rows: int, after: int,
) -> None:  # fmt: skip
    """The sum over rows r of the matrix products of ``a[r]``, ``(pixels, before)``, and ``w[r]``, ``(before, after)``.

    From one pixel of the result to the next are ``out_step`` numbers, of a ``a_step``, from one row of a to the next
    ``a_row``, and of w ``w_row``.
    """
    step, v = out_step if add else 0, 0
    while v < after:
        two = v + 2 * LANES <= after
        place, factors = out + 4 * v, w + 4 * v
        start, p = place if add else nothing, 0
        while p < pixels:
            o, x, s, left = place + 4 * p * out_step, a + 4 * p * a_step, start + 4 * p * step, pixels - p
            # After a tall block, either no pixels should be left, or enough for another block.
            if two and (left == TALL or left >= TALL + HALF):
                multiply(o, out_step, s, step, x, a_step, 1, a_row, factors, after, w_row, before, rows, TALL, 2)
                p += TALL
            elif two and left >= HALF:
                multiply(o, out_step, s, step, x, a_step, 1, a_row, factors, after, w_row, before, rows, HALF, 2)
                p += HALF
            elif two:
                multiply(o, out_step, s, step, x, a_step, 1, a_row, factors, after, w_row, before, rows, 1, 2)
                p += 1
            elif left >= BLOCK:
                multiply(o, out_step, s, step, x, a_step, 1, a_row, factors, after, w_row, before, rows, BLOCK, 1)
                p += BLOCK
            elif left >= HALF:
                multiply(o, out_step, s, step, x, a_step, 1, a_row, factors, after, w_row, before, rows, HALF, 1)
                p += HALF
            else:
                multiply(o, out_step, s, step, x, a_step, 1, a_row, factors, after, w_row, before, rows, 1, 1)
                p += 1
        v += 2 * LANES if two else LANES


@part
def pointwise_weights(
    out: int, a: int, a_step: int, a_row: int, g: int, g_row: int, columns: int, rows: int, before: int, after: int
) -> None:
    """Add the gradient of a 1x1 convolution's weights, ``(before, after)``; up to seven rows more are written."""
    before = (before + HALF - 1) // HALF * HALF  # so that the blocks cover the rows exactly
    pairs, c = after // (2 * LANES) * (2 * LANES), 0
    while c < before and pairs:
        left = before - c
        tall = left == TALL or left >= TALL + HALF
        for v in range(0, pairs, 2 * LANES):
            o, w, x = out + 4 * (c * after + v), g + 4 * v, a + 4 * c
            if tall:
                multiply(o, after, o, after, x, 1, a_step, a_row, w, after, g_row, columns, rows, TALL, 2)
            else:
                multiply(o, after, o, after, x, 1, a_step, a_row, w, after, g_row, columns, rows, HALF, 2)
        c += TALL if tall else HALF
    for c in range(0, before, BLOCK):
        for v in range(pairs, after, LANES):
            o, w = out + 4 * (c * after + v), g + 4 * v
            multiply(o, after, o, after, a + 4 * c, 1, a_step, a_row, w, after, g_row, columns, rows, BLOCK, 1)


@part
def dense(
    out: int, add: bool, nothing: int, x: int, pitch: int, w: int, rows: int, columns: int, before: int, after: int,
    kernel: int, dilation: int, stride: int, read: int,
) -> None:  # fmt: skip
    """A convolution of a buffered picture with weights ``(kernel, kernel, before, after)``.

    Only the first ``read`` channels of the picture are read; the others are padding.
    """
    down, size = dilation * pitch * before, before * after
    for h in range(rows):
        row, place = x + 4 * h * stride * pitch * before, out + 4 * h * columns * after
        if dilation == 1 and read == before:  # the taps of a row read numbers without gaps
            pointwise(
                place, after, add, nothing, row, stride * before, down, w, kernel * size, columns, kernel * before,
                kernel, after,
            )  # fmt: skip
            continue
        for t in range(kernel):
            pointwise(
                place, after, add or t > 0, nothing, row + 4 * t * down, stride * before, dilation * before,
                w + 4 * t * kernel * size, size, columns, read, kernel, after,
            )  # fmt: skip


@part
def dense_back(
    out: int, grad: int, pitch: int, w: int, rows: int, columns: int, before: int, after: int, kernel: int,
    dilation: int, stride: int, padding: int, read: int,
) -> None:  # fmt: skip
    """``depthwise_back`` for a dense convolution, with rotated weights ``(kernel, kernel, before, after)``.

    ``before`` are the channels of ``grad``, of which only the first ``read`` are no padding.
    """
    common, size = math.gcd(dilation, stride), before * after
    every, apart = stride // common, dilation // common
    for top in range(stride):
        for left in range(stride):
            phase = _phase(top, left, columns, kernel, dilation, stride, padding)
            for h in range(top, rows, stride):
                for i in range(phase.down):
                    row = grad + 4 * ((phase.row + h // stride + i * apart) * pitch + phase.column) * before
                    pointwise(
                        out + 4 * (h * columns + left) * after, stride * after, True, 0, row, before, apart * before,
                        w + 4 * (phase.tap + i * every * kernel) * size, every * size, phase.pixels, read, phase.across,
                        after,
                    )  # fmt: skip
