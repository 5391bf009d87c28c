"""The weight gradient of a depthwise convolution on a CPU, compiled by Numba.

Import this module only where it is used: it needs Numba, an optional dependency, and compiles for some seconds
at the first call on a machine; the result is kept in Numba's cache.

With the channels last, a picture row is one contiguous vector of ``W * C`` numbers, and a kernel tap is an
offset into it. Sixteen neighboring numbers (lanes) are handled at once, whatever the number of channels, with
one vector of sums for each tap of a kernel row; the sums are folded onto the channels at the end. LLVM cuts
sixteen lanes into what the machine has: one register of AVX-512, two of AVX2, four of NEON.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

LANES = 16

# Functions that come without types.
_in_register: Any = cgutils.alloca_once_value
_loop: Any = cgutils.for_range

Array = NDArray[np.float32]
Function = TypeVar("Function", bound=Callable[..., Any])


def _compiled(function: Function) -> Function:
    # "contract" allows a fused multiply-add, and nothing that would change the order of a sum.
    compile_with: dict[str, Any] = {"nogil": True, "fastmath": {"contract"}, "error_model": "numpy"}
    try:
        return cast(Function, njit(cache=True, **compile_with)(function))
    except RuntimeError:  # neither the package's folder nor the user's cache can be written to
        return cast(Function, njit(**compile_with)(function))


def _row_product(taps: int) -> Any:
    """An instruction: add to ``taps`` vectors of sums a column of x, shifted by each tap, times one of grad.

    Its arguments are flat arrays and where to start in each: sums; x, with the distance between two rows;
    the shifts of the taps; grad, with the distance between two rows; and the number of rows.
    """

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums, sums_at, x, x_at, x_pitch, shifts, shifts_at, grad, grad_at, grad_pitch, rows = arguments
        vector = ir.VectorType(ir.FloatType(), LANES)

        def data(position: int, value: Any) -> Any:
            return context.make_array(signature.args[position])(context, builder, value).data

        def address(base: Any, *terms: Any) -> Any:
            for term in terms:
                base = builder.gep(base, [term])
            return builder.bitcast(base, vector.as_pointer())

        def constant(number: int) -> Any:
            return ir.Constant(ir.IntType(64), number)

        sums, x, shifts, grad = data(0, sums), data(2, x), data(5, shifts), data(7, grad)
        shift = [builder.load(builder.gep(builder.gep(shifts, [shifts_at]), [constant(t)])) for t in range(taps)]
        places = [address(sums, sums_at, constant(t * LANES)) for t in range(taps)]
        totals = [_in_register(builder, builder.load(place, align=4)) for place in places]
        with _loop(builder, rows) as loop:
            start = builder.add(x_at, builder.mul(loop.index, x_pitch))
            row = builder.load(address(grad, grad_at, builder.mul(loop.index, grad_pitch)), align=4)
            for t, total in enumerate(totals):
                shifted = builder.load(address(x, start, shift[t]), align=4)
                product = builder.fmul(shifted, row, flags=("contract",))
                builder.store(builder.fadd(builder.load(total), product, flags=("contract",)), total)
        for place, total in zip(places, totals, strict=True):
            builder.store(builder.load(total), place, align=4)
        return context.get_dummy_value()

    def row_product(
        typing_context: Any, sums: Any, sums_at: Any, x: Any, x_at: Any, x_pitch: Any, shifts: Any, shifts_at: Any,
        grad: Any, grad_at: Any, grad_pitch: Any, rows: Any,
    ) -> Any:  # fmt: skip
        n = types.int64
        return types.void(sums, n, x, n, n, shifts, n, grad, n, n, n), emit

    return intrinsic(row_product)


_row_of_1, _row_of_3, _row_of_5 = _row_product(1), _row_product(3), _row_product(5)


@_compiled
def weight_grad(
    x: Array, grad: Array, by_picture: Array, first: int, last: int, stride: int, padding: int, dilation: int
) -> None:
    """Write the weight gradient of each picture from ``first`` up to ``last``.

    Args:
        x: pictures, ``(B, H, W, C)``, contiguous.
        grad: the gradient for the convolution's result, ``(B, H', W', C)``, contiguous.
        by_picture: the result, ``(B, k, k, C)``; its sum over the pictures is the gradient for the weight.
        first: the first picture to handle.
        last: one past the last picture to handle.
        stride: as in the convolution.
        padding: as in the convolution.
        dilation: as in the convolution.
    """
    _, H, W, C = x.shape
    rows, columns = grad.shape[1:3]
    k = by_picture.shape[1]
    # Columns a stride apart must be neighbors, so a padded row is dealt out into `stride` planes.
    plane = (W + 2 * padding + stride - 1) // stride
    pitch = stride * plane * C
    padded = np.zeros((H + 2 * padding) * pitch + LANES, np.float32)
    shifts = np.empty(k, np.int64)
    for t in range(k):
        shifts[t] = ((t * dilation % stride) * plane + t * dilation // stride) * C
    blocks = (columns * C + LANES - 1) // LANES
    # Lanes past the end of a row count nothing, since grad is 0 there. The extra block keeps rows from lying
    # a power of two apart, where they would fall into the same few lines of the cache.
    width = (blocks + 1) * LANES
    wide_grad = np.zeros(rows * width, np.float32)
    period = C // math.gcd(C, LANES)  # after so many blocks, a lane holds the same channel again
    sums = np.empty(period * k * k * LANES, np.float32)
    for picture in range(first, last):
        _pad(x[picture], padded, padding, stride, plane)
        _widen(grad[picture], wide_grad, width)
        sums[:] = 0
        for block in range(blocks):
            for i in range(k):
                to = (block % period * k + i) * k * LANES
                j = block * LANES
                at = i * dilation * pitch + j
                if k == 5:
                    _row_of_5(sums, to, padded, at, stride * pitch, shifts, 0, wide_grad, j, width, rows)
                elif k == 3:
                    _row_of_3(sums, to, padded, at, stride * pitch, shifts, 0, wide_grad, j, width, rows)
                else:
                    for t in range(k):
                        to_t = to + t * LANES
                        _row_of_1(sums, to_t, padded, at, stride * pitch, shifts, t, wide_grad, j, width, rows)
        _fold(sums, by_picture[picture])


# Unsigned indices below spare the test for a negative index, which would keep the loops from being vectorized.


@_compiled
def _pad(image: Array, padded: Array, padding: int, stride: int, plane: int) -> None:
    """Copy an image, (H, W, C), into padded rows whose columns are dealt out into planes."""
    H, W, C = image.shape
    flat = image.reshape(-1)
    for h in range(H):
        for column in range(stride):
            source = np.uintp((h * W + column) * C)
            shifted = column + padding
            target = np.uintp((((h + padding) * stride + shifted % stride) * plane + shifted // stride) * C)
            if stride == 1:
                for i in range(np.uintp(W * C)):
                    padded[target + i] = flat[source + i]
                continue
            for _ in range(column, W, stride):
                for c in range(np.uintp(C)):
                    padded[target + c] = flat[source + c]
                source += np.uintp(stride * C)
                target += np.uintp(C)


@_compiled
def _widen(image: Array, wide: Array, width: int) -> None:
    """Copy the rows of an image, (H, W, C), so that they start ``width`` apart."""
    H, W, C = image.shape
    flat = image.reshape(-1)
    for h in range(H):
        source, target = np.uintp(h * W * C), np.uintp(h * width)
        for i in range(np.uintp(W * C)):
            wide[target + i] = flat[source + i]


@_compiled
def _fold(sums: Array, total: Array) -> None:
    """Add the lanes of each tap, (period, k, k, LANES), up by channel, (k, k, C)."""
    k, _, C = total.shape
    total[:] = 0
    start, channel = 0, 0  # the channel of a block's first lane; a division for each number would take longer
    for _ in range(len(sums) // (k * k * LANES)):
        for i in range(k):
            for j in range(k):
                c = channel
                for lane in range(LANES):
                    total[i, j, c] += sums[start + lane]
                    c = c + 1 if c + 1 < C else 0
                start += LANES
        channel = (channel + LANES) % C
