"""One stage of convolutions, forward and backward, by :mod:`diffnas.nets.compiled.convolve`.

A stage is any number of branches, each a rectified map put through a depthwise convolution, or none, and a 1x1
convolution, or through one dense convolution. Float32 on a CPU, with Numba.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from diffnas.nets.compiled import branches
from diffnas.nets.compiled import convolve as compiled
from diffnas.nets.compiled.buffer import Shape, filled
from diffnas.nets.compiled.mix import joined
from diffnas.nets.compiled.vectors import BLOCK, LANES
from diffnas.nets.links import DENSE, DEPTHWISE, PAIRS, Geometry, Link
from diffnas.parallel import in_parallel

TOGETHER = 4
"""Pictures that share sums of the weights' gradients, whatever the number of threads."""

_PLACE, _NOTHING = threading.local(), np.empty(0, np.float32)


class Normalized(NamedTuple):
    """The batch norm that stands before each branch: arrays ``(K, C)`` both, float64."""

    mean: Any
    rate: Any


class Gradients(NamedTuple):
    """What ``backward`` returns.

    Attributes:
        inputs: the gradients for the inputs where these are positive.
        weights: those for the weights, in the order of ``Layout.owned``.
        totals: ``(K, C)``: sums of the gradients for the inputs, an array in float64.
        products: ``(K, C)``: those of their products with the input less its mean.
    """

    inputs: list[Tensor]
    weights: list[Tensor]
    totals: Any
    products: Any


class Layout:
    """Branches that are computed together, and where in a list their weights stand.

    Args:
        links: what each branch computes; all have one stride, and results of one size.
        starts: where in the list the weights of each begin.
        joint: whether they have one input, or one each.
    """

    def __init__(self, links: Sequence[Link], starts: Sequence[int], *, joint: bool) -> None:
        self.geometries = [link.geometry for link in links]
        self.splits = [link.modules[0].out_channels if link.geometry.kind == PAIRS else 0 for link in links]
        self.D, self.joint = links[0].channels, joint
        self.owned = [start + n for link, start in zip(links, starts, strict=True) for n in range(len(link.modules))]
        self.reads, self.writes = _places(links)
        self._forms: dict[tuple[int, ...], _Form] = {}

    def form(self, size: tuple[int, ...]) -> _Form:
        """What is known for inputs of a size, ``(B, C, H, W)``."""
        if size not in self._forms:
            self._forms[size] = _form(self, size)
        return self._forms[size]


class Stage:
    """Branches with their tensors.

    Args:
        layout: the branches.
        weights: a list that has theirs: of each the depthwise ``(C, 1, k, k)`` and the 1x1 convolution's
            ``(D, C, 1, 1)``; the latter alone; the even pixels' and the odd ones'; or ``(D, C, k, k)``. Float32.
        inputs: their maps, ``(B, C, H, W)``, float32, channels last: the one, or one each.
        before: the batch norm before the ReLU, if there is one.
    """

    def __init__(
        self, layout: Layout, weights: Sequence[Tensor], inputs: Sequence[Tensor], before: Normalized | None = None
    ) -> None:
        self.layout, self.inputs = layout, inputs
        self.weights = [weights[n].contiguous() for n in layout.owned]
        self.form = layout.form(tuple(inputs[0].shape))
        if before is None:
            self.center, self.rate = self.form.center, self.form.rate
        else:
            self.center, self.rate = _filled(before.mean, self.form.full), _filled(before.rate, self.form.full)

    def forward(self) -> tuple[list[Tensor], Any, Any]:
        """The results ``(B, D, H', W')``, and their means and variances: arrays ``(K, D)`` in float64."""
        shape, K = self.form.shape, len(self.form.table)
        size = shape.B, shape.D, shape.rows, shape.columns
        results = [torch.empty(size, dtype=torch.float32, memory_format=torch.channels_last) for _ in range(K)]
        table = self._table(results)
        means, squares = np.empty((2, K, shape.B, shape.D), np.float32)
        depth, _, point = self._packed(table, back=False)

        def work(first: int, last: int) -> None:
            memory = workspace(self.form.scratch)
            compiled.forward(table, shape, self.center, self.rate, depth, point, means, squares, memory, first, last)

        in_parallel(work, shape.B)
        return results, *joined(means, squares, shape.rows * shape.columns)

    def backward(
        self, results: Sequence[Tensor], grads: Sequence[Tensor], factors: Any, *, learn: bool = True
    ) -> Gradients:
        """The gradients for the inputs and the weights.

        Args:
            results: what ``forward`` returned.
            grads: what the gradient for each result is made of.
            factors: of each branch a scale, a slope and a shift, an array ``(K, 3, D)``: the gradient for a result is
                then ``scale * grad + slope * result + shift``.
            learn: whether those for the weights are wanted; without, there are none.
        """
        form, shape, K = self.form, self.form.shape, len(self.form.table)
        grad_inputs = [torch.empty_like(x) for x in self.inputs]
        grad_weights = [torch.empty_like(weight) for weight in self.weights if learn]
        table = self._table(results)
        written = [grad.data_ptr() for grad in (*grads, *self._of_each(grad_inputs), *grad_weights)]
        table.put(self.layout.writes[: len(written)], written)
        depth, turned, point = self._packed(table, back=True)
        groups = groups_of(shape.B)
        sizes = depth.shape[1], form.learned * form.full * form.full_out
        sums = [
            held(name, groups * K * size).reshape(groups, K, size)
            for name, size in zip(("grad_depth", "grad_point"), sizes, strict=True)
        ]
        totals, products = moments = np.zeros((2, K, shape.B, shape.C), np.float32)
        after_norm = _filled(factors.transpose(1, 0, 2), form.full_out)
        before: Any = self.center, self.rate, depth, turned, point, *after_norm

        def work(first: int, last: int) -> None:
            after: Any = *sums, totals, products, learn, workspace(self.form.scratch), first, last
            compiled.backward(table, shape, *before, *after)

        in_parallel(work, groups)
        if learn:
            grad_depth, grad_point = sums
            in_parallel(lambda first, last: branches.collect(table, shape, grad_depth, grad_point, first, last), K)
        return Gradients(grad_inputs, grad_weights, *moments.sum(2, dtype=np.float64))

    def _table(self, results: Sequence[Tensor]) -> Any:
        table = self.form.table.copy()
        table.put(self.layout.reads, [x.data_ptr() for x in (*self._of_each(self.inputs), *results, *self.weights)])
        return table

    def _of_each(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """For each branch its own of the inputs, or of what has their shapes."""
        return [*inputs] * len(self.form.table) if self.layout.joint else [*inputs]

    def _packed(self, table: Any, *, back: bool) -> tuple[Any, Any, Any]:
        """The weights as the kernels read them: depthwise, the same turned, which only the way back has, and others."""
        form, K = self.form, len(table)
        depth = np.empty((K, form.taps * form.full), np.float32)
        turned = np.empty_like(depth) if back else depth
        point = np.empty((K, form.widest * form.full * form.full_out), np.float32)
        branches.pack(table, form.shape, depth, turned, point, back)
        return depth, turned, point


def groups_of(pictures: int) -> int:
    """Into how many groups the pictures of a batch are split for the weights' gradients."""
    return (pictures + TOGETHER - 1) // TOGETHER


def _filled(rows: Any, full: int) -> Any:
    """Rows in float32, without gaps, filled up with zeros to so many numbers."""
    if rows.shape[-1] == full:
        return rows.astype(np.float32, order="C")
    wide = np.zeros((*rows.shape[:-1], full), np.float32)
    wide[..., : rows.shape[-1]] = rows
    return wide


COLUMNS = len(branches.Branch._fields)
"""Columns of the table."""
_X, _DEPTH, _Y, _GRAD, _GRAD_X, _GRAD_DEPTH, _SPLIT = (
    branches.Branch._fields.index(name) for name in ("x", "depth", "y", "grad", "grad_x", "grad_depth", "split")
)
ADDRESSES = slice(_X, _SPLIT)
"""Those that have addresses."""


class _Form(NamedTuple):
    """What stages of the same branches and sizes have in common; nothing writes into its arrays.

    Attributes:
        shape: the sizes.
        full: channels in buffers.
        full_out: those of results.
        table: the kernels' table without addresses.
        taps: of the largest depthwise kernel.
        widest: how many matrices ``(C, D)`` the other weights of a branch are at most.
        learned: how many their gradients are.
        scratch: numbers that a thread needs to work in.
        center: what is taken from the inputs if no batch norm stands before them, ``(K, full)``: nothing.
        rate: what they are multiplied by: one.
    """

    shape: Shape
    full: int
    full_out: int
    table: Any
    taps: int
    widest: int
    learned: int
    scratch: int
    center: Any
    rate: Any


def _form(layout: Layout, size: tuple[int, ...]) -> _Form:
    (B, C, H, W), geometries = size, layout.geometries
    rows, columns, stride = geometries[0].size(H), geometries[0].size(W), geometries[0].stride
    assert all((each.stride, each.size(H), each.size(W)) == (stride, rows, columns) for each in geometries)
    margin = max(geometry.margin for geometry in geometries)
    shape = Shape(B, H, W, C, rows, columns, layout.D, margin, max(W, columns) + 2 * margin + BLOCK)
    table = np.zeros((len(geometries), COLUMNS), np.int64)
    for k, geometry in enumerate(geometries):
        fresh = k == 0 or not layout.joint
        kind = branches.TILED if _is_tiled(geometry, shape) else geometry.kind
        table[k, :_X] = (kind, *geometry[1:], fresh)
    table[:, _SPLIT] = layout.splits
    full = filled(C)
    nothing = np.zeros((len(geometries), full), np.float32)
    return _Form(
        shape=shape,
        full=full,
        full_out=filled(layout.D),
        table=table,
        taps=max(geometry.kernel**2 for geometry in geometries),
        widest=max(branches.matrices_of(kind, kernel, False) for kind, kernel in table[:, :2]),
        learned=max(branches.matrices_of(kind, kernel, True) for kind, kernel in table[:, :2]),
        scratch=compiled.scratch_size(shape, int((table[:, 0] == branches.TILED).sum())),
        center=nothing,
        rate=np.ones_like(nothing),
    )


def _is_tiled(geometry: Geometry, shape: Shape) -> bool:
    """Whether a convolution is taken by tiles: with fewer channels that is no faster, and rounds more."""
    even = shape.rows % 2 == shape.columns % 2 == 0
    return geometry == Geometry(DENSE, 3, 1, 1, 1) and even and min(shape.C, shape.D) >= 16


def _places(links: Sequence[Link]) -> tuple[list[int], list[int]]:
    """Where in the table addresses stand, counted through its rows: those of inputs, results and weights, as the
    weights are owned; and those of the gradients for results, inputs and weights."""
    rows = range(0, len(links) * COLUMNS, COLUMNS)
    weights: list[int] = []
    for row, link in zip(rows, links, strict=True):
        first = 0 if link.geometry.kind == DEPTHWISE else 1  # of depthwise weights, the others, the odd pixels'
        weights += range(row + first, row + first + len(link.modules))
    reads = [*(row + _X for row in rows), *(row + _Y for row in rows), *(_DEPTH + at for at in weights)]
    writes = [*(row + _GRAD for row in rows), *(row + _GRAD_X for row in rows), *(_GRAD_DEPTH + at for at in weights)]
    return reads, writes


def workspace(size: int) -> Any:
    """Numbers to work in, from an address that is a multiple of a vector: this thread's own, which keeps them."""
    return held("workspace", size)


def held(name: str, size: int) -> Any:
    """An array of this thread, which keeps it for the next call: fresh memory takes longer to get than to use."""
    memory = getattr(_PLACE, name, _NOTHING)
    if len(memory) < size:
        memory = np.empty(size + LANES, np.float32)
        memory = memory[-memory.ctypes.data // 4 % LANES :]
        setattr(_PLACE, name, memory)
    return memory[:size]
