"""The gradients of :mod:`diffnas.backends.cpu.kernels.convolve`, picture by picture, for Numba."""

from __future__ import annotations

from typing import NamedTuple

from diffnas.backends.cpu.kernels.address import floats
from diffnas.backends.cpu.kernels.branches import (
    TILED,
    Branch,
    Gradients,
    Operands,
    branch_at,
    depth_size,
    norm_before,
    point_size,
    slides_by_channel,
)
from diffnas.backends.cpu.kernels.buffer import (
    Norm,
    Shape,
    Table,
    clear,
    filled,
    floor_of,
    normalize,
    scatter,
    spread_pairs,
)
from diffnas.backends.cpu.kernels.compiler import part
from diffnas.backends.cpu.kernels.convolve import (
    ZEROS,
    Places,
    buffered_pixels,
    gathered,
    is_alone,
    is_last,
    normalized,
    places_in,
    strip_rows,
)
from diffnas.backends.cpu.kernels.llvm import LANES
from diffnas.backends.cpu.kernels.loops import BLOCK
from diffnas.backends.cpu.kernels.products import (
    dense,
    dense_back,
    depthwise,
    depthwise_back,
    depthwise_weights,
    pointwise,
    pointwise_weights,
)
from diffnas.backends.cpu.kernels.vectors import (
    load,
    load_part,
    multiply_add,
    prepare,
    splat,
    store,
    store_part,
    where_above,
    zeros,
)
from diffnas.backends.cpu.kernels.winograd import MATRICES, fold_weights, tiled_back
from diffnas.nets.geometry import DENSE, DEPTHWISE, PAIRS, POINTWISE, SEPARABLE


class Weights(NamedTuple):
    """The addresses of a branch's packed weights and of their gradients."""

    depth: int
    turned: int
    point: int
    grad_depth: int
    grad_point: int
    grad_tiled: int  # for the transformed weights of a tiled convolution


@part
def backward(
    table: Table, shape: Shape, operands: Operands, grads: Gradients, groups: int, learn: bool, scratch: int,
    first: int, last: int,
) -> None:  # fmt: skip
    """Write the gradients for the inputs, and each group's gradients for the weights.

    Args:
        table: a :class:`Branch` in each row. Branches with the same input follow each other; the first is ``fresh``.
        shape: the sizes.
        operands: as in ``convolve.forward``. The gradients are for the *normalized* inputs.
        grads: the gradients and their coefficients, which are read and written.
        groups: how many groups there are.
        learn: whether to compute the gradients for the weights; if not, they are zeros.
        scratch: as in ``convolve.forward``.
        first: the first group to handle.
        last: one past the last group to handle.
    """
    K, full, full_out, at = len(table), filled(shape.C), filled(shape.D), places_in(scratch, shape)
    clear(at.nothing, ZEROS + buffered_pixels(shape) * (full + max(full, full_out)))
    for g in range(first, last):
        for k in range(K):
            branch, weights = branch_at(table, k), _weights(table, k, g, shape, operands, grads, at)
            clear(weights.grad_depth, depth_size(branch, shape))
            clear(weights.grad_point, point_size(branch, shape))
        clear(at.grad_tiled, _tiled_before(table, K) * MATRICES * full * full_out)
        for b in range(shape.B * g // groups, shape.B * (g + 1) // groups):
            for k in range(K):
                weights = _weights(table, k, g, shape, operands, grads, at)
                _branch_backward(table, k, b, shape, operands, grads, at, weights, learn)
        for k in range(K):
            if table[k, 0] == TILED:
                weights = _weights(table, k, g, shape, operands, grads, at)
                fold_weights(weights.grad_tiled, weights.grad_point, full, full_out)


@part
def _weights(table: Table, k: int, g: int, shape: Shape, operands: Operands, grads: Gradients, at: Places) -> Weights:
    """The addresses of the weights of the branch in row k, and of group g's gradients for them."""
    row, deep = g * len(table) + k, operands.deep
    before = _tiled_before(table, k) * MATRICES * filled(shape.C) * filled(shape.D)
    return Weights(
        operands.depth + 4 * k * deep, operands.turned + 4 * k * deep, operands.point + 4 * k * operands.wide,
        grads.depth + 4 * row * deep, grads.point + 4 * row * grads.learned, at.grad_tiled + 4 * before,
    )  # fmt: skip


@part
def _branch_backward(
    table: Table, k: int, b: int, shape: Shape, operands: Operands, grads: Gradients, at: Places, weights: Weights,
    learn: bool,
) -> None:  # fmt: skip
    """Write or add the gradients of a branch for one picture, strip by strip."""
    full, full_out = filled(shape.C), filled(shape.D)
    branch, alone = branch_at(table, k), is_alone(table, k)
    picture, sums = 4 * b * shape.H * shape.W * shape.C, 4 * (k * shape.B + b) * shape.C
    x, out, total, product = branch.x + picture, branch.grad_x + picture, grads.totals + sums, grads.products + sums
    norm = norm_before(branch, operands, k, full)
    if branch.fresh and not alone:
        normalize(x, norm, at.r, shape)
        clear(at.grad_r, shape.H * shape.W * full)
    # Each kind has its zeros in other places. Row -1 is the last branch, which handled the picture before.
    if full != full_out and table[k - 1, 0] != branch.kind:
        clear(at.spread, buffered_pixels(shape) * max(full, full_out))
    strip = strip_rows(shape)
    for top in range(0, shape.rows, strip):
        rows = min(strip, shape.rows - top)
        _result_gradient(branch, k, b, shape, grads, at.y, top, rows)
        if not alone:
            _strip_backward(branch, shape, at, weights, top, rows, learn)
            continue
        if learn:
            normalized(branch, shape, x, norm, at.d, top, rows)
            _project_weights(branch, shape, at, weights, rows)
        _project_backward(branch, shape, at, weights, at.grad_d, False, 0, rows * shape.columns)
        _leave_rows(branch, shape, x, norm, at.grad_d, out, top, rows, total, product)
    if not alone:
        _picture_backward(branch, shape, at, weights, learn)
        if is_last(table, k):
            _leave(x, norm, at.grad_r, out, shape, total, product)


@part
def _result_gradient(
    branch: Branch, k: int, b: int, shape: Shape, grads: Gradients, out: int, top: int, rows: int
) -> None:
    """Write the gradient of some rows of a result before its batch norm, channels filled up."""
    D, full, pixels = shape.D, filled(shape.D), rows * shape.columns
    first, terms = 4 * (b * shape.rows + top) * shape.columns * D, 4 * k * full
    grad, y = branch.grad + first, branch.y + first
    prepare(grad + 4 * pixels * D, pixels * D, False)
    prepare(y + 4 * pixels * D, pixels * D, False)
    share = splat(floats(branch.shares, shape.B)[b])
    for c in range(0, full, LANES):
        at = terms + 4 * c
        scale, slope, shift = load(grads.scale + at) * share, load(grads.slope + at), load(grads.shift + at)
        for p in range(pixels):
            value, result = load_part(grad + 4 * (p * D + c), D - c), load_part(y + 4 * (p * D + c), D - c)
            store(multiply_add(value, scale, multiply_add(result, slope, shift)), out + 4 * (p * full + c))


@part
def _leave(x: int, norm: Norm, grad: int, out: int, shape: Shape, total: int, product: int) -> None:
    """Write the gradient for a normalized picture before its ReLU, and add its sum.

    The sum of its product with ``input - center`` is added too.
    """
    C, full, floor = shape.C, filled(shape.C), floor_of(norm)
    for h in range(shape.H):  # row by row, so that memory is read once, in order
        for c in range(0, C, LANES):
            middle, factor, added = load(norm.center + 4 * c), load(norm.rate + 4 * c), load(norm.added + 4 * c)
            sums, products = load_part(total + 4 * c, C - c), load_part(product + 4 * c, C - c)
            for p in range(h * shape.W, (h + 1) * shape.W):
                above = load_part(x + 4 * (p * C + c), C - c) - middle
                passed = where_above(multiply_add(above, factor, added), floor, load(grad + 4 * (p * full + c)))
                store_part(passed, out + 4 * (p * C + c), C - c)
                sums, products = sums + passed, multiply_add(passed, above, products)
            store_part(sums, total + 4 * c, C - c)
            store_part(products, product + 4 * c, C - c)


@part
def _leave_rows(
    branch: Branch, shape: Shape, x: int, norm: Norm, grad: int, out: int, top: int, rows: int, total: int,
    product: int,
) -> None:  # fmt: skip
    """``_leave`` for some rows of the result, for a branch that reads its map alone.

    ``grad`` is the gradient of what ``normalized`` wrote.
    """
    C, full, floor, pairs = shape.C, filled(shape.C), floor_of(norm), branch.kind == PAIRS
    first, last = (2 * top, min(shape.H, 2 * (top + rows))) if pairs else (top, top + rows)
    prepare(out + 4 * last * shape.W * C, (last - first) * shape.W * C, True)
    for c in range(0, C, LANES):
        middle, factor, added = load(norm.center + 4 * c), load(norm.rate + 4 * c), load(norm.added + 4 * c)
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
                passed = where_above(multiply_add(above, factor, added), floor, load(grad + 4 * (pixel * full + c)))
                store_part(passed, out + place, C - c)
                sums, products = sums + passed, multiply_add(passed, above, products)
        store_part(sums, total + 4 * c, C - c)
        store_part(products, product + 4 * c, C - c)


@part
def _tiled_before(table: Table, k: int) -> int:
    """How many branches before row k are tiled."""
    count = 0
    for row in range(k):
        if table[row, 0] == TILED:
            count += 1
    return count


@part
def _strip_backward(
    branch: Branch, shape: Shape, at: Places, weights: Weights, top: int, rows: int, learn: bool
) -> None:
    """Add a strip of rows to the gradients for the weights, and take its gradient one convolution back.

    That is through the 1x1 convolution. A dense, tiled or depthwise branch has none, so the gradient for its result
    goes, as it is, into the buffer over which the kernel slides. A tiled branch gets its weight gradient later.
    """
    full, full_out, margin = filled(shape.C), filled(shape.D), shape.margin
    before = margin - branch.padding
    x = at.r + 4 * ((before + top * branch.stride) * shape.pitch + before) * full
    if branch.kind == TILED or branch.kind == DENSE or branch.kind == DEPTHWISE:
        if learn and branch.kind == DENSE:
            _dense_weights(branch, shape, x, at.y, weights.grad_point, rows)
        if learn and branch.kind == DEPTHWISE:
            _depthwise_weights(branch, shape, x, at.y, shape.columns, weights, rows)
        scatter(at.y, at.spread, top, rows, shape.columns, shape.pitch, margin, full_out)
        return
    if learn:
        gathered(branch, shape, at, weights.depth, top, rows)
        _project_weights(branch, shape, at, weights, rows)
    grad, pitch = at.grad_d, shape.columns
    if branch.kind == POINTWISE:
        _project_backward(branch, shape, at, weights, at.grad_r + 4 * top * pitch * full, True, 0, rows * pitch)
    elif branch.kind == SEPARABLE and shape.columns % BLOCK == 0:
        # Row by row, directly into the buffer over which the kernel slides.
        grad, pitch = at.spread + 4 * ((top + margin) * shape.pitch + margin) * full, shape.pitch
        for h in range(rows):
            place = grad + 4 * h * pitch * full
            _project_backward(branch, shape, at, weights, place, False, h * shape.columns, shape.columns)
    else:
        _project_backward(branch, shape, at, weights, grad, False, 0, rows * pitch)
    if branch.kind == PAIRS:
        spread_pairs(grad, at.grad_r, shape, top, rows)
    elif branch.kind == SEPARABLE:
        if learn:
            _depthwise_weights(branch, shape, x, grad, pitch, weights, rows)
        if grad == at.grad_d:
            scatter(grad, at.spread, top, rows, shape.columns, shape.pitch, margin, full)


@part
def _project_weights(branch: Branch, shape: Shape, at: Places, weights: Weights, rows: int) -> None:
    """Add the gradient of some rows for the weights of a 1x1 convolution."""
    full, pixels = filled(shape.C), rows * shape.columns
    # The padding of channels needs no gradient. With PAIRS it gets one, because it is between even and odd pixels.
    wide, read = (2 * full, 2 * full) if branch.kind == PAIRS else (full, shape.C)
    pointwise_weights(weights.grad_point, at.d, wide, 0, at.y, 0, pixels, 1, read, filled(shape.D))


@part
def _project_backward(
    branch: Branch, shape: Shape, at: Places, weights: Weights, into: int, add: bool, first: int, pixels: int
) -> None:
    """Write or add the gradient for the input of a 1x1 convolution, from ``pixels`` pixels of its result."""
    wide, full_out = filled(shape.C) * (2 if branch.kind == PAIRS else 1), filled(shape.D)
    grad = at.y + 4 * first * full_out
    pointwise(into, wide, add, at.nothing, grad, full_out, 0, weights.point, 0, pixels, shape.D, 1, wide)


@part
def _depthwise_weights(
    branch: Branch, shape: Shape, x: int, grad: int, pitch: int, weights: Weights, rows: int
) -> None:
    """Add the gradient of some rows for a depthwise convolution's weights."""
    depthwise_weights(
        weights.grad_depth, x, shape.pitch, grad, pitch, rows, shape.columns, filled(shape.C), branch.kernel,
        branch.dilation, branch.stride,
    )  # fmt: skip


@part
def _dense_weights(branch: Branch, shape: Shape, x: int, grad: int, out: int, rows: int) -> None:
    """Add the gradient of some rows for a dense convolution's weights."""
    full, full_out = filled(shape.C), filled(shape.D)
    for t in range(branch.kernel**2):
        row, column = t // branch.kernel * branch.dilation, t % branch.kernel * branch.dilation
        pointwise_weights(
            out + 4 * t * full * full_out, x + 4 * (row * shape.pitch + column) * full, branch.stride * full,
            branch.stride * shape.pitch * full, grad, shape.columns * full_out, shape.columns, rows, shape.C, full_out,
        )  # fmt: skip


@part
def _picture_backward(branch: Branch, shape: Shape, at: Places, weights: Weights, learn: bool) -> None:
    """Add the gradient of a branch's sliding kernel for the picture to that of other branches with the same input.

    For a tiled convolution, add the gradient for the weights too.
    """
    full, full_out = filled(shape.C), filled(shape.D)
    before = shape.margin - (branch.dilation * (branch.kernel - 1) - branch.padding)
    start = before * shape.pitch + before
    if branch.kind == TILED:
        x = at.r + 4 * (shape.margin * shape.pitch + shape.margin) * full
        tiled_back(
            at.grad_r, weights.grad_tiled, x, at.spread + 4 * start * full_out, shape.pitch, weights.point, shape.H,
            shape.W, full, full_out, shape.C, shape.D, learn, at.nothing, at.tiles,
        )  # fmt: skip
    elif slides_by_channel(branch) and branch.stride > 1:
        depthwise_back(
            at.grad_r, at.spread + 4 * (shape.margin * shape.pitch + shape.margin) * full, shape.pitch, weights.turned,
            shape.H, shape.W, full, branch.kernel, branch.dilation, branch.stride, branch.padding,
        )  # fmt: skip
    elif slides_by_channel(branch):
        depthwise(
            at.grad_r, True, at.nothing, at.spread + 4 * start * full, shape.pitch, weights.turned, shape.H, shape.W,
            full, branch.kernel, branch.dilation, 1,
        )  # fmt: skip
    elif branch.kind == DENSE and branch.stride > 1:
        dense_back(
            at.grad_r, at.spread + 4 * (shape.margin * shape.pitch + shape.margin) * full_out, shape.pitch,
            weights.point, shape.H, shape.W, full_out, full, branch.kernel, branch.dilation, branch.stride,
            branch.padding, shape.D,
        )  # fmt: skip
    elif branch.kind == DENSE:
        dense(
            at.grad_r, True, at.nothing, at.spread + 4 * start * full_out, shape.pitch, weights.point, shape.H,
            shape.W, full_out, full, branch.kernel, branch.dilation, 1, shape.D,
        )  # fmt: skip
