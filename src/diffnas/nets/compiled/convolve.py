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
def _dense(out: int, x: int, pitch: int, w: int, rows: int, columns: int, before: int, after: int, kernel: int,
           dilation: int, stride: int) -> None:  # fmt: skip
    """Add a convolution of a buffered picture with weights ``(kernel, kernel, before, after)``."""
    for h in range(rows):
        for t in range(kernel * kernel):
            at = (h * stride + t // kernel * dilation) * pitch + t % kernel * dilation
            row, place = x + 4 * at * before, out + 4 * h * columns * after
            _pointwise(place, True, 0, row, stride * before, w + 4 * t * before * after, columns, before, after)


@compiled
def _gather_pairs(x: int, out: int, shape: Shape) -> None:
    """The even pixels of a buffered picture beside its odd ones."""
    full = _filled(shape.C)
    for h in range(shape.rows):
        for w in range(shape.columns):
            for odd in range(2):
                pixel = (2 * h + odd + shape.margin) * shape.pitch + 2 * w + odd + shape.margin
                for c in range(0, full, LANES):
                    place = out + 4 * (((h * shape.columns + w) * 2 + odd) * full + c)
                    store(load(x + 4 * (pixel * full + c)), place)


@compiled
def _spread_pairs(grad: int, out: int, shape: Shape) -> None:
    """Add the gradients of even and odd pixels to those of a picture."""
    full = _filled(shape.C)
    for h in range(shape.rows):
        for w in range(shape.columns):
            for odd in range(2):
                y, x = 2 * h + odd, 2 * w + odd
                if y < shape.H and x < shape.W:
                    for c in range(0, full, LANES):
                        place = out + 4 * ((y * shape.W + x) * full + c)
                        part = load(grad + 4 * (((h * shape.columns + w) * 2 + odd) * full + c))
                        store(load(place) + part, place)


@compiled
def _gather(x: int, out: int, shape: Shape) -> None:
    """A buffered picture without its margin."""
    full = _filled(shape.C)
    for h in range(shape.H):
        row = x + 4 * ((h + shape.margin) * shape.pitch + shape.margin) * full
        for at in range(0, shape.W * full, LANES):
            store(load(row + 4 * at), out + 4 * (h * shape.W * full + at))


@compiled
def _place(grad: int, out: int, rows: int, columns: int, pitch: int, margin: int, stride: int, full: int) -> None:
    """Put a picture into a cleared buffer, its pixels ``stride`` apart."""
    for h in range(rows):
        for w in range(columns):
            pixel = (h * stride + margin) * pitch + w * stride + margin
            for c in range(0, full, LANES):
                store(load(grad + 4 * ((h * columns + w) * full + c)), out + 4 * (pixel * full + c))


@compiled
def _finish(y: int, out: int, pixels: int, D: int, mean: int, squares: int) -> None:
    """Write a picture's result without what fills its channels up, its means and squared distances to them."""
    full = _filled(D)
    for c in range(0, D, LANES):
        a, b = zeros(), zeros()
        for p in range(0, pixels - 1, 2):
            first, second = load(y + 4 * (p * full + c)), load(y + 4 * ((p + 1) * full + c))
            store_part(first, out + 4 * (p * D + c), D - c)
            store_part(second, out + 4 * ((p + 1) * D + c), D - c)
            a, b = a + first, b + second
        if pixels % 2:
            last = load(y + 4 * ((pixels - 1) * full + c))
            store_part(last, out + 4 * ((pixels - 1) * D + c), D - c)
            a = a + last
        middle = (a + b) * splat(np.float32(1 / pixels))
        a, b = zeros(), zeros()
        for p in range(0, pixels - 1, 2):
            first, second = load(y + 4 * (p * full + c)) - middle, load(y + 4 * ((p + 1) * full + c)) - middle
            a, b = multiply_add(first, first, a), multiply_add(second, second, b)
        if pixels % 2:
            last = load(y + 4 * ((pixels - 1) * full + c)) - middle
            a = multiply_add(last, last, a)
        store_part(middle, mean + 4 * c, D - c)
        store_part(a + b, squares + 4 * c, D - c)


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
def scratch_size(shape: Shape) -> int:
    """How many numbers a thread needs to work in."""
    pixels = max(shape.rows * shape.columns, shape.H * shape.W) + BLOCK
    full, full_out = _filled(shape.C), _filled(shape.D)
    buffered = ((shape.H + 2 * shape.margin) * shape.pitch + BLOCK) * max(full, full_out)
    return 2 * buffered + pixels * (5 * full + full_out) + LANES


@compiled
def _gathered(branch: Branch, shape: Shape, r: int, d: int, nothing: int, depth: int) -> None:
    """What the 1x1 convolution of a branch reads."""
    full = _filled(shape.C)
    if branch.kind == DEPTHWISE:
        before = shape.margin - branch.padding
        x = r + 4 * (before * shape.pitch + before) * full
        _depthwise(
            d, False, nothing, x, shape.pitch, depth, shape.rows, shape.columns, full, branch.kernel,
            branch.dilation, branch.stride,
        )  # fmt: skip
    elif branch.kind == PAIRS:
        _gather_pairs(r, d, shape)
    else:
        _gather(r, d, shape)


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
    full, full_out = _filled(shape.C), _filled(shape.D)
    pixels = shape.rows * shape.columns
    buffered = ((shape.H + 2 * shape.margin) * shape.pitch + BLOCK) * full
    nothing = scratch.ctypes.data
    r = nothing + 4 * LANES
    d = r + 4 * buffered
    y = d + 4 * (max(pixels, shape.H * shape.W) + BLOCK) * 2 * full
    _clear(nothing, LANES + buffered)
    for b in range(first, last):
        for k in range(len(table)):
            branch = _branch(table, k)
            if branch.fresh:
                x = branch.x + 4 * b * shape.H * shape.W * shape.C
                _rectify(x, center[k].ctypes.data, rate[k].ctypes.data, r, shape)
            if branch.kind == DENSE:
                _clear(y, pixels * full_out)
                before = shape.margin - branch.padding
                start = r + 4 * (before * shape.pitch + before) * full
                _dense(
                    y, start, shape.pitch, point[k].ctypes.data, shape.rows, shape.columns, full, full_out,
                    branch.kernel, branch.dilation, branch.stride,
                )  # fmt: skip
            else:
                _gathered(branch, shape, r, d, nothing, depth[k].ctypes.data)
                before = 2 * full if branch.kind == PAIRS else full
                _pointwise(y, False, nothing, d, before, point[k].ctypes.data, pixels, before, full_out)
            out = branch.y + 4 * b * pixels * shape.D
            _finish(y, out, pixels, shape.D, means[k, b].ctypes.data, squares[k, b].ctypes.data)


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
def _leave(
    x: int, center: int, grad: int, out: int, shape: Shape, total: int, product: int
) -> None:
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
    K, full, full_out = len(table), _filled(shape.C), _filled(shape.D)
    pixels, all_pixels = shape.rows * shape.columns, shape.H * shape.W
    most = max(pixels, all_pixels) + BLOCK
    buffered = (shape.H + 2 * shape.margin) * shape.pitch + BLOCK
    nothing = scratch.ctypes.data
    r = nothing + 4 * LANES
    spread = r + 4 * buffered * full
    d = spread + 4 * buffered * max(full, full_out)
    grad_d = d + 4 * most * 2 * full
    grad_y = grad_d + 4 * most * 2 * full
    grad_r = grad_y + 4 * most * full_out
    _clear(nothing, LANES + buffered * (full + max(full, full_out)))
    groups = len(grad_depth)
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
                at = 4 * b * pixels * shape.D
                _gradient(
                    branch.grad + at, branch.y + at, scale[k].ctypes.data, slope[k].ctypes.data, shift[k].ctypes.data,
                    plain, grad_y, pixels, shape.D,
                )  # fmt: skip
                if branch.kind == DENSE:
                    _dense_back(branch, shape, r, spread, grad_y, grad_r, point[k], grad_point[g, k])
                else:
                    _gathered(branch, shape, r, d, nothing, depth[k].ctypes.data)
                    before = 2 * full if branch.kind == PAIRS else full
                    _pointwise_weights(
                        grad_point[g, k].ctypes.data, d, before, 0, grad_y, 0, pixels, 1, before, full_out
                    )
                    joins = branch.kind == POINTWISE
                    into, weights = grad_r if joins else grad_d, point[k].ctypes.data
                    _pointwise(into, joins, nothing, grad_y, full_out, weights, pixels, full_out, before)
                    if branch.kind == PAIRS:
                        _spread_pairs(grad_d, grad_r, shape)
                    elif branch.kind == DEPTHWISE:
                        _depthwise_back(branch, shape, r, spread, grad_d, grad_r, turned[k], grad_depth[g, k])
                if k + 1 == K or table[k + 1, 5]:
                    out = branch.grad_x + 4 * b * all_pixels * shape.C
                    _leave(x, center[k].ctypes.data, grad_r, out, shape, totals[k, b].ctypes.data,
                           products[k, b].ctypes.data)


@compiled
def _depthwise_back(
    branch: Branch, shape: Shape, r: int, spread: int, grad_d: int, grad_r: int, turned: Floats, grad_depth: Floats
) -> None:
    full = _filled(shape.C)
    before = shape.margin - branch.padding
    x = r + 4 * (before * shape.pitch + before) * full
    _depthwise_weights(
        grad_depth.ctypes.data, x, shape.pitch, grad_d, shape.columns, shape.rows, shape.columns, full,
        branch.kernel, branch.dilation, branch.stride,
    )  # fmt: skip
    _place(grad_d, spread, shape.rows, shape.columns, shape.pitch, shape.margin, branch.stride, full)
    before = shape.margin - (branch.dilation * (branch.kernel - 1) - branch.padding)
    g = spread + 4 * (before * shape.pitch + before) * full
    _depthwise(
        grad_r, True, 0, g, shape.pitch, turned.ctypes.data, shape.H, shape.W, full, branch.kernel,
        branch.dilation, 1,
    )  # fmt: skip


@compiled
def _dense_back(
    branch: Branch, shape: Shape, r: int, spread: int, grad_y: int, grad_r: int, point: Floats, grad_point: Floats
) -> None:
    full, full_out = _filled(shape.C), _filled(shape.D)
    before = shape.margin - branch.padding
    for t in range(branch.kernel**2):
        row, column = t // branch.kernel * branch.dilation, t % branch.kernel * branch.dilation
        x = r + 4 * ((before + row) * shape.pitch + before + column) * full
        _pointwise_weights(
            grad_point.ctypes.data + 4 * t * full * full_out, x, branch.stride * full,
            branch.stride * shape.pitch * full, grad_y, shape.columns * full_out, shape.columns, shape.rows, full,
            full_out,
        )  # fmt: skip
    _place(grad_y, spread, shape.rows, shape.columns, shape.pitch, shape.margin, branch.stride, full_out)
    before = shape.margin - (branch.dilation * (branch.kernel - 1) - branch.padding)
    g = spread + 4 * (before * shape.pitch + before) * full_out
    _dense(
        grad_r, g, shape.pitch, point.ctypes.data, shape.H, shape.W, full_out, full, branch.kernel,
        branch.dilation, 1,
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
def _unpack(
    out: int, packed: Floats, C: int, first: int, D: int, full: int, full_out: int, at: int, taps: int
) -> None:
    """The inverse of ``_pack_dense``."""
    w = floats(out, D * C * taps)
    for d in range(D):
        for c in range(C):
            for t in range(taps):
                w[(d * C + c) * taps + t] = packed[(t * full + at + c) * full_out + first + d]
