"""One stage of convolutions, forward and backward, by :mod:`diffnas.nets.compiled.convolve`.

A stage is any number of branches, each a rectified map put through a depthwise convolution, or none, and a 1x1
convolution, or through one dense convolution. Float32 on a CPU, with Numba.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from diffnas.nets.compiled import branches
from diffnas.nets.compiled import convolve as compiled
from diffnas.nets.compiled.buffer import Shape, filled
from diffnas.nets.compiled.mix import joined
from diffnas.nets.compiled.vectors import BLOCK, LANES
from diffnas.nets.links import DENSE, DEPTHWISE, PAIRS, Geometry
from diffnas.parallel import in_parallel

TOGETHER = 4
"""Pictures that share sums of the weights' gradients, whatever the number of threads."""

_PLACE = threading.local()


class Normalized(NamedTuple):
    """The batch norm that stands before each branch: arrays ``(K, C)`` both, float64."""

    mean: Any
    rate: Any


class Gradients(NamedTuple):
    """What ``backward`` returns.

    Attributes:
        inputs: the gradients for the inputs where these are positive: of the branches' common input one, or one each.
        weights: for each branch, those for its weights.
        totals: ``(K, C)``: sums of the gradients for the inputs, an array in float64.
        products: ``(K, C)``: those of their products with the input less its mean.
    """

    inputs: list[Tensor]
    weights: list[list[Tensor]]
    totals: Any
    products: Any


class Stage:
    """The branches and their tensors.

    Args:
        geometries: what each branch computes; all have one stride, and results of one size.
        weights: of each branch: the depthwise ``(C, 1, k, k)`` and the 1x1 convolution's ``(D, C, 1, 1)``; the latter
            alone; the even pixels' and the odd ones'; or ``(D, C, k, k)``. Float32.
        inputs: a map for each branch, ``(B, C, H, W)``, float32, channels last; the same object where it is shared by
            all.
        before: the batch norm before the ReLU, if there is one.
    """

    def __init__(
        self,
        geometries: Sequence[Geometry],
        weights: Sequence[Sequence[Tensor]],
        inputs: Sequence[Tensor],
        before: Normalized | None = None,
    ) -> None:
        self.inputs = inputs
        self.weights = [[weight.contiguous() for weight in branch] for branch in weights]
        self.joint = all(x is inputs[0] for x in inputs)
        splits = tuple(
            branch[0].shape[0] if geometry.kind == PAIRS else 0
            for geometry, branch in zip(geometries, weights, strict=True)
        )
        self.D = weights[0][-1].shape[0] + splits[0]
        self.form = _form(tuple(geometries), splits, self.joint, tuple(inputs[0].shape), self.D)
        if before is None:
            self.center, self.rate = self.form.center, self.form.rate
        else:
            self.center, self.rate = self._filled(before.mean), self._filled(before.rate)

    def forward(self) -> tuple[list[Tensor], Any, Any]:
        """The results ``(B, D, H', W')``, and their means and variances: arrays ``(K, D)`` in float64."""
        shape, K = self.form.shape, len(self.inputs)
        size = shape.B, self.D, shape.rows, shape.columns
        results = [torch.empty(size, dtype=torch.float32, memory_format=torch.channels_last) for _ in range(K)]
        table = self._table()
        table[:, _Y] = [result.data_ptr() for result in results]
        means, squares = np.empty((2, K, shape.B, self.D), np.float32)
        packed = self._depthwise(table, back=False), self._pointwise(table, back=False)

        def work(first: int, last: int) -> None:
            memory = workspace(self.form.scratch)
            before = self.center, self.rate, *packed
            compiled.forward(table, shape, *before, means, squares, memory, first, last)

        in_parallel(work, shape.B)
        return results, *joined(means, squares, shape.rows * shape.columns)

    def backward(
        self, results: Sequence[Tensor], grads: Sequence[Tensor], factors: tuple[Any, Any, Any], *, learn: bool = True
    ) -> Gradients:
        """The gradients for the inputs and the weights.

        Args:
            results: what ``forward`` returned.
            grads: what the gradient for each result is made of.
            factors: scale, slope and shift, arrays ``(K, D)`` each: the gradient for a result is then
                ``scale * grad + slope * result + shift``.
            learn: whether those for the weights are wanted; without, they are empty lists.
        """
        shape, K = self.form.shape, len(self.inputs)
        grad_inputs = [torch.empty_like(x) for x in (self.inputs[:1] if self.joint else self.inputs)]
        grad_weights = [[torch.empty_like(weight) for weight in branch if learn] for branch in self.weights]
        table = self._table()
        table[:, _Y] = [result.data_ptr() for result in results]
        table[:, _GRAD] = [grad.data_ptr() for grad in grads]
        table[:, _GRAD_X] = [grad.data_ptr() for grad in grad_inputs]
        if learn:
            table[:, _GRAD_DEPTH:_SPLIT] = self._places(grad_weights)
        depth, turned = self._depthwise(table, back=False), self._depthwise(table, back=True)
        point = self._pointwise(table, back=True)
        groups = (shape.B + TOGETHER - 1) // TOGETHER
        held = zip(_held(groups * depth.size, groups * point.size), (depth, point), strict=True)
        sums = [part.reshape(groups, *like.shape) for part, like in held]
        totals, products = np.zeros((2, K, shape.B, shape.C), np.float32)
        after_norm = np.zeros((3, K, filled(self.D)), np.float32)
        for row, factor in zip(after_norm, factors, strict=True):
            row[:, : self.D] = factor
        before: Any = self.center, self.rate, depth, turned, point, *after_norm

        def work(first: int, last: int) -> None:
            after: Any = *sums, totals, products, learn, workspace(self.form.scratch), first, last
            compiled.backward(table, shape, *before, *after)

        in_parallel(work, groups)
        if learn:
            branches.collect(table, shape, *sums)
        total, product = (part.sum(1, dtype=np.float64) for part in (totals, products))
        return Gradients(grad_inputs, grad_weights, total, product)

    def _table(self) -> Any:
        table = self.form.table.copy()
        table[:, _X] = [x.data_ptr() for x in self.inputs]
        table[:, _DEPTH:_Y] = self._places(self.weights)
        return table

    def _places(self, weights: Sequence[Sequence[Tensor]]) -> list[tuple[int, int, int]]:
        return [_addresses(int(kind), branch) for kind, branch in zip(self.form.table[:, 0], weights, strict=True)]

    def _depthwise(self, table: Any, *, back: bool) -> Any:
        packed = np.empty((len(table), self.form.taps * filled(self.form.shape.C)), np.float32)
        branches.pack_depthwise(table, self.form.shape, packed, back)
        return packed

    def _pointwise(self, table: Any, *, back: bool) -> Any:
        packed = np.empty((len(table), self.form.widest * filled(self.form.shape.C) * filled(self.D)), np.float32)
        branches.pack_pointwise(table, self.form.shape, packed, back)
        return packed

    def _filled(self, rows: Any) -> Any:
        wide = np.zeros((len(rows), filled(rows.shape[1])), np.float32)
        wide[:, : rows.shape[1]] = rows
        return wide


# Columns of the table.
_X, _DEPTH, _Y, _GRAD, _GRAD_X, _GRAD_DEPTH, _SPLIT = (
    branches.Branch._fields.index(name) for name in ("x", "depth", "y", "grad", "grad_x", "grad_depth", "split")
)


class _Form(NamedTuple):
    """What stages of the same branches and sizes have in common; nothing writes into its arrays.

    Attributes:
        shape: the sizes.
        table: the kernels' table without addresses.
        taps: of the largest depthwise kernel.
        widest: how many matrices ``(C, D)`` the other weights of a branch are at most.
        scratch: numbers that a thread needs to work in.
        center: what is taken from the inputs if no batch norm stands before them, ``(K, full)``: nothing.
        rate: what they are multiplied by: one.
    """

    shape: Shape
    table: Any
    taps: int
    widest: int
    scratch: int
    center: Any
    rate: Any


@lru_cache(maxsize=4096)
def _form(
    geometries: tuple[Geometry, ...], splits: tuple[int, ...], joint: bool, size: tuple[int, ...], D: int
) -> _Form:
    B, C, H, W = size
    rows, columns, stride = geometries[0].size(H), geometries[0].size(W), geometries[0].stride
    assert all((each.stride, each.size(H), each.size(W)) == (stride, rows, columns) for each in geometries)
    margin = max(geometry.margin for geometry in geometries)
    shape = Shape(B, H, W, C, rows, columns, D, margin, max(W, columns) + 2 * margin + BLOCK)
    table = np.zeros((len(geometries), len(branches.Branch._fields)), np.int64)
    for k, geometry in enumerate(geometries):
        fresh = k == 0 or not joint
        table[k, :_X] = (*geometry, fresh)
    table[:, _SPLIT] = splits
    full = np.zeros((len(geometries), filled(C)), np.float32)
    return _Form(
        shape=shape,
        table=table,
        taps=max(geometry.kernel**2 for geometry in geometries),
        widest=max({DENSE: each.kernel**2, PAIRS: 2}.get(each.kind, 1) for each in geometries),
        scratch=compiled.scratch_size(shape),
        center=full,
        rate=np.ones_like(full),
    )


def _addresses(kind: int, weights: Sequence[Tensor]) -> tuple[int, int, int]:
    """Where the depthwise weights, the others, and those of the odd pixels are."""
    places = [weight.data_ptr() for weight in weights]
    if kind == DEPTHWISE:
        return places[0], places[1], 0
    return 0, places[0], places[1] if kind == PAIRS else 0


def workspace(size: int) -> Any:
    """Numbers to work in, from an address that is a multiple of 64: this thread's own, which keeps them."""
    (memory,) = _held(size)
    return memory


def _held(*sizes: int) -> list[Any]:
    """Arrays of this thread, which keeps them for the next call: fresh memory takes longer to get than to use."""
    filled_sizes = [filled(size) for size in sizes]
    name, needed = f"arrays_{len(sizes)}", sum(filled_sizes) + LANES
    memory = getattr(_PLACE, name, np.empty(0, np.float32))
    if len(memory) < needed:
        memory = np.empty(needed, np.float32)
        setattr(_PLACE, name, memory)
    at = -memory.ctypes.data // 4 % LANES
    arrays = []
    for size, taken in zip(sizes, filled_sizes, strict=True):
        arrays.append(memory[at : at + size])
        at += taken
    return arrays
