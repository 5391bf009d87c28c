"""The branches of a stage: the addresses of their tensors, and their weights packed for the inner loops, for Numba."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from diffnas.backends.cpu.kernels.address import address_of, floats
from diffnas.backends.cpu.kernels.buffer import Norm, Shape, Table, clear, filled
from diffnas.backends.cpu.kernels.compiler import part
from diffnas.backends.cpu.kernels.winograd import MATRICES, tile_weights
from diffnas.nets.geometry import DENSE, DEPTHWISE, PAIRS, SEPARABLE

TILED = 5
"""One more kind of branch: a dense 3x3 convolution that is computed by tiles."""


class Branch(NamedTuple):
    """A row of the table: one branch, and the addresses of its tensors."""

    kind: int
    kernel: int
    stride: int
    padding: int
    dilation: int
    rectifies: int  # whether a ReLU comes before the convolution
    fresh: int  # whether its input differs from that of the branch before
    x: int
    depth: int  # weights (C, 1, k, k)
    point: int  # weights (D, C) or (D, C, k, k), none for DEPTHWISE; for PAIRS those of the even pixels
    odd: int  # for PAIRS the weights of the odd pixels
    y: int
    grad: int
    grad_x: int
    grad_depth: int
    grad_point: int
    grad_odd: int
    split: int  # for PAIRS how many channels of the result come from the even pixels
    shares: int  # the factor of the gradient for the result, one number for each picture


FRESH = Branch._fields.index("fresh")


class Operands(NamedTuple):
    """The addresses of the operands of K branches, with one row for each branch, and the lengths of some rows.

    An input is normalized as ``(input - center) * rate + added``.

    Attributes:
        center: ``(K, full)``.
        rate: ``(K, full)``.
        added: ``(K, full)``.
        depth: packed depthwise weights, ``(K, deep)``.
        turned: depthwise weights rotated by 180 degrees, for the backward pass, ``(K, deep)``.
        point: packed other weights, ``(K, wide)``; in the backward pass rotated, with inputs and results exchanged.
        deep: numbers in a row of depthwise weights, and of their gradients.
        wide: numbers in a row of the other weights.
    """

    center: int
    rate: int
    added: int
    depth: int
    turned: int
    point: int
    deep: int
    wide: int


class Gradients(NamedTuple):
    """The addresses of the gradients of K branches, and of their coefficients.

    The gradient for a result is ``share * scale * grad + slope * result + shift``, with the ``grad`` of the table and
    the picture's share.

    Attributes:
        scale: ``(K, full_out)``.
        slope: ``(K, full_out)``.
        shift: ``(K, full_out)``.
        depth: gradients for depthwise weights, ``(groups, K, deep)``, written. The pictures are split evenly over the
            groups.
        point: gradients for the other weights, ``(groups, K, learned)``, written.
        learned: numbers in a row of ``point``.
        totals: each picture's sums of the gradient for the input, ``(K, B, C)``.
        products: each picture's sums of that gradient times ``input - center``, ``(K, B, C)``.
    """

    scale: int
    slope: int
    shift: int
    depth: int
    point: int
    learned: int
    totals: int
    products: int


@part
def branch_at(table: Table, k: int) -> Branch:
    """The branch in row k."""
    t = table[k]
    return Branch(
        t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7], t[8], t[9], t[10], t[11], t[12], t[13], t[14], t[15], t[16],
        t[17], t[18],
    )  # fmt: skip


@part
def norm_before(branch: Branch, operands: Operands, k: int, full: int) -> Norm:
    """The batch norm of the input of the branch in row k, of ``full`` channels."""
    at = 4 * k * full
    return Norm(operands.center + at, operands.rate + at, operands.added + at, branch.rectifies != 0)


@part
def slides_by_channel(branch: Branch) -> bool:
    """Whether a branch has a depthwise convolution."""
    return branch.kind == SEPARABLE or branch.kind == DEPTHWISE


@part
def depth_size(branch: Branch, shape: Shape) -> int:
    """How many numbers the packed depthwise weights of a branch have."""
    return branch.kernel**2 * filled(shape.C) if slides_by_channel(branch) else 0


@part
def point_size(branch: Branch, shape: Shape) -> int:
    """How many numbers the gradients of a branch's weights have, without those of depthwise weights."""
    return matrices_of(branch.kind, branch.kernel, True) * filled(shape.C) * filled(shape.D)


@part
def matrices_of(kind: int, kernel: int, backward: bool) -> int:
    """How many matrices ``(C, D)`` the weights of a branch have; with ``backward``, how many their gradients have."""
    if kind == TILED and not backward:
        return MATRICES
    if kind == DEPTHWISE:
        return 0
    return kernel**2 if kind in (TILED, DENSE) else 2 if kind == PAIRS else 1


@part
def pack(table: Table, shape: Shape, operands: Operands, backward: bool) -> None:
    """Pack the weights of all branches for the inner loops.

    Args:
        table: a :class:`Branch` in each row.
        shape: the sizes.
        operands: ``depth`` and ``point`` are written, and ``turned`` in the backward pass. For tiled convolutions,
            ``point`` gets the transformed weights.
        backward: whether this is for the backward pass.
    """
    C, D, full, full_out, K = shape.C, shape.D, filled(shape.C), filled(shape.D), len(table)
    clear(operands.depth, K * operands.deep)
    clear(operands.point, K * operands.wide)
    if backward:
        clear(operands.turned, K * operands.deep)
    for k in range(K):
        branch, depth, point = branch_at(table, k), 4 * k * operands.deep, operands.point + 4 * k * operands.wide
        if slides_by_channel(branch):
            _pack_depthwise(branch.depth, operands.depth + depth, C, branch.kernel**2, False)
            if backward:
                _pack_depthwise(branch.depth, operands.turned + depth, C, branch.kernel**2, True)
        if branch.kind == PAIRS:
            split = branch.split
            _pack_dense(branch.point, point, C, 0, split, 2 * full, full_out, 0, 1, backward)
            _pack_dense(branch.odd, point, C, split, D - split, 2 * full, full_out, full, 1, backward)
        elif branch.kind == TILED:
            taps_alone = np.zeros(9 * full * full_out, np.float32)
            _pack_dense(branch.point, address_of(taps_alone), C, 0, D, full, full_out, 0, 9, backward)
            tile_weights(taps_alone, point, full, full_out)
        elif branch.kind != DEPTHWISE:
            taps = branch.kernel**2 if branch.kind == DENSE else 1
            _pack_dense(branch.point, point, C, 0, D, full, full_out, 0, taps, backward)


@part
def _pack_depthwise(weight: int, out: int, C: int, taps: int, turned: bool) -> None:
    """Pack depthwise weights from ``(C, taps)`` to ``(taps, full)``; with ``turned``, rotate them by 180 degrees."""
    full, w, packed = filled(C), floats(weight, C * taps), floats(out, taps * filled(C))
    for t in range(taps):
        to = (taps - 1 - t if turned else t) * full
        for c in range(C):
            packed[to + c] = w[c * taps + t]


@part
def _pack_dense(
    weight: int, out: int, C: int, first: int, D: int, full: int, full_out: int, at: int, taps: int, backward: bool
) -> None:
    """Pack weights from ``(D, C, taps)`` to ``(taps, full, full_out)``, from row ``at`` and column ``first`` on.

    For the backward pass they are rotated by 180 degrees, and inputs and results are exchanged.
    """
    w, packed = floats(weight, D * C * taps), floats(out, taps * full * full_out)
    for d in range(D):
        for c in range(C):
            for t in range(taps):
                value = w[(d * C + c) * taps + t]
                if backward:
                    packed[((taps - 1 - t) * full_out + first + d) * full + at + c] = value
                else:
                    packed[(t * full + at + c) * full_out + first + d] = value


@part
def collect(table: Table, shape: Shape, deep: int, grads: Gradients, groups: int, first: int, last: int) -> None:
    """Write the gradients of the weights: the sums over the groups, in a fixed order, with the layout of the weights.

    Args:
        table: a :class:`Branch` in each row.
        shape: the sizes.
        deep: numbers in a row of depthwise gradients.
        grads: ``depth`` and ``point``; changed.
        groups: how many groups there are.
        first: the first branch to handle.
        last: one past the last branch to handle.
    """
    C, D, full, full_out, K = shape.C, shape.D, filled(shape.C), filled(shape.D), len(table)
    for k in range(first, last):
        branch = branch_at(table, k)
        depth, point = grads.depth + 4 * k * deep, grads.point + 4 * k * grads.learned
        _add_groups(depth, K * deep, groups, depth_size(branch, shape))
        _add_groups(point, K * grads.learned, groups, point_size(branch, shape))
        if slides_by_channel(branch):
            _unpack_depthwise(branch.grad_depth, depth, C, branch.kernel**2)
        if branch.kind == PAIRS:
            _unpack_dense(branch.grad_point, point, C, 0, branch.split, 2 * full, full_out, 0, 1)
            _unpack_dense(branch.grad_odd, point, C, branch.split, D - branch.split, 2 * full, full_out, full, 1)
        elif branch.kind != DEPTHWISE:
            taps = branch.kernel**2 if branch.kind in (TILED, DENSE) else 1
            _unpack_dense(branch.grad_point, point, C, 0, D, full, full_out, 0, taps)


@part
def _add_groups(first: int, apart: int, groups: int, count: int) -> None:
    """Add the numbers of all other groups to those of the first; groups begin ``apart`` numbers from each other."""
    total = floats(first, count)
    for g in range(1, groups):
        other = floats(first + 4 * g * apart, count)
        for n in range(count):
            total[n] += other[n]


@part
def _unpack_depthwise(out: int, packed: int, C: int, taps: int) -> None:
    """The inverse of ``_pack_depthwise``."""
    full, w, p = filled(C), floats(out, C * taps), floats(packed, taps * filled(C))
    for t in range(taps):
        for c in range(C):
            w[c * taps + t] = p[t * full + c]


@part
def _unpack_dense(
    out: int, packed: int, C: int, first: int, D: int, full: int, full_out: int, at: int, taps: int
) -> None:
    """The inverse of ``_pack_dense``."""
    w, p = floats(out, D * C * taps), floats(packed, taps * full * full_out)
    for d in range(D):
        for c in range(C):
            for t in range(taps):
                w[(d * C + c) * taps + t] = p[(t * full + at + c) * full_out + first + d]
