"""Convolutions of pictures in buffers and their weight gradients, out of the inner loops, for Numba.

Weights are packed: the channels of the results stand last. All channels are filled up to a multiple of sixteen.
"""

from __future__ import annotations

from diffnas.nets.compiled.vectors import (
    BLOCK,
    LANES,
    TWO_FIT,
    compiled,
    correlate,
    load,
    multiply,
    multiply_add,
    slide,
    store,
)

HALF = BLOCK // 2


@compiled
def _slide_any(
    out: int, start: int, start_step: int, x: int, x_row: int, w: int, full: int, columns: int, kernel: int,
    dilation: int, stride: int,
) -> None:  # fmt: skip
    for p in range(columns):
        total = load(start + 4 * p * start_step)
        for i in range(kernel):
            for j in range(kernel):
                pixel = load(x + 4 * (i * dilation * x_row + (p * stride + j * dilation) * full))
                total = multiply_add(load(w + 4 * (i * kernel + j) * full), pixel, total)
        store(total, out + 4 * p * full)


@compiled
def depthwise(
    out: int, add: bool, nothing: int, x: int, pitch: int, w: int, rows: int, columns: int, full: int, kernel: int,
    dilation: int, stride: int,
) -> None:  # fmt: skip
    """A depthwise convolution of a buffered picture; ``x`` is where the kernel's first tap starts.

    A row's last block may reach past its end: the next row, or the buffer's slack, lies there.
    """
    step = full if add else 0
    for h in range(rows):
        for c in range(0, full, LANES):
            row = x + 4 * (h * stride * pitch * full + c)
            taps = w + 4 * c
            place = out + 4 * (h * columns * full + c)
            start = place if add else nothing
            if stride > 1 or kernel not in (3, 5) or dilation > 2 or (add and columns % BLOCK):
                _slide_any(place, start, step, row, pitch * full, taps, full, columns, kernel, dilation, stride)
                continue
            for p in range(0, columns, BLOCK):
                at = 4 * p * full
                begin = place + at if add else nothing
                if kernel == 3 and dilation == 1:
                    slide(place + at, full, begin, step, row + at, full, pitch * full, taps, full, 3, 1, 1)
                elif kernel == 3:
                    slide(place + at, full, begin, step, row + at, full, pitch * full, taps, full, 3, 2, 1)
                elif dilation == 1:
                    slide(place + at, full, begin, step, row + at, full, pitch * full, taps, full, 5, 1, 1)
                else:
                    slide(place + at, full, begin, step, row + at, full, pitch * full, taps, full, 5, 2, 1)


@compiled
def depthwise_weights(
    out: int, x: int, pitch: int, grad: int, grad_pitch: int, rows: int, columns: int, full: int, kernel: int,
    dilation: int, stride: int,
) -> None:  # fmt: skip
    """Add a picture's weight gradient, ``(kernel, kernel, full)``."""
    down, across = dilation * pitch * full, dilation * full
    x_row, grad_row = stride * pitch * full, grad_pitch * full
    for c in range(0, full, LANES):
        o, a, g = out + 4 * c, x + 4 * c, grad + 4 * c
        if kernel == 3:
            correlate(o, full, a, stride * full, x_row, across, down, g, full, grad_row, columns, rows, 3, 3)
        elif kernel == 5:
            correlate(o, full, a, stride * full, x_row, across, down, g, full, grad_row, columns, rows, 5, 5)
        else:
            for t in range(kernel * kernel):
                tap = 4 * (t // kernel * down + t % kernel * across)
                place = o + 4 * t * full
                correlate(place, full, a + tap, stride * full, x_row, 0, 0, g, full, grad_row, columns, rows, 1, 1)


@compiled
def pointwise(
    out: int, add: bool, nothing: int, a: int, a_step: int, w: int, pixels: int, before: int, after: int
) -> None:
    """``a (pixels, before) times w (before, after)``; pixels of a lie ``a_step`` apart."""
    step, v = after if add else 0, 0
    while v < after:
        two = TWO_FIT and v + 2 * LANES <= after
        place, factors = out + 4 * v, w + 4 * v
        start, p = place if add else nothing, 0
        while p < pixels:
            o, x, s = place + 4 * p * after, a + 4 * p * a_step, start + 4 * p * step
            if two and p + BLOCK <= pixels:
                multiply(o, after, s, step, x, a_step, 1, 0, factors, after, 0, before, 1, BLOCK, 2)
                p += BLOCK
            elif two:
                multiply(o, after, s, step, x, a_step, 1, 0, factors, after, 0, before, 1, 1, 2)
                p += 1
            elif p + BLOCK <= pixels:
                multiply(o, after, s, step, x, a_step, 1, 0, factors, after, 0, before, 1, BLOCK, 1)
                p += BLOCK
            elif p + HALF <= pixels:
                multiply(o, after, s, step, x, a_step, 1, 0, factors, after, 0, before, 1, HALF, 1)
                p += HALF
            else:
                multiply(o, after, s, step, x, a_step, 1, 0, factors, after, 0, before, 1, 1, 1)
                p += 1
        v += 2 * LANES if two else LANES


@compiled
def pointwise_weights(
    out: int, a: int, a_step: int, a_row: int, g: int, g_row: int, columns: int, rows: int, before: int, after: int
) -> None:
    """Add the gradient of a 1x1 convolution's weights, ``(before, after)``, and of up to seven rows more."""
    pairs = after // (2 * LANES) * (2 * LANES) if TWO_FIT else 0
    for c in range(0, before, BLOCK):
        for v in range(0, pairs, 2 * LANES):
            o, w = out + 4 * (c * after + v), g + 4 * v
            multiply(o, after, o, after, a + 4 * c, 1, a_step, a_row, w, after, g_row, columns, rows, BLOCK, 2)
        for v in range(pairs, after, LANES):
            o, w = out + 4 * (c * after + v), g + 4 * v
            multiply(o, after, o, after, a + 4 * c, 1, a_step, a_row, w, after, g_row, columns, rows, BLOCK, 1)


@compiled
def dense(
    out: int, add: bool, nothing: int, x: int, pitch: int, w: int, rows: int, columns: int, before: int, after: int,
    kernel: int, dilation: int, stride: int,
) -> None:  # fmt: skip
    """A convolution of a buffered picture with weights ``(kernel, kernel, before, after)``."""
    for h in range(rows):
        for t in range(kernel * kernel):
            at = (h * stride + t // kernel * dilation) * pitch + t % kernel * dilation
            row, place = x + 4 * at * before, out + 4 * h * columns * after
            taps = w + 4 * t * before * after
            pointwise(place, add or t > 0, nothing, row, stride * before, taps, columns, before, after)
