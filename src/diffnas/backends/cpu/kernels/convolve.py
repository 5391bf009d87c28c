"""ReLU, convolutions and batch statistics of several branches that read one map, picture by picture, for Numba.

A picture is read once, normalized, put through the ReLU, if there is one, and written into a buffer with zeros around
it. Its branches read this buffer, and only their results leave the cache. Only these are kept for the backward pass
(:mod:`diffnas.backends.cpu.kernels.convolve_backward`). It computes the buffer and the results of depthwise
convolutions again, which is faster than reading them.

In buffers the channels are padded with zeros (``buffer.filled``). Tensors are given by their addresses, with the
channels last and without gaps. A *group* is a range of pictures that one thread handles.
"""

from __future__ import annotations

from typing import NamedTuple

from diffnas.backends.cpu.kernels.branches import FRESH, TILED, Branch, Operands, branch_at, norm_before
from diffnas.backends.cpu.kernels.buffer import (
    Norm,
    Shape,
    Table,
    clear,
    filled,
    gather,
    gather_pairs,
    measure,
    narrow,
    normalize,
    normalize_pairs,
    normalize_rows,
)
from diffnas.backends.cpu.kernels.compiler import part
from diffnas.backends.cpu.kernels.llvm import LANES
from diffnas.backends.cpu.kernels.loops import BLOCK
from diffnas.backends.cpu.kernels.products import dense, depthwise, pointwise
from diffnas.backends.cpu.kernels.vectors import prepare
from diffnas.backends.cpu.kernels.winograd import MATRICES, tile_rows, tiled, tiles_size
from diffnas.nets.geometry import DENSE, DEPTHWISE, PAIRS, POINTWISE, SEPARABLE

ZEROS = 2 * LANES  # zeros from which the sums of two adjacent vectors start

STRIP = 2048
"""Numbers in one strip, which is a range of rows that are computed at once."""


class Places(NamedTuple):
    """The addresses of the parts of a thread's scratch memory."""

    nothing: int  # zeros
    r: int  # a normalized picture after its ReLU
    spread: int  # a gradient over which kernels slide
    d: int  # the input of a 1x1 convolution
    grad_d: int
    y: int  # results with padded channels, or their gradients
    grad_r: int
    tiles: int
    grad_tiled: int  # the gradients for the weights of tiled convolutions


@part
def strip_rows(shape: Shape) -> int:
    """How many rows a strip has, so few that their results stay in the L1 cache."""
    return max(1, STRIP // (shape.columns * max(filled(shape.C), filled(shape.D))))


@part
def buffered_pixels(shape: Shape) -> int:
    """How many pixels a buffer needs that holds either a picture or a gradient over which kernels slide."""
    return (max(shape.H, shape.rows) + 2 * shape.margin) * shape.pitch + BLOCK


@part
def _tile_rows(shape: Shape) -> int:
    """How many rows of tiles a strip has."""
    return tile_rows(shape.columns, max(filled(shape.C), filled(shape.D)))


@part
def places_in(scratch: int, shape: Shape) -> Places:
    """The parts of a thread's scratch memory, which is aligned to a vector."""
    full, full_out = filled(shape.C), filled(shape.D)
    buffered, widest = buffered_pixels(shape), max(full, full_out)
    d_size = (strip_rows(shape) * shape.columns + BLOCK) * 2 * full
    r = scratch + 4 * ZEROS
    spread = r + 4 * buffered * full
    d = spread + 4 * buffered * widest
    y = d + 4 * 2 * d_size
    grad_r = y + 4 * (max(strip_rows(shape), 2 * _tile_rows(shape)) * shape.columns + BLOCK) * full_out
    tiles = grad_r + 4 * (shape.H * shape.W + BLOCK) * full
    return Places(
        scratch, r, spread, d, d + 4 * d_size, y, grad_r, tiles, tiles + 4 * 3 * tiles_size(shape.columns, widest)
    )


@part
def scratch_size(shape: Shape, tiled: int) -> int:
    """How many numbers of scratch memory a thread needs for ``tiled`` tiled branches."""
    return places_in(0, shape).grad_tiled // 4 + tiled * MATRICES * filled(shape.C) * filled(shape.D)


@part
def gathered(branch: Branch, shape: Shape, at: Places, depth: int, top: int, rows: int) -> None:
    """Write the input of a branch's 1x1 convolution, for some rows of the result."""
    if branch.kind == SEPARABLE:
        _slid(branch, shape, at.d, at, depth, top, rows)
    elif branch.kind == PAIRS:
        gather_pairs(at.r, at.d, shape, top, rows)
    else:
        gather(at.r, at.d, shape, top, rows)


@part
def _slid(branch: Branch, shape: Shape, out: int, at: Places, depth: int, top: int, rows: int) -> None:
    """Write the depthwise convolution of a buffered picture, for some rows of the result."""
    full, before = filled(shape.C), shape.margin - branch.padding
    x = at.r + 4 * ((before + top * branch.stride) * shape.pitch + before) * full
    depthwise(
        out, False, at.nothing, x, shape.pitch, depth, rows, shape.columns, full, branch.kernel, branch.dilation,
        branch.stride,
    )  # fmt: skip


@part
def _convolve(
    branch: Branch, shape: Shape, y: int, at: Places, depth: int, point: int, top: int, rows: int
) -> None:  # fmt: skip
    """Write some rows of a branch's result, from a buffered picture."""
    full, full_out = filled(shape.C), filled(shape.D)
    before = shape.margin - branch.padding
    x = at.r + 4 * ((before + top * branch.stride) * shape.pitch + before) * full
    if branch.kind == TILED:
        tiled(y, x, shape.pitch, point, rows, shape.columns, full, full_out, shape.C, at.nothing, at.tiles)
        return
    if branch.kind == DEPTHWISE:
        _slid(branch, shape, y, at, depth, top, rows)
        return
    if branch.kind == DENSE:
        dense(
            y, False, at.nothing, x, shape.pitch, point, rows, shape.columns, full, full_out, branch.kernel,
            branch.dilation, branch.stride, shape.C,
        )  # fmt: skip
        return
    gathered(branch, shape, at, depth, top, rows)
    _project(branch, shape, y, at.d, at.nothing, point, rows)


@part
def _project(branch: Branch, shape: Shape, y: int, d: int, nothing: int, point: int, rows: int) -> None:
    """Write the 1x1 convolution of some rows."""
    full = filled(shape.C)
    # The padding of channels need not be multiplied. With PAIRS it must be, because it is between even and odd pixels.
    step, before = (2 * full, 2 * full) if branch.kind == PAIRS else (full, shape.C)
    after = filled(shape.D)
    pointwise(y, after, False, nothing, d, step, 0, point, 0, rows * shape.columns, before, 1, after)


@part
def is_alone(table: Table, k: int) -> bool:
    """Whether a branch needs no buffered picture: it has no kernel that slides, and shares its input with no other."""
    return bool(table[k, FRESH]) and is_last(table, k) and (table[k, 0] == POINTWISE or table[k, 0] == PAIRS)


@part
def is_last(table: Table, k: int) -> bool:
    """Whether no later branch reads the input of a branch."""
    return k + 1 == len(table) or bool(table[k + 1, FRESH])


@part
def normalized(branch: Branch, shape: Shape, x: int, norm: Norm, d: int, top: int, rows: int) -> None:
    """Write the input of the 1x1 convolution of a branch that is alone, for some rows of the result."""
    if branch.kind == PAIRS:
        normalize_pairs(x, norm, d, shape, top, rows)
    else:
        pixels = shape.columns
        normalize_rows(x + 4 * top * pixels * shape.C, norm, d, rows * pixels, shape.C)


@part
def forward(
    table: Table, shape: Shape, operands: Operands, means: int, squares: int, scratch: int, first: int, last: int
) -> None:
    """Write the results of all branches for the pictures from ``first`` up to ``last``.

    Args:
        table: a :class:`Branch` in each row.
        shape: the sizes.
        operands: the weights, and the statistics of the inputs.
        means: each picture's means, ``(K, B, D)``.
        squares: each picture's sums of squared deviations from its means, ``(K, B, D)``.
        scratch: scratch memory: ``scratch_size`` numbers, aligned to a vector.
        first: the first picture to handle.
        last: one past the last picture to handle.
    """
    at = places_in(scratch, shape)
    clear(at.nothing, ZEROS + buffered_pixels(shape) * filled(shape.C))
    for b in range(first, last):
        for k in range(len(table)):
            sums = 4 * (k * shape.B + b) * shape.D
            _branch_forward(table, k, b, shape, operands, at, means + sums, squares + sums)


@part
def _branch_forward(
    table: Table, k: int, b: int, shape: Shape, operands: Operands, at: Places, mean: int, square: int
) -> None:
    """Write the results of a branch for a picture, strip by strip."""
    full, full_out = filled(shape.C), filled(shape.D)
    branch, alone = branch_at(table, k), is_alone(table, k)
    x = branch.x + 4 * b * shape.H * shape.W * shape.C
    norm = norm_before(branch, operands, k, full)
    depth, point = operands.depth + 4 * k * operands.deep, operands.point + 4 * k * operands.wide
    if branch.fresh and not alone:
        normalize(x, norm, at.r, shape)
    strip = 2 * _tile_rows(shape) if branch.kind == TILED else strip_rows(shape)
    for top in range(0, shape.rows, strip):
        rows = min(strip, shape.rows - top)
        count, seen = rows * shape.columns, top * shape.columns
        out = branch.y + 4 * (b * shape.rows * shape.columns + seen) * shape.D
        prepare(out + 4 * count * shape.D, count * shape.D, True)
        # The last block of a row of a depthwise convolution may reach past the row.
        whole = full_out == shape.D and (branch.kind != DEPTHWISE or shape.columns % BLOCK == 0)
        place = out if whole else at.y
        if alone:
            normalized(branch, shape, x, norm, at.d, top, rows)
            _project(branch, shape, place, at.d, at.nothing, point, rows)
        else:
            _convolve(branch, shape, place, at, depth, point, top, rows)
        if not whole:
            narrow(at.y, out, count, full_out, shape.D)
        measure(place, count, seen, full_out, shape.D, mean, square)
