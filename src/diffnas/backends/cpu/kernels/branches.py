"""The branches of a stage: where their tensors are, and their weights as the inner loops read them, for Numba."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from diffnas.backends.cpu.kernels.address import floats
from diffnas.backends.cpu.kernels.buffer import Floats, Shape, Table, clear, filled
from diffnas.backends.cpu.kernels.vectors import compiled
from diffnas.backends.cpu.kernels.winograd import MATRICES, tile_weights
from diffnas.nets.geometry import DENSE, DEPTHWISE, PAIRS

TILED = 4
"""One more kind of branch: a dense convolution of 3x3 taps, taken by tiles."""


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
def branch_at(table: Table, k: int) -> Branch:
    """The branch in row k."""
    t = table[k]
    return Branch(
        t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7], t[8], t[9], t[10], t[11], t[12], t[13], t[14], t[15], t[16]
    )  # fmt: skip


@compiled
def depth_size(branch: Branch, shape: Shape) -> int:
    """How many numbers the packed weights of a branch's depthwise convolution are."""
    return branch.kernel**2 * filled(shape.C) if branch.kind == DEPTHWISE else 0


@compiled
def point_size(branch: Branch, shape: Shape) -> int:
    """How many numbers the gradients of the others are."""
    return matrices_of(branch.kind, branch.kernel, True) * filled(shape.C) * filled(shape.D)


@compiled
def matrices_of(kind: int, kernel: int, back: bool) -> int:
    """How many matrices, channels by results, the weights of a branch are, or on the way back their gradients."""
    if kind == TILED and not back:
        return MATRICES
    return kernel**2 if kind in (TILED, DENSE) else 2 if kind == PAIRS else 1


@compiled
def pack(table: Table, shape: Shape, depth: Floats, turned: Floats, point: Floats, back: bool) -> None:
    """Lay the weights of all branches out as the inner loops read them.

    Args:
        table: a :class:`Branch` a row.
        shape: the sizes.
        depth: ``(K, taps * full)``, written: those of depthwise convolutions.
        turned: the same turned by half a turn, for the gradient of the input; written on the way back only.
        point: ``(K, taps * before * after)``, written: the others; on the way back turned by half a turn, in and out
            changed over; of tiled convolutions what their products take.
        back: whether this is the way back.
    """
    C, D, full, full_out = shape.C, shape.D, filled(shape.C), filled(shape.D)
    tiled = False
    for k in range(len(table)):
        tiled = tiled or table[k, 0] == TILED
    taps_alone = np.zeros(9 * full * full_out if tiled else 0, np.float32)
    clear(depth.ctypes.data, depth.size)
    clear(point.ctypes.data, point.size)
    if back:
        clear(turned.ctypes.data, turned.size)
    for k in range(len(table)):
        branch = branch_at(table, k)
        if branch.kind == DEPTHWISE:
            _pack_depthwise(branch.depth, depth[k], C, branch.kernel**2, False)
            if back:
                _pack_depthwise(branch.depth, turned[k], C, branch.kernel**2, True)
        if branch.kind == PAIRS:
            split = branch.split
            _pack_dense(branch.point, point[k], C, 0, split, 2 * full, full_out, 0, 1, back)
            _pack_dense(branch.odd, point[k], C, split, D - split, 2 * full, full_out, full, 1, back)
        elif branch.kind == TILED:
            _pack_dense(branch.point, taps_alone, C, 0, D, full, full_out, 0, 9, back)
            tile_weights(taps_alone.ctypes.data, point[k].ctypes.data, full, full_out)
        else:
            taps = branch.kernel**2 if branch.kind == DENSE else 1
            _pack_dense(branch.point, point[k], C, 0, D, full, full_out, 0, taps, back)


@compiled
def _pack_depthwise(weight: int, out: Floats, C: int, taps: int, turned: bool) -> None:
    """``(C, taps)`` to ``(taps, full)``, by half a turn if asked."""
    full, w = filled(C), floats(weight, C * taps)
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
def collect(table: Table, shape: Shape, grad_depth: Floats, grad_point: Floats, first: int, last: int) -> None:
    """Write the weights' gradients: the sums over the groups, in one order, laid out as the weights.

    Args:
        table: a :class:`Branch` a row.
        shape: the sizes.
        grad_depth: ``(groups, K, taps * full)``; changed.
        grad_point: ``(groups, K, taps * before * after)``; changed.
        first: the first branch to handle.
        last: one past the last branch to handle.
    """
    C, D, full, full_out = shape.C, shape.D, filled(shape.C), filled(shape.D)
    for k in range(first, last):
        branch = branch_at(table, k)
        deep, wide = depth_size(branch, shape), point_size(branch, shape)
        for g in range(1, len(grad_depth)):
            for n in range(deep):
                grad_depth[0, k, n] += grad_depth[g, k, n]
            for n in range(wide):
                grad_point[0, k, n] += grad_point[g, k, n]
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
            taps = branch.kernel**2 if branch.kind in (TILED, DENSE) else 1
            _unpack(branch.grad_point, grad_point[0, k], C, 0, D, full, full_out, 0, taps)


@compiled
def _unpack(out: int, packed: Floats, C: int, first: int, D: int, full: int, full_out: int, at: int, taps: int) -> None:
    """The inverse of ``_pack_dense``."""
    w = floats(out, D * C * taps)
    for d in range(D):
        for c in range(C):
            for t in range(taps):
                w[(d * C + c) * taps + t] = packed[(t * full + at + c) * full_out + first + d]
