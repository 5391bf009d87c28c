"""The transforms of Winograd's convolutions by tiles, for vectors, in Numba."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types

from diffnas.backends.cpu.kernels import llvm
from diffnas.backends.cpu.kernels.llvm import LANES

TILE, RESULTS, SPREAD, TAPS, FOLDED = range(5)
"""The names of the transforms; each is the index of its matrix in ``_TRANSFORMS``."""

_RESULTS = (1, 1, 1, 0), (0, 1, -1, -1)  # from products to 2x2 pixels
_TAPS = (1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1)  # for 3x3 weights
_TRANSFORMS: tuple[tuple[tuple[float, ...], ...], ...] = (
    ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1)),  # for 4x4 pixels
    _RESULTS,
    tuple(zip(*_RESULTS, strict=True)),
    _TAPS,
    tuple(zip(*_TAPS, strict=True)),
)


@llvm.instruction
def transform(
    typing_context: Any, out: Any, out_step: Any, out_row: Any, x: Any, x_step: Any, x_row: Any, which: Any, add: Any
) -> Any:  # fmt: skip
    """Transform a square of vectors by a matrix M: ``out = M x M^T``, or ``out += M x M^T`` with ``add``.

    A ``step`` is the distance from one column to the next, a ``row`` from one row to the next, in numbers. ``which``
    (TILE, RESULTS, SPREAD, TAPS or FOLDED) and ``add`` must be constants.
    """
    matrix, adds = _TRANSFORMS[which.literal_value], add.literal_value
    before = len(matrix[0])

    def emit(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        out, out_step, out_row, x, x_step, x_row, *_ = arguments

        def place(row: Any, step: Any, i: int, j: int) -> Any:
            return b.add(b.mul(row, llvm.integer(i)), b.mul(step, llvm.integer(j)))

        square = [[llvm.read(b, x, place(x_row, x_step, i, j)) for j in range(before)] for i in range(before)]
        down = [[_weighed(b, factors, column) for column in zip(*square, strict=True)] for factors in matrix]
        for i, row in enumerate(down):
            for j, factors in enumerate(matrix):
                value, at = _weighed(b, factors, row), place(out_row, out_step, i, j)
                llvm.write(b, b.fadd(value, llvm.read(b, out, at)) if adds else value, out, at)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6, which, add), emit


def _weighed(b: Any, factors: Sequence[float], values: Sequence[Any]) -> Any:
    """The sum of vectors, each times its factor: 1, -1, 1/2, -1/2 or 0."""
    half = ir.Constant(llvm.VECTOR, [0.5] * LANES)
    inner = set(map(abs, factors)) <= {0, 0.5}  # then the whole sum is halved at the end
    total = None
    for factor, value in sorted(zip(factors, values, strict=True), key=lambda pair: -pair[0]):
        if factor == 0:
            continue
        if abs(factor) == 0.5 and not inner:
            value = b.fmul(value, half)
        if total is None:
            total = value if factor > 0 else b.fsub(ir.Constant(llvm.VECTOR, None), value)
        else:
            total = b.fadd(total, value) if factor > 0 else b.fsub(total, value)
    return b.fmul(total, half) if inner else total
