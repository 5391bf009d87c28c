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
from diffnas.nets.links import DENSE, DEPTHWISE, PAIRS, Geometry
from diffnas.parallel import in_parallel

TOGETHER = 4
"""Pictures that share sums of the weights' gradients, whatever the number of threads."""

_PLACE = threading.local()


class Normalized(NamedTuple):
    """The batch norm that stands before each branch: ``(K, C)`` both, float64."""

    mean: Tensor
    rate: Tensor


class Gradients(NamedTuple):
    """What ``backward`` returns.

    Attributes:
        inputs: the gradients for the inputs where these are positive: of the branches' common input one, or one each.
        weights: for each branch, those for its weights.
        totals: ``(K, C)``: sums of the gradients for the inputs, float64.
        products: ``(K, C)``: those of their products with the input less its mean.
    """

    inputs: list[Tensor]
    weights: list[list[Tensor]]
    totals: Tensor
    products: Tensor


class Stage:
    """The branches and their tensors.

    Args:
        geometries: what each branch computes; all have one stride, and results of one size.
        weights: of each branch: the depthwise ``(C, 1, k, k)`` and the 1x1 convolution's ``(D, C, 1, 1)``; the latter
            alone; the even pixels' and the odd ones'; or ``(D, C, k, k)``.
        inputs: a map for each branch, ``(B, C, H, W)``, channels last; the same object where it is shared by all.
        before: the batch norm before the ReLU, if there is one.
    """

    def __init__(
        self,
        geometries: Sequence[Geometry],
        weights: Sequence[Sequence[Tensor]],
        inputs: Sequence[Tensor],
        before: Normalized | None = None,
    ) -> None:
        self.geometries, self.inputs = geometries, inputs
        self.weights = [[weight.contiguous() for weight in branch] for branch in weights]
        B, C, H, W = inputs[0].shape
        self.joint = all(x is inputs[0] for x in inputs)
        self.D = len(weights[0][-1]) + (len(weights[0][0]) if geometries[0].kind == PAIRS else 0)
        margin = max(geometry.margin for geometry in geometries)
        rows, columns = geometries[0].size(H), geometries[0].size(W)
        assert all(
            (each.stride, each.size(H), each.size(W)) == (geometries[0].stride, rows, columns) for each in geometries
        )
        assert all(
            tensor.dtype == torch.float32 for tensor in (*inputs, *(one for branch in weights for one in branch))
        )
        self.shape = Shape(B, H, W, C, rows, columns, self.D, margin, W + 2 * margin + BLOCK)
        self.full, self.full_out = filled(C), filled(self.D)
        center, rate = np.zeros((2, len(geometries), self.full), np.float32)
        if before is None:
            rate[:] = 1
        else:
            center[:, :C], rate[:, :C] = before.mean.numpy(), before.rate.numpy()
        self.center, self.rate = center, rate

    def forward(self) -> tuple[list[Tensor], Tensor, Tensor]:
        """The results ``(B, D, H', W')``, and their means and variances, ``(K, D)`` in float64."""
        B, K, shape = self.shape.B, len(self.geometries), self.shape
        size = B, self.D, shape.rows, shape.columns
        results = [torch.empty(size, dtype=torch.float32, memory_format=torch.channels_last) for _ in range(K)]
        table = self._table(results=results)
        means, squares = np.empty((2, K, B, self.D), np.float32)
        packed = self._depthwise(table, back=False), self._pointwise(table, back=False)

        def work(first: int, last: int) -> None:
            memory = workspace(compiled.scratch_size(shape))
            before = self.center, self.rate, *packed
            compiled.forward(table, shape, *before, means, squares, memory, first, last)

        in_parallel(work, B)
        mean, variance = joined(means, squares, shape.rows * shape.columns)
        return results, torch.from_numpy(mean), torch.from_numpy(variance)

    def backward(
        self, results: Sequence[Tensor], grads: Sequence[Tensor], factors: tuple[Tensor, Tensor, Tensor]
    ) -> Gradients:
        """The gradients for the inputs and the weights.

        Args:
            results: what ``forward`` returned.
            grads: what the gradient for each result is made of.
            factors: scale, slope and shift, ``(K, D)`` each: the gradient for a result is then
                ``scale * grad + slope * result + shift``.
        """
        B, K, shape = self.shape.B, len(self.geometries), self.shape
        grad_inputs = [torch.empty_like(x) for x in (self.inputs[:1] if self.joint else self.inputs)]
        grad_weights = [[torch.empty_like(weight) for weight in branch] for branch in self.weights]
        table = self._table(results, grads, grad_inputs, grad_weights)
        depth, turned = self._depthwise(table, back=False), self._depthwise(table, back=True)
        point = self._pointwise(table, back=True)
        groups = (B + TOGETHER - 1) // TOGETHER
        held = zip(_held(groups * depth.size, groups * point.size), (depth, point), strict=True)
        sums = [part.reshape(groups, *like.shape) for part, like in held]
        totals, products = np.zeros((2, K, B, shape.C), np.float32)
        before: Any = self.center, self.rate, depth, turned, point, *self._filled_factors(factors)

        def work(first: int, last: int) -> None:
            after: Any = *sums, totals, products, workspace(compiled.scratch_size(shape)), first, last
            compiled.backward(table, shape, *before, *after)

        in_parallel(work, groups)
        branches.collect(table, shape, *sums)
        total, product = (torch.from_numpy(part.sum(1, dtype=np.float64)) for part in (totals, products))
        return Gradients(grad_inputs, grad_weights, total, product)

    def _table(
        self,
        results: Sequence[Tensor],
        grads: Sequence[Tensor] = (),
        grad_inputs: Sequence[Tensor] = (),
        grad_weights: Sequence[Sequence[Tensor]] = (),
    ) -> Any:
        rows = []
        for k, (geometry, weights) in enumerate(zip(self.geometries, self.weights, strict=True)):
            fresh = k == 0 or not self.joint
            grad_x = grad_inputs[0 if self.joint else k].data_ptr() if grad_inputs else 0
            rows.append(
                (
                    *geometry,
                    fresh,
                    self.inputs[k].data_ptr(),
                    *_addresses(geometry, weights),
                    results[k].data_ptr(),
                    grads[k].data_ptr() if grads else 0,
                    grad_x,
                    *_addresses(geometry, grad_weights[k] if grad_weights else ()),
                    len(weights[0]) if geometry.kind == PAIRS else 0,
                )
            )
        return np.array(rows, np.int64)

    def _depthwise(self, table: Any, *, back: bool) -> Any:
        taps = max(geometry.kernel**2 for geometry in self.geometries)
        packed = np.empty((len(table), taps * self.full), np.float32)
        branches.pack_depthwise(table, self.shape, packed, back)
        return packed

    def _pointwise(self, table: Any, *, back: bool) -> Any:
        widest = max(
            geometry.kernel**2 if geometry.kind == DENSE else 2 if geometry.kind == PAIRS else 1
            for geometry in self.geometries
        )
        packed = np.empty((len(table), widest * self.full * self.full_out), np.float32)
        branches.pack_pointwise(table, self.shape, packed, back)
        return packed

    def _filled_factors(self, factors: tuple[Tensor, Tensor, Tensor]) -> Any:
        rows = np.zeros((3, len(self.geometries), self.full_out), np.float32)
        for row, factor in zip(rows, factors, strict=True):
            row[:, : self.D] = factor.numpy()
        return rows


def _addresses(geometry: Geometry, weights: Sequence[Tensor]) -> tuple[int, int, int]:
    """Where the depthwise weights, the others, and those of the odd pixels are."""
    places = [weight.data_ptr() for weight in weights]
    if not places:
        return 0, 0, 0
    if geometry.kind == DEPTHWISE:
        return places[0], places[1], 0
    return 0, places[0], places[1] if geometry.kind == PAIRS else 0


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
