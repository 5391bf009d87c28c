"""ReLU, convolutions and batch statistics of several branches out of one map, picture by picture, for Numba.

A picture is read once into a buffer with zeros around it, normalized and rectified; from there its branches are
computed and nothing leaves the cache but their results. Nothing else is kept for the backward pass, which computes
the buffer and what the depthwise convolutions made of it again: that takes less time than reading it would.

In buffers the channels are filled up with zeros to a multiple of sixteen. Tensors are passed by their addresses,
channels last and without gaps; a *group* is a range of pictures that one thread handles.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from diffnas.nets.compiled.address import floats
from diffnas.nets.compiled.vectors import (
    BLOCK,
    LANES,
    compiled,
    correlate,
    larger,
    load,
    load_part,
    multiply,
    multiply_add,
    slide,
    splat,
    store,
    store_part,
    where_positive,
    zeros,
)
from diffnas.nets.links import DENSE, DEPTHWISE, PAIRS, POINTWISE

Table = NDArray[np.int64]
Floats = NDArray[np.float32]

STRIP = 2048
"""Numbers in the rows that are handled at once."""


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


class Branch(NamedTuple):
    """A row of the table: one branch and where its tensors are."""

    kind: int
    kernel: int
    stride: int
    padding: int
    dilation: int
    fresh: int  # whether its input differs from that of the branch before
    x: int
    depth: int  # weights (C, 1, k, k)
    point: int  # weights (D, C) or (D, C, k, k); of pairs, those of the even pixels
    odd: int  # of pairs: weights of the odd pixels
    y: int
    grad: int
    grad_x: int
    grad_depth: int
    grad_point: int
    grad_odd: int
    split: int  # of pairs: how many results come from the even pixels


class Places(NamedTuple):
    """Where the parts of the memory to work in are."""

    nothing: int  # sixteen zeros
    r: int  # a rectified picture
    spread: int  # a gradient, its pixels a stride apart
    d: int  # what a 1x1 convolution reads
    grad_d: int
    grad_y: int
    grad_r: int


class Weights(NamedTuple):
    """Where a branch's packed weights and their gradients are."""

    depth: int
    turned: int
    point: int
    grad_depth: int
    grad_point: int


@compiled
def _filled(channels: int) -> int:
    return (channels + LANES - 1) // LANES * LANES


@compiled
def _clear(address: int, count: int) -> None:
    for at in range(0, count, LANES):
        store(zeros(), address + 4 * at)


@compiled
def _rectify(x: int, center: int, rate: int, out: int, shape: Shape) -> None:
    """Write the positive part of a normalized picture into the middle of a buffer."""
    C, full = shape.C, _filled(shape.C)
    for c in range(0, C, LANES):
        middle, factor = load(center + 4 * c), load(rate + 4 * c)
        for h in range(shape.H):
            start = x + 4 * (h * shape.W * C + c)
            place = out + 4 * (((h + shape.margin) * shape.pitch + shape.margin) * full + c)
            for w in range(shape.W):
                value = load_part(start + 4 * w * C, C - c)
                store(larger((value - middle) * factor, zeros()), place + 4 * w * full)


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
def _depthwise(
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
def _depthwise_weights(
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
def _pointwise(
    out: int, add: bool, nothing: int, a: int, a_step: int, w: int, pixels: int, before: int, after: int
) -> None:
    """``a (pixels, before) times w (before, after)``; pixels of a lie ``a_step`` apart."""
    whole = pixels // BLOCK * BLOCK
    step = after if add else 0
    for v in range(0, after, LANES):
        place, factors = out + 4 * v, w + 4 * v
        start = place if add else nothing
        for p in range(0, whole, BLOCK):
            o, x, s = place + 4 * p * after, a + 4 * p * a_step, start + 4 * p * step
            multiply(o, after, s, step, x, a_step, 1, 0, factors, after, 0, before, 1, BLOCK)
        for p in range(whole, pixels):
            o, x, s = place + 4 * p * after, a + 4 * p * a_step, start + 4 * p * step
            multiply(o, after, s, step, x, a_step, 1, 0, factors, after, 0, before, 1, 1)


@compiled
def _pointwise_weights(
    out: int, a: int, a_step: int, a_row: int, g: int, g_row: int, columns: int, rows: int, before: int, after: int
) -> None:
    """Add the gradient of a 1x1 convolution's weights, ``(before, after)``: both full multiples of sixteen."""
    for c in range(0, before, BLOCK):
        for v in range(0, after, LANES):
            o, w = out + 4 * (c * after + v), g + 4 * v
            multiply(o, after, o, after, a + 4 * c, 1, a_step, a_row, w, after, g_row, columns, rows, BLOCK)


@compiled
def _dense(
    out: int, add: bool, nothing: int, x: int, pitch: int, w: int, rows: int, columns: int, before: int, after: int,
    kernel: int, dilation: int, stride: int,
) -> None:  # fmt: skip
    """A convolution of a buffered picture with weights ``(kernel, kernel, before, after)``."""
    for h in range(rows):
        for t in range(kernel * kernel):
            at = (h * stride + t // kernel * dilation) * pitch + t % kernel * dilation
            row, place = x + 4 * at * before, out + 4 * h * columns * after
            taps = w + 4 * t * before * after
            _pointwise(place, add or t > 0, nothing, row, stride * before, taps, columns, before, after)


@compiled
def _gather_pairs(x: int, out: int, shape: Shape, top: int, rows: int) -> None:
    """The even pixels of a buffered picture beside its odd ones, for some rows of the result."""
    full = _filled(shape.C)
    for h in range(rows):
        for w in range(shape.columns):
            for odd in range(2):
                pixel = (2 * (top + h) + odd + shape.margin) * shape.pitch + 2 * w + odd + shape.margin
                for c in range(0, full, LANES):
                    place = out + 4 * (((h * shape.columns + w) * 2 + odd) * full + c)
                    store(load(x + 4 * (pixel * full + c)), place)


@compiled
def _spread_pairs(grad: int, out: int, shape: Shape, top: int, rows: int) -> None:
    """Add the gradients of even and odd pixels to those of a picture."""
    full = _filled(shape.C)
    for h in range(rows):
        for w in range(shape.columns):
            for odd in range(2):
                y, x = 2 * (top + h) + odd, 2 * w + odd
                if y < shape.H and x < shape.W:
                    for c in range(0, full, LANES):
                        place = out + 4 * ((y * shape.W + x) * full + c)
                        part = load(grad + 4 * (((h * shape.columns + w) * 2 + odd) * full + c))
                        store(load(place) + part, place)


@compiled
def _gather(x: int, out: int, shape: Shape, top: int, rows: int) -> None:
    """Some rows of a buffered picture without its margin."""
    full = _filled(shape.C)
    for h in range(rows):
        row = x + 4 * ((top + h + shape.margin) * shape.pitch + shape.margin) * full
        for at in range(0, shape.W * full, LANES):
            store(load(row + 4 * at), out + 4 * (h * shape.W * full + at))


@compiled
def _place(
    grad: int, out: int, top: int, rows: int, columns: int, pitch: int, margin: int, stride: int, full: int
) -> None:
    """Put some rows of a picture into a cleared buffer, its pixels ``stride`` apart."""
    for h in range(rows):
        for w in range(columns):
            pixel = ((top + h) * stride + margin) * pitch + w * stride + margin
            for c in range(0, full, LANES):
                store(load(grad + 4 * ((h * columns + w) * full + c)), out + 4 * (pixel * full + c))


@compiled
def _measure(y: int, pixels: int, seen: int, full: int, D: int, mean: int, squares: int) -> None:
    """Make the means and squared distances of ``seen`` pixels those of ``pixels`` more (Chan et al., 1979)."""
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


@compiled
def _narrow(y: int, out: int, pixels: int, full: int, D: int) -> None:
    """Write pixels without what fills their channels up."""
    for p in range(pixels):
        for c in range(0, D, LANES):
            store_part(load(y + 4 * (p * full + c)), out + 4 * (p * D + c), D - c)


@compiled
def finish(y: int, out: int, pixels: int, D: int, mean: int, squares: int) -> None:
    """Write a picture's result without what fills its channels up, its means and squared distances to them."""
    _narrow(y, out, pixels, _filled(D), D)
    _measure(y, pixels, 0, _filled(D), D, mean, squares)


# Weights, as the inner loops read them.


@compiled
def _pack_depthwise(weight: int, out: Floats, C: int, taps: int, turned: bool) -> None:
    """``(C, taps)`` to ``(taps, full)``, by half a turn if asked."""
    full, w = _filled(C), floats(weight, C * taps)
    for t in range(taps):
        to = (taps - 1 - t if turned else t) * full
        for c in range(C):
            out[to + c] = w[c * taps + t]


@compiled
def _pack_dense(
    weight: int, out: Floats, C: int, first: int, D: int, full: int, full_out: int, at: int, taps: int, back: bool
) -> None:
    """``(D, C, taps)`` to ``(taps, full, full_out)`` from row ``at`` and column ``first`` on.

    For the way back they are turned by half a turn, and in and out change places.
    """
    w = floats(weight, D * C * taps)
    for d in range(D):
        for c in range(C):
            for t in range(taps):
                value = w[(d * C + c) * taps + t]
                if back:
                    out[((taps - 1 - t) * full_out + first + d) * full + at + c] = value
                else:
                    out[(t * full + at + c) * full_out + first + d] = value


@compiled
def _branch(table: Table, k: int) -> Branch:
    t = table[k]
    return Branch(
        t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7], t[8], t[9], t[10], t[11], t[12], t[13], t[14], t[15], t[16]
    )  # fmt: skip


@compiled
def pack(table: Table, shape: Shape, depth: Floats, point: Floats, back: bool) -> None:
    """Lay the weights of all branches out as the inner loops read them; ``back`` for the gradient of the input.

    Args:
        table: a :class:`Branch` a row.
        shape: the sizes.
        depth: ``(K, taps * full)``, written.
        point: ``(K, taps * before * after)``, written.
        back: turned by half a turn, in and out changed over.
    """
    C, D, full, full_out = shape.C, shape.D, _filled(shape.C), _filled(shape.D)
    depth[:] = 0
    point[:] = 0
    for k in range(len(table)):
        branch = _branch(table, k)
        if branch.kind == DEPTHWISE:
            _pack_depthwise(branch.depth, depth[k], C, branch.kernel**2, back)
        if branch.kind == PAIRS:
            split = branch.split
            _pack_dense(branch.point, point[k], C, 0, split, 2 * full, full_out, 0, 1, back)
            _pack_dense(branch.odd, point[k], C, split, D - split, 2 * full, full_out, full, 1, back)
        else:
            taps = branch.kernel**2 if branch.kind == DENSE else 1
            _pack_dense(branch.point, point[k], C, 0, D, full, full_out, 0, taps, back)


@compiled
def _strip(shape: Shape) -> int:
    """How many rows are handled at once: what is made of them stays in the first cache."""
    return max(1, STRIP // (shape.columns * max(_filled(shape.C), _filled(shape.D))))


@compiled
def scratch_size(shape: Shape) -> int:
    """How many numbers a thread needs to work in."""
    full, full_out = _filled(shape.C), _filled(shape.D)
    buffered = ((shape.H + 2 * shape.margin) * shape.pitch + BLOCK) * (full + max(full, full_out))
    strip = (_strip(shape) * shape.columns + BLOCK) * (4 * full + full_out)
    return LANES + buffered + strip + (shape.H * shape.W + BLOCK) * full


@compiled
def _gathered(
    branch: Branch, shape: Shape, r: int, d: int, nothing: int, depth: int, top: int, rows: int
) -> None:  # fmt: skip
    """What the 1x1 convolution of a branch reads, for some rows of the result."""
    full = _filled(shape.C)
    if branch.kind == DEPTHWISE:
        before = shape.margin - branch.padding
        x = r + 4 * ((before + top * branch.stride) * shape.pitch + before) * full
        _depthwise(
            d, False, nothing, x, shape.pitch, depth, rows, shape.columns, full, branch.kernel, branch.dilation,
            branch.stride,
        )  # fmt: skip
    elif branch.kind == PAIRS:
        _gather_pairs(r, d, shape, top, rows)
    else:
        _gather(r, d, shape, top, rows)


@compiled
def _convolve(
    branch: Branch, shape: Shape, y: int, r: int, d: int, nothing: int, depth: int, point: int, top: int, rows: int
) -> None:  # fmt: skip
    """Some rows of a branch's result."""
    full, full_out = _filled(shape.C), _filled(shape.D)
    if branch.kind == DENSE:
        before = shape.margin - branch.padding
        x = r + 4 * ((before + top * branch.stride) * shape.pitch + before) * full
        _dense(
            y, False, nothing, x, shape.pitch, point, rows, shape.columns, full, full_out, branch.kernel,
            branch.dilation, branch.stride,
        )  # fmt: skip
        return
    _gathered(branch, shape, r, d, nothing, depth, top, rows)
    before = 2 * full if branch.kind == PAIRS else full
    _pointwise(y, False, nothing, d, before, point, rows * shape.columns, before, full_out)


@compiled
def forward(
    table: Table, shape: Shape, center: Floats, rate: Floats, depth: Floats, point: Floats, means: Floats,
    squares: Floats, scratch: Floats, first: int, last: int,
) -> None:  # fmt: skip
    """Write the results of all branches for the pictures from ``first`` up to ``last``.

    Args:
        table: a :class:`Branch` a row.
        shape: the sizes.
        center: what is taken from each input, ``(K, full)``.
        rate: what it is then multiplied by, ``(K, full)``.
        depth: packed weights.
        point: packed weights.
        means: ``(K, B, D)``: each picture's means.
        squares: ``(K, B, D)``: its sums of squared distances to them.
        scratch: numbers to work in, ``scratch_size`` of them from an address that is a multiple of 64.
        first: the first picture to handle.
        last: one past the last picture to handle.
    """
    full, full_out, strip = _filled(shape.C), _filled(shape.D), _strip(shape)
    pixels = shape.rows * shape.columns
    buffered = ((shape.H + 2 * shape.margin) * shape.pitch + BLOCK) * full
    nothing = scratch.ctypes.data
    r = nothing + 4 * LANES
    d = r + 4 * buffered
    y = d + 4 * (strip * shape.columns + BLOCK) * 2 * full
    _clear(nothing, LANES + buffered)
    for b in range(first, last):
        for k in range(len(table)):
            branch = _branch(table, k)
            if branch.fresh:
                x = branch.x + 4 * b * shape.H * shape.W * shape.C
                _rectify(x, center[k].ctypes.data, rate[k].ctypes.data, r, shape)
            depths, points = depth[k].ctypes.data, point[k].ctypes.data
            mean, square = means[k, b].ctypes.data, squares[k, b].ctypes.data
            for top in range(0, shape.rows, strip):
                rows = min(strip, shape.rows - top)
                count, seen = rows * shape.columns, top * shape.columns
                out = branch.y + 4 * (b * pixels + seen) * shape.D
                place = out if full_out == shape.D else y
                _convolve(branch, shape, place, r, d, nothing, depths, points, top, rows)
                if full_out != shape.D:
                    _narrow(y, out, count, full_out, shape.D)
                _measure(place, count, seen, full_out, shape.D, mean, square)


@compiled
def _gradient(
    grad: int, y: int, scale: int, slope: int, shift: int, plain: bool, out: int, pixels: int, D: int
) -> None:
    """Write the gradient of a picture's result before its batch norm, channels filled up."""
    full = _filled(D)
    for c in range(0, full, LANES):
        a, b, s = load(scale + 4 * c), load(slope + 4 * c), load(shift + 4 * c)
        for p in range(pixels):
            value = load_part(grad + 4 * (p * D + c), D - c)
            if not plain:
                result = load_part(y + 4 * (p * D + c), D - c)
                value = multiply_add(value, a, multiply_add(result, b, s))
            store(value, out + 4 * (p * full + c))


@compiled
def _leave(x: int, center: int, grad: int, out: int, shape: Shape, total: int, product: int) -> None:
    """Write a picture's gradient where its input is above the center; sum it, and its product with the distance."""
    C, full = shape.C, _filled(shape.C)
    for c in range(0, C, LANES):
        middle = load(center + 4 * c)
        sums, products = zeros(), zeros()
        for p in range(shape.H * shape.W):
            above = load_part(x + 4 * (p * C + c), C - c) - middle
            passed = where_positive(above, load(grad + 4 * (p * full + c)))
            store_part(passed, out + 4 * (p * C + c), C - c)
            sums, products = sums + passed, multiply_add(passed, above, products)
        store_part(sums, total + 4 * c, C - c)
        store_part(products, product + 4 * c, C - c)


@compiled
def backward(
    table: Table, shape: Shape, center: Floats, rate: Floats, depth: Floats, turned: Floats, point: Floats,
    scale: Floats, slope: Floats, shift: Floats, plain: bool, grad_depth: Floats, grad_point: Floats,
    totals: Floats, products: Floats, scratch: Floats, first: int, last: int,
) -> None:  # fmt: skip
    """Write the gradients for the inputs, and each group's for the weights.

    The gradient for a result is ``shift + slope * result + scale * what the table has``, or ``plain`` the last.

    Args:
        table: a :class:`Branch` a row; branches that share an input stand together, the first of them fresh.
        shape: the sizes.
        center: as forward.
        rate: as forward; the gradients for the inputs are those of the *normalized* ones.
        depth: packed weights.
        turned: the same for the way back.
        point: the other weights for the way back.
        scale: ``(K, full_out)``.
        slope: likewise.
        shift: likewise.
        plain: whether they are 1, 0 and 0.
        grad_depth: ``(groups, K, taps * full)``, written: the pictures are split evenly over the groups.
        grad_point: ``(groups, K, taps * before * after)``, written.
        totals: ``(K, B, C)``: each picture's sums of the gradients for the input.
        products: ``(K, B, C)``: those of their products with the input less its center.
        scratch: as forward.
        first: the first group to handle.
        last: one past the last group to handle.
    """
    K, full, full_out, strip = len(table), _filled(shape.C), _filled(shape.D), _strip(shape)
    pixels, all_pixels, groups = shape.rows * shape.columns, shape.H * shape.W, len(grad_depth)
    buffered = (shape.H + 2 * shape.margin) * shape.pitch + BLOCK
    stripped = strip * shape.columns + BLOCK
    nothing = scratch.ctypes.data
    r = nothing + 4 * LANES
    spread = r + 4 * buffered * full
    d = spread + 4 * buffered * max(full, full_out)
    grad_d = d + 4 * stripped * 2 * full
    grad_y = grad_d + 4 * stripped * 2 * full
    grad_r = grad_y + 4 * stripped * full_out
    _clear(nothing, LANES + buffered * (full + max(full, full_out)))
    for g in range(first, last):
        grad_depth[g] = 0
        grad_point[g] = 0
        for b in range(shape.B * g // groups, shape.B * (g + 1) // groups):
            for k in range(K):
                branch = _branch(table, k)
                x = branch.x + 4 * b * all_pixels * shape.C
                if branch.fresh:
                    _rectify(x, center[k].ctypes.data, rate[k].ctypes.data, r, shape)
                    _clear(grad_r, all_pixels * full)
                places = Places(nothing, r, spread, d, grad_d, grad_y, grad_r)
                weights = Weights(
                    depth[k].ctypes.data, turned[k].ctypes.data, point[k].ctypes.data,
                    grad_depth[g, k].ctypes.data, grad_point[g, k].ctypes.data,
                )  # fmt: skip
                for top in range(0, shape.rows, strip):
                    rows = min(strip, shape.rows - top)
                    at = 4 * (b * pixels + top * shape.columns) * shape.D
                    _gradient(
                        branch.grad + at, branch.y + at, scale[k].ctypes.data, slope[k].ctypes.data,
                        shift[k].ctypes.data, plain, grad_y, rows * shape.columns, shape.D,
                    )  # fmt: skip
                    _strip_back(branch, shape, places, weights, top, rows)
                _picture_back(branch, shape, places, weights)
                if k + 1 == K or table[k + 1, 5]:
                    out = branch.grad_x + 4 * b * all_pixels * shape.C
                    sums = totals[k, b].ctypes.data, products[k, b].ctypes.data
                    _leave(x, center[k].ctypes.data, grad_r, out, shape, *sums)


@compiled
def _strip_back(branch: Branch, shape: Shape, at: Places, weights: Weights, top: int, rows: int) -> None:
    """The gradients of some rows for the weights, and for what the 1x1 convolution reads."""
    full, full_out = _filled(shape.C), _filled(shape.D)
    pixels, margin = rows * shape.columns, shape.margin
    before = margin - branch.padding
    x = at.r + 4 * ((before + top * branch.stride) * shape.pitch + before) * full
    if branch.kind == DENSE:
        _dense_weights(branch, shape, x, at.grad_y, weights.grad_point, rows)
        _place(at.grad_y, at.spread, top, rows, shape.columns, shape.pitch, margin, branch.stride, full_out)
        return
    _gathered(branch, shape, at.r, at.d, at.nothing, weights.depth, top, rows)
    wide = 2 * full if branch.kind == PAIRS else full
    _pointwise_weights(weights.grad_point, at.d, wide, 0, at.grad_y, 0, pixels, 1, wide, full_out)
    joins = branch.kind == POINTWISE
    into = at.grad_r + 4 * top * shape.columns * full if joins else at.grad_d
    _pointwise(into, joins, at.nothing, at.grad_y, full_out, weights.point, pixels, full_out, wide)
    if branch.kind == PAIRS:
        _spread_pairs(at.grad_d, at.grad_r, shape, top, rows)
    elif branch.kind == DEPTHWISE:
        _depthwise_weights(
            weights.grad_depth, x, shape.pitch, at.grad_d, shape.columns, rows, shape.columns, full, branch.kernel,
            branch.dilation, branch.stride,
        )  # fmt: skip
        _place(at.grad_d, at.spread, top, rows, shape.columns, shape.pitch, margin, branch.stride, full)


@compiled
def _dense_weights(branch: Branch, shape: Shape, x: int, grad: int, out: int, rows: int) -> None:
    full, full_out = _filled(shape.C), _filled(shape.D)
    for t in range(branch.kernel**2):
        row, column = t // branch.kernel * branch.dilation, t % branch.kernel * branch.dilation
        _pointwise_weights(
            out + 4 * t * full * full_out, x + 4 * (row * shape.pitch + column) * full, branch.stride * full,
            branch.stride * shape.pitch * full, grad, shape.columns * full_out, shape.columns, rows, full, full_out,
        )  # fmt: skip


@compiled
def _picture_back(branch: Branch, shape: Shape, at: Places, weights: Weights) -> None:
    """Add the gradient for the input to those of the other branches, from that of what the kernels slid over it."""
    full, full_out = _filled(shape.C), _filled(shape.D)
    before = shape.margin - (branch.dilation * (branch.kernel - 1) - branch.padding)
    start = before * shape.pitch + before
    if branch.kind == DEPTHWISE:
        _depthwise(
            at.grad_r, True, at.nothing, at.spread + 4 * start * full, shape.pitch, weights.turned, shape.H, shape.W,
            full, branch.kernel, branch.dilation, 1,
        )  # fmt: skip
    elif branch.kind == DENSE:
        _dense(
            at.grad_r, True, at.nothing, at.spread + 4 * start * full_out, shape.pitch, weights.point, shape.H,
            shape.W, full_out, full, branch.kernel, branch.dilation, 1,
        )  # fmt: skip


@compiled
def collect(table: Table, shape: Shape, grad_depth: Floats, grad_point: Floats) -> None:
    """Write the weights' gradients: the sums over the groups, in one order, laid out as the weights.

    Args:
        table: a :class:`Branch` a row.
        shape: the sizes.
        grad_depth: ``(groups, K, taps * full)``; changed.
        grad_point: ``(groups, K, taps * before * after)``; changed.
    """
    C, D, full, full_out = shape.C, shape.D, _filled(shape.C), _filled(shape.D)
    for g in range(1, len(grad_depth)):
        grad_depth[0] += grad_depth[g]
        grad_point[0] += grad_point[g]
    for k in range(len(table)):
        branch = _branch(table, k)
        if branch.kind == DEPTHWISE:
            taps = branch.kernel**2
            out = floats(branch.grad_depth, C * taps)
            for t in range(taps):
                for c in range(C):
                    out[c * taps + t] = grad_depth[0, k, t * full + c]
        if branch.kind == PAIRS:
            _unpack(branch.grad_point, grad_point[0, k], C, 0, branch.split, 2 * full, full_out, 0, 1)
            _unpack(branch.grad_odd, grad_point[0, k], C, branch.split, D - branch.split, 2 * full, full_out, full, 1)
        else:
            taps = branch.kernel**2 if branch.kind == DENSE else 1
            _unpack(branch.grad_point, grad_point[0, k], C, 0, D, full, full_out, 0, taps)


@compiled
def _unpack(out: int, packed: Floats, C: int, first: int, D: int, full: int, full_out: int, at: int, taps: int) -> None:
    """The inverse of ``_pack_dense``."""
    w = floats(out, D * C * taps)
    for d in range(D):
        for c in range(C):
            for t in range(taps):
                w[(d * C + c) * taps + t] = packed[(t * full + at + c) * full_out + first + d]
