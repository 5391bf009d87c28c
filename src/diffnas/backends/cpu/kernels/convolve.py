"""ReLU, convolutions and batch statistics of several branches out of one map, picture by picture, for Numba.

A picture is read once into a buffer with zeros around it, normalized and rectified; from there its branches are
computed and nothing leaves the cache but their results. Nothing else is kept for the backward pass, which computes
the buffer and what the depthwise convolutions made of it again: that takes less time than reading it would.

In buffers the channels are filled up with zeros (``buffer.filled``). Tensors are passed by their addresses,
channels last and without gaps; a *group* is a range of pictures that one thread handles.
"""

from __future__ import annotations

from typing import NamedTuple

from diffnas.backends.cpu.kernels.branches import TILED, Branch, branch_at, depth_size, point_size
from diffnas.backends.cpu.kernels.buffer import (
    Floats,
    Shape,
    Table,
    clear,
    filled,
    gather,
    gather_pairs,
    measure,
    narrow,
    rectify,
    rectify_pairs,
    rectify_rows,
    scatter,
    spread_pairs,
)
from diffnas.backends.cpu.kernels.products import (
    dense,
    depthwise,
    depthwise_back,
    depthwise_weights,
    pointwise,
    pointwise_weights,
)
from diffnas.backends.cpu.kernels.vectors import (
    BLOCK,
    LANES,
    compiled,
    load,
    load_part,
    multiply_add,
    prepare,
    store,
    store_part,
    where_positive,
    zeros,
)
from diffnas.backends.cpu.kernels.winograd import MATRICES, fold_weights, tile_rows, tiled, tiled_back, tiles_size
from diffnas.nets.geometry import DENSE, DEPTHWISE, PAIRS, POINTWISE

ZEROS = 2 * LANES  # what sums start from, for two vectors side by side

STRIP = 2048
"""Numbers in the rows that are handled at once."""


class Places(NamedTuple):
    """Where the parts of the memory to work in are."""

    nothing: int  # zeros
    r: int  # a rectified picture
    spread: int  # a gradient that kernels slide over; a dense kernel's has its pixels a stride apart
    d: int  # what a 1x1 convolution reads
    grad_d: int
    grad_y: int
    grad_r: int
    tiles: int


class Weights(NamedTuple):
    """Where a branch's packed weights and their gradients are."""

    depth: int
    turned: int
    point: int
    grad_depth: int
    grad_point: int
    grad_tiled: int  # of a tiled convolution


@compiled
def _strip(shape: Shape) -> int:
    """How many rows are handled at once: what is made of them stays in the first cache."""
    return max(1, STRIP // (shape.columns * max(filled(shape.C), filled(shape.D))))


@compiled
def _buffered(shape: Shape) -> int:
    """How many pixels a buffered picture has, or a gradient that kernels slide over."""
    return (max(shape.H, shape.rows) + 2 * shape.margin) * shape.pitch + BLOCK


@compiled
def scratch_size(shape: Shape, tiled: int) -> int:
    """How many numbers a thread needs to work in, for so many tiled branches."""
    full, full_out = filled(shape.C), filled(shape.D)
    buffered = _buffered(shape) * (full + max(full, full_out))
    strip = (_strip(shape) * shape.columns + BLOCK) * (4 * full + full_out)
    tiles = 3 * tiles_size(shape.columns, max(full, full_out)) + 2 * _tile_rows(shape) * shape.columns * full_out
    tiles += tiled * MATRICES * full * full_out
    return ZEROS + buffered + strip + (shape.H * shape.W + BLOCK) * full + tiles


@compiled
def _tile_rows(shape: Shape) -> int:
    """How many rows of tiles are handled at once."""
    return tile_rows(shape.columns, max(filled(shape.C), filled(shape.D)))


@compiled
def _gathered(branch: Branch, shape: Shape, r: int, d: int, nothing: int, depth: int, top: int, rows: int) -> None:
    """What the 1x1 convolution of a branch reads, for some rows of the result."""
    full = filled(shape.C)
    if branch.kind == DEPTHWISE:
        before = shape.margin - branch.padding
        x = r + 4 * ((before + top * branch.stride) * shape.pitch + before) * full
        depthwise(
            d, False, nothing, x, shape.pitch, depth, rows, shape.columns, full, branch.kernel, branch.dilation,
            branch.stride,
        )  # fmt: skip
    elif branch.kind == PAIRS:
        gather_pairs(r, d, shape, top, rows)
    else:
        gather(r, d, shape, top, rows)


@compiled
def _convolve(
    branch: Branch, shape: Shape, y: int, r: int, d: int, tiles: int, nothing: int, depth: int, point: int, top: int,
    rows: int,
) -> None:  # fmt: skip
    """Some rows of a branch's result, from a buffered picture."""
    full, full_out = filled(shape.C), filled(shape.D)
    before = shape.margin - branch.padding
    x = r + 4 * ((before + top * branch.stride) * shape.pitch + before) * full
    if branch.kind == TILED:
        tiled(y, x, shape.pitch, point, rows, shape.columns, full, full_out, nothing, tiles)
        return
    if branch.kind == DENSE:
        dense(
            y, False, nothing, x, shape.pitch, point, rows, shape.columns, full, full_out, branch.kernel,
            branch.dilation, branch.stride,
        )  # fmt: skip
        return
    _gathered(branch, shape, r, d, nothing, depth, top, rows)
    _project(branch, shape, y, d, nothing, point, rows)


@compiled
def _project(branch: Branch, shape: Shape, y: int, d: int, nothing: int, point: int, rows: int) -> None:
    """The 1x1 convolution of some rows."""
    full = filled(shape.C)
    # What fills the channels up need not be multiplied; between even and odd pixels it cannot be left out.
    step, before = (2 * full, 2 * full) if branch.kind == PAIRS else (full, shape.C)
    pointwise(y, False, nothing, d, step, 0, point, rows * shape.columns, before, 1, filled(shape.D))


@compiled
def _is_alone(table: Table, k: int) -> bool:
    """Whether a branch slides no kernel and shares its input with no other: it then needs no buffered picture."""
    last = k + 1 == len(table) or table[k + 1, 5]
    return bool(table[k, 5]) and bool(last) and (table[k, 0] == POINTWISE or table[k, 0] == PAIRS)


@compiled
def _straight(branch: Branch, shape: Shape, x: int, center: int, rate: int, d: int, top: int, rows: int) -> None:
    """What the 1x1 convolution of a branch that is alone reads, for some rows of the result."""
    if branch.kind == PAIRS:
        rectify_pairs(x, center, rate, d, shape, top, rows)
    else:
        pixels = shape.columns
        rectify_rows(x + 4 * top * pixels * shape.C, center, rate, d, rows * pixels, shape.C)


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
        scratch: numbers to work in, ``scratch_size`` of them from an address that is a multiple of a vector.
        first: the first picture to handle.
        last: one past the last picture to handle.
    """
    full, full_out = filled(shape.C), filled(shape.D)
    pixels = shape.rows * shape.columns
    buffered = _buffered(shape) * full
    nothing = scratch.ctypes.data
    r = nothing + 4 * ZEROS
    d = r + 4 * buffered
    y = d + 4 * (_strip(shape) * shape.columns + BLOCK) * 2 * full
    tiles = y + 4 * (max(_strip(shape), 2 * _tile_rows(shape)) * shape.columns + BLOCK) * full_out
    clear(nothing, ZEROS + buffered)
    for b in range(first, last):
        for k in range(len(table)):
            branch, alone = branch_at(table, k), _is_alone(table, k)
            x = branch.x + 4 * b * shape.H * shape.W * shape.C
            centers, rates = center[k].ctypes.data, rate[k].ctypes.data
            if branch.fresh and not alone:
                rectify(x, centers, rates, r, shape)
            depths, points = depth[k].ctypes.data, point[k].ctypes.data
            mean, square = means[k, b].ctypes.data, squares[k, b].ctypes.data
            strip = 2 * _tile_rows(shape) if branch.kind == TILED else _strip(shape)
            for top in range(0, shape.rows, strip):
                rows = min(strip, shape.rows - top)
                count, seen = rows * shape.columns, top * shape.columns
                out = branch.y + 4 * (b * pixels + seen) * shape.D
                prepare(out + 4 * count * shape.D, count * shape.D, True)
                place = out if full_out == shape.D else y
                if alone:
                    _straight(branch, shape, x, centers, rates, d, top, rows)
                    _project(branch, shape, place, d, nothing, points, rows)
                else:
                    _convolve(branch, shape, place, r, d, tiles, nothing, depths, points, top, rows)
                if full_out != shape.D:
                    narrow(y, out, count, full_out, shape.D)
                measure(place, count, seen, full_out, shape.D, mean, square)


@compiled
def _gradient(grad: int, y: int, scale: int, slope: int, shift: int, out: int, pixels: int, D: int) -> None:
    """Write the gradient of a picture's result before its batch norm, channels filled up."""
    full = filled(D)
    for c in range(0, full, LANES):
        a, b, s = load(scale + 4 * c), load(slope + 4 * c), load(shift + 4 * c)
        for p in range(pixels):
            value, result = load_part(grad + 4 * (p * D + c), D - c), load_part(y + 4 * (p * D + c), D - c)
            store(multiply_add(value, a, multiply_add(result, b, s)), out + 4 * (p * full + c))


@compiled
def _leave(x: int, center: int, grad: int, out: int, shape: Shape, total: int, product: int) -> None:
    """Write a picture's gradient where its input is above the center; add it up, and its product with the distance."""
    C, full = shape.C, filled(shape.C)
    for h in range(shape.H):  # row by row, so that memory is read once, from the first pixel to the last
        for c in range(0, C, LANES):
            middle = load(center + 4 * c)
            sums, products = load_part(total + 4 * c, C - c), load_part(product + 4 * c, C - c)
            for p in range(h * shape.W, (h + 1) * shape.W):
                above = load_part(x + 4 * (p * C + c), C - c) - middle
                passed = where_positive(above, load(grad + 4 * (p * full + c)))
                store_part(passed, out + 4 * (p * C + c), C - c)
                sums, products = sums + passed, multiply_add(passed, above, products)
            store_part(sums, total + 4 * c, C - c)
            store_part(products, product + 4 * c, C - c)


@compiled
def _leave_straight(
    branch: Branch, shape: Shape, x: int, center: int, grad: int, out: int, top: int, rows: int, total: int,
    product: int,
) -> None:  # fmt: skip
    """The same from what the 1x1 convolution of a branch that is alone read, for some rows of the result; added up."""
    C, full, pairs = shape.C, filled(shape.C), branch.kind == PAIRS
    first, last = (2 * top, min(shape.H, 2 * (top + rows))) if pairs else (top, top + rows)
    prepare(out + 4 * last * shape.W * C, (last - first) * shape.W * C, True)
    for c in range(0, C, LANES):
        middle = load(center + 4 * c)
        sums, products = load_part(total + 4 * c, C - c), load_part(product + 4 * c, C - c)
        for h in range(first, last):
            for w in range(shape.W):
                place = 4 * ((h * shape.W + w) * C + c)
                pixel = (h - top) * shape.W + w
                if pairs:
                    if h % 2 != w % 2:
                        store_part(zeros(), out + place, C - c)
                        continue
                    pixel = ((h // 2 - top) * shape.columns + w // 2) * 2 + h % 2
                above = load_part(x + place, C - c) - middle
                passed = where_positive(above, load(grad + 4 * (pixel * full + c)))
                store_part(passed, out + place, C - c)
                sums, products = sums + passed, multiply_add(passed, above, products)
        store_part(sums, total + 4 * c, C - c)
        store_part(products, product + 4 * c, C - c)


@compiled
def backward(
    table: Table, shape: Shape, center: Floats, rate: Floats, depth: Floats, turned: Floats, point: Floats,
    scale: Floats, slope: Floats, shift: Floats, grad_depth: Floats, grad_point: Floats,
    totals: Floats, products: Floats, learn: bool, scratch: Floats, first: int, last: int,
) -> None:  # fmt: skip
    """Write the gradients for the inputs, and each group's for the weights.

    The gradient for a result is ``shift + slope * result + scale * what the table has``.

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
        grad_depth: ``(groups, K, taps * full)``, written: the pictures are split evenly over the groups.
        grad_point: ``(groups, K, taps * before * after)``, written.
        totals: ``(K, B, C)``: each picture's sums of the gradients for the input.
        products: ``(K, B, C)``: those of their products with the input less its center.
        learn: whether the gradients for the weights are wanted; without, they are zeros.
        scratch: as forward.
        first: the first group to handle.
        last: one past the last group to handle.
    """
    K, full, full_out, strip = len(table), filled(shape.C), filled(shape.D), _strip(shape)
    pixels, all_pixels, groups = shape.rows * shape.columns, shape.H * shape.W, len(grad_depth)
    buffered = _buffered(shape)
    stripped = strip * shape.columns + BLOCK
    nothing = scratch.ctypes.data
    r = nothing + 4 * ZEROS
    spread = r + 4 * buffered * full
    d = spread + 4 * buffered * max(full, full_out)
    grad_d = d + 4 * stripped * 2 * full
    grad_y = grad_d + 4 * stripped * 2 * full
    grad_r = grad_y + 4 * stripped * full_out
    tiles = grad_r + 4 * (all_pixels + BLOCK) * full
    grad_tiled = tiles + 4 * 3 * tiles_size(shape.columns, max(full, full_out))
    tiled_size = MATRICES * full * full_out
    clear(nothing, ZEROS + buffered * (full + max(full, full_out)))
    for g in range(first, last):
        for k in range(K):
            branch = branch_at(table, k)
            clear(grad_depth[g, k].ctypes.data, depth_size(branch, shape))
            clear(grad_point[g, k].ctypes.data, point_size(branch, shape))
        clear(grad_tiled, _tiled_before(table, K) * tiled_size)
        for b in range(shape.B * g // groups, shape.B * (g + 1) // groups):
            for k in range(K):
                branch, alone = branch_at(table, k), _is_alone(table, k)
                x = branch.x + 4 * b * all_pixels * shape.C
                out = branch.grad_x + 4 * b * all_pixels * shape.C
                centers, rates = center[k].ctypes.data, rate[k].ctypes.data
                sums = totals[k, b].ctypes.data, products[k, b].ctypes.data
                if branch.fresh and not alone:
                    rectify(x, centers, rates, r, shape)
                    clear(grad_r, all_pixels * full)
                # Before the first comes the last.
                if (branch.stride > 1 or full != full_out) and table[k - 1, 0] != branch.kind:
                    clear(spread, buffered * max(full, full_out))  # where the zeros are depends on the kind
                places = Places(nothing, r, spread, d, grad_d, grad_y, grad_r, tiles)
                weights = Weights(
                    depth[k].ctypes.data, turned[k].ctypes.data, point[k].ctypes.data,
                    grad_depth[g, k].ctypes.data, grad_point[g, k].ctypes.data,
                    grad_tiled + 4 * _tiled_before(table, k) * tiled_size,
                )  # fmt: skip
                for top in range(0, shape.rows, strip):
                    rows = min(strip, shape.rows - top)
                    at, size = 4 * (b * pixels + top * shape.columns) * shape.D, rows * shape.columns * shape.D
                    prepare(branch.grad + at + 4 * size, size, False)
                    prepare(branch.y + at + 4 * size, size, False)
                    _gradient(
                        branch.grad + at, branch.y + at, scale[k].ctypes.data, slope[k].ctypes.data,
                        shift[k].ctypes.data, grad_y, rows * shape.columns, shape.D,
                    )  # fmt: skip
                    if alone:
                        if learn:
                            _straight(branch, shape, x, centers, rates, d, top, rows)
                            _project_weights(branch, shape, places, weights, rows)
                        _project_back(branch, shape, places, weights, grad_d, False, 0, rows * shape.columns)
                        _leave_straight(branch, shape, x, centers, grad_d, out, top, rows, *sums)
                    else:
                        _strip_back(branch, shape, places, weights, top, rows, learn)
                if not alone:
                    _picture_back(branch, shape, places, weights, learn)
                    if k + 1 == K or table[k + 1, 5]:
                        _leave(x, centers, grad_r, out, shape, *sums)
        for k in range(K):
            if table[k, 0] == TILED:
                tiled = grad_tiled + 4 * _tiled_before(table, k) * tiled_size
                fold_weights(tiled, grad_point[g, k].ctypes.data, full, full_out)


@compiled
def _tiled_before(table: Table, k: int) -> int:
    """How many branches before row k are tiled."""
    count = 0
    for row in range(k):
        if table[row, 0] == TILED:
            count += 1
    return count


@compiled
def _strip_back(branch: Branch, shape: Shape, at: Places, weights: Weights, top: int, rows: int, learn: bool) -> None:
    """The gradients of some rows for the weights, and for what the 1x1 convolution reads."""
    full, full_out, margin = filled(shape.C), filled(shape.D), shape.margin
    before = margin - branch.padding
    x = at.r + 4 * ((before + top * branch.stride) * shape.pitch + before) * full
    if branch.kind == TILED or branch.kind == DENSE:
        if learn and branch.kind == DENSE:
            _dense_weights(branch, shape, x, at.grad_y, weights.grad_point, rows)
        scatter(at.grad_y, at.spread, top, rows, shape.columns, shape.pitch, margin, branch.stride, full_out)
        return
    if learn:
        _gathered(branch, shape, at.r, at.d, at.nothing, weights.depth, top, rows)
        _project_weights(branch, shape, at, weights, rows)
    grad, pitch = at.grad_d, shape.columns
    if branch.kind == POINTWISE:
        _project_back(branch, shape, at, weights, at.grad_r + 4 * top * pitch * full, True, 0, rows * pitch)
    elif branch.kind == DEPTHWISE and shape.columns % BLOCK == 0:
        # Row by row straight to where the kernel slides over it.
        grad, pitch = at.spread + 4 * ((top + margin) * shape.pitch + margin) * full, shape.pitch
        for h in range(rows):
            place = grad + 4 * h * pitch * full
            _project_back(branch, shape, at, weights, place, False, h * shape.columns, shape.columns)
    else:
        _project_back(branch, shape, at, weights, grad, False, 0, rows * pitch)
    if branch.kind == PAIRS:
        spread_pairs(grad, at.grad_r, shape, top, rows)
    elif branch.kind == DEPTHWISE:
        if learn:
            depthwise_weights(
                weights.grad_depth, x, shape.pitch, grad, pitch, rows, shape.columns, full, branch.kernel,
                branch.dilation, branch.stride,
            )  # fmt: skip
        if grad == at.grad_d:
            scatter(grad, at.spread, top, rows, shape.columns, shape.pitch, margin, 1, full)


@compiled
def _project_weights(branch: Branch, shape: Shape, at: Places, weights: Weights, rows: int) -> None:
    """Add the gradient of some rows for the weights of a 1x1 convolution."""
    full, pixels = filled(shape.C), rows * shape.columns
    # What fills the channels up has no gradient that matters; between even and odd pixels it cannot be left out.
    wide, read = (2 * full, 2 * full) if branch.kind == PAIRS else (full, shape.C)
    pointwise_weights(weights.grad_point, at.d, wide, 0, at.grad_y, 0, pixels, 1, read, filled(shape.D))


@compiled
def _project_back(
    branch: Branch, shape: Shape, at: Places, weights: Weights, into: int, add: bool, first: int, pixels: int
) -> None:
    """The gradient of what a 1x1 convolution reads, for some pixels of its result from ``first`` on."""
    wide, full_out = filled(shape.C) * (2 if branch.kind == PAIRS else 1), filled(shape.D)
    grad = at.grad_y + 4 * first * full_out
    pointwise(into, add, at.nothing, grad, full_out, 0, weights.point, pixels, shape.D, 1, wide)


@compiled
def _dense_weights(branch: Branch, shape: Shape, x: int, grad: int, out: int, rows: int) -> None:
    """Add the gradient of some rows for a dense convolution's weights."""
    full, full_out = filled(shape.C), filled(shape.D)
    for t in range(branch.kernel**2):
        row, column = t // branch.kernel * branch.dilation, t % branch.kernel * branch.dilation
        pointwise_weights(
            out + 4 * t * full * full_out, x + 4 * (row * shape.pitch + column) * full, branch.stride * full,
            branch.stride * shape.pitch * full, grad, shape.columns * full_out, shape.columns, rows, full, full_out,
        )  # fmt: skip


@compiled
def _picture_back(branch: Branch, shape: Shape, at: Places, weights: Weights, learn: bool) -> None:
    """Add the gradient for the input to those of the other branches, from that of what the kernels slid over it; of
    tiled convolutions also that for the weights."""
    full, full_out = filled(shape.C), filled(shape.D)
    before = shape.margin - (branch.dilation * (branch.kernel - 1) - branch.padding)
    start = before * shape.pitch + before
    if branch.kind == TILED:
        x = at.r + 4 * (shape.margin * shape.pitch + shape.margin) * full
        tiled_back(
            at.grad_r, weights.grad_tiled, x, at.spread + 4 * start * full_out, shape.pitch, weights.point, shape.H,
            shape.W, full, full_out, learn, at.nothing, at.tiles,
        )  # fmt: skip
    elif branch.kind == DEPTHWISE and branch.stride > 1:
        depthwise_back(
            at.grad_r, at.spread + 4 * (shape.margin * shape.pitch + shape.margin) * full, shape.pitch, weights.turned,
            shape.H, shape.W, full, branch.kernel, branch.dilation, branch.stride, branch.padding,
        )  # fmt: skip
    elif branch.kind == DEPTHWISE:
        depthwise(
            at.grad_r, True, at.nothing, at.spread + 4 * start * full, shape.pitch, weights.turned, shape.H, shape.W,
            full, branch.kernel, branch.dilation, 1,
        )  # fmt: skip
    elif branch.kind == DENSE:
        dense(
            at.grad_r, True, at.nothing, at.spread + 4 * start * full_out, shape.pitch, weights.point, shape.H,
            shape.W, full_out, full, branch.kernel, branch.dilation, 1,
        )  # fmt: skip
