"""The inner loops of convolutions over vectors, for Numba.

LLVM vectorizes loops of Numba, but does not keep the sums of a convolution in registers, without which it is slow. So
these loops are written as LLVM instructions, and unrolled in Python as far as the machine has registers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numba import types

from diffnas.backends.cpu.kernels import llvm
from diffnas.backends.cpu.kernels.llvm import LANES, MANY

BLOCK = 8  # pixels whose sums are in registers at once: a machine does two multiply-adds a cycle, each 4 cycles long
TALL = 8 if MANY else 6  # pixels whose sums of two adjacent vectors are in registers at once, for half the loads
HALF = 4  # the same for the pixels that are left after tall blocks
TAPS_DOWN = 5 if MANY else 2  # rows of five taps whose sums are in registers at once; with 2, the fifth row is alone


@llvm.instruction
def multiply(
    typing_context: Any, out: Any, out_step: Any, start: Any, start_step: Any, a: Any, a_step: Any, a_next: Any,
    a_row: Any, w: Any, w_next: Any, w_row: Any, count: Any, rows: Any, pixels: Any, vectors: Any,
) -> Any:  # fmt: skip
    """A block of a matrix product.

    ``out[p] = start[p] + sum over r < rows, n < count of a[p, r, n] * w[r, n]`` for each p below ``pixels``. Each
    ``w[r, n]`` is ``vectors`` adjacent vectors, and a number of ``a`` is repeated in all lanes. ``pixels`` and
    ``vectors`` must be constants. A ``step`` is the distance from one p to the next, ``next`` from one n, ``row`` from
    one r.
    """
    P, V = pixels.literal_value, vectors.literal_value

    def emit(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        out, out_step, start, start_step, a, a_step, a_next, a_row, w, w_next, w_row, count, rows, *_ = arguments
        steps = [llvm.integer(p) for p in range(P)]
        beside = [llvm.integer(v * LANES) for v in range(V)]
        places = [(p, v) for p in range(P) for v in range(V)]
        sums = {
            (p, v): llvm.in_register(b, llvm.read(b, start, b.add(b.mul(start_step, steps[p]), beside[v])))
            for p, v in places
        }
        with llvm.loop(b, rows) as outer:
            a_start, w_start = b.mul(outer.index, a_row), b.mul(outer.index, w_row)
            with llvm.loop(b, count) as inner:
                a_at, w_at = b.add(a_start, b.mul(inner.index, a_next)), b.add(w_start, b.mul(inner.index, w_next))
                factors = [llvm.read(b, w, b.add(w_at, lanes)) for lanes in beside]
                for p, step in enumerate(steps):
                    number = llvm.splat(b, b.load(llvm.at(b, a, b.add(a_at, b.mul(a_step, step)), llvm.FLOAT), align=4))
                    for v, factor in enumerate(factors):
                        b.store(llvm.multiply_add(b, number, factor, b.load(sums[p, v])), sums[p, v])
        for p, v in places:
            llvm.write(b, b.load(sums[p, v]), out, b.add(b.mul(out_step, steps[p]), beside[v]))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 13, pixels, vectors), emit


@llvm.instruction
def slide(
    typing_context: Any, out: Any, out_step: Any, start: Any, start_step: Any, x: Any, x_step: Any, x_row: Any,
    w: Any, w_step: Any, kernel: Any, dilation: Any, stride: Any,
) -> Any:  # fmt: skip
    """Eight adjacent pixels of a depthwise convolution, for one vector of channels.

    ``out[p] = start[p] + sum over i, j < kernel of w[i, j] * x[i * dilation, p * stride + j * dilation]``. Kernel,
    dilation and stride must be constants. A pixel of x is read once for each row of the kernel.
    """
    K, D, S = kernel.literal_value, dilation.literal_value, stride.literal_value

    def emit(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        out, out_step, start, start_step, x, x_step, x_row, w, w_step, *_ = arguments
        sums = [llvm.read(b, start, b.mul(start_step, llvm.integer(p))) for p in range(BLOCK)]
        for i in range(K):
            row = b.mul(x_row, llvm.integer(i * D))
            columns = sorted({p * S + j * D for p in range(BLOCK) for j in range(K)})
            pixels = {column: llvm.read(b, x, b.add(row, b.mul(x_step, llvm.integer(column)))) for column in columns}
            for j in range(K):
                factor = llvm.read(b, w, b.mul(w_step, llvm.integer(i * K + j)))
                sums = [llvm.multiply_add(b, factor, pixels[p * S + j * D], total) for p, total in enumerate(sums)]
        for p, total in enumerate(sums):
            llvm.write(b, total, out, b.mul(out_step, llvm.integer(p)))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 9, kernel, dilation, stride), emit


@llvm.instruction
def sweep(
    typing_context: Any, out: Any, out_step: Any, start: Any, start_step: Any, x: Any, x_step: Any, x_tap: Any,
    x_tap_row: Any, w: Any, w_tap: Any, w_tap_row: Any, taps: Any, taps_down: Any, pixels: Any,
) -> Any:  # fmt: skip
    """Pixels of a depthwise convolution, for one vector of channels and any kernel, dilation and stride.

    ``out[p] = start[p] + sum over i < taps_down, j < taps of w[i, j] * x[p, tap i, j]`` for each p below ``pixels``,
    which must be a constant. A ``step`` is the distance from one p to the next, ``tap`` from one j, ``tap_row`` from
    one i.
    """
    P = pixels.literal_value

    def emit(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        out, out_step, start, start_step, x, x_step, x_tap, x_tap_row, w, w_tap, w_tap_row, taps, down, _ = arguments
        steps = [llvm.integer(p) for p in range(P)]
        sums = [llvm.in_register(b, llvm.read(b, start, b.mul(start_step, step))) for step in steps]
        with llvm.loop(b, down) as outer:
            x_start, w_start = b.mul(outer.index, x_tap_row), b.mul(outer.index, w_tap_row)
            with llvm.loop(b, taps) as inner:
                x_at, w_at = b.add(x_start, b.mul(inner.index, x_tap)), b.add(w_start, b.mul(inner.index, w_tap))
                factor = llvm.read(b, w, w_at)
                for step, total in zip(steps, sums, strict=True):
                    pixel = llvm.read(b, x, b.add(x_at, b.mul(x_step, step)))
                    b.store(llvm.multiply_add(b, factor, pixel, b.load(total)), total)
        for step, total in zip(steps, sums, strict=True):
            llvm.write(b, b.load(total), out, b.mul(out_step, step))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 13, pixels), emit


@llvm.instruction
def correlate(
    typing_context: Any, out: Any, out_step: Any, x: Any, x_step: Any, x_row: Any, x_tap: Any, x_tap_row: Any,
    grad: Any, grad_step: Any, grad_row: Any, columns: Any, rows: Any, taps_down: Any, taps: Any, apart: Any,
) -> Any:  # fmt: skip
    """Add the weight gradient of a depthwise convolution to ``out``, for one vector of channels.

    ``out[i, j] += sum over r < rows, c < columns of x[r, c, tap i, j] * grad[r, c]`` for ``taps_down`` rows of
    ``taps`` taps, which must be constants. ``apart`` must be a constant too: if it is not 0, ``x_tap`` is ``apart``
    times ``x_step``, and each pixel of x is read once for several columns.
    """
    down, across, step = taps_down.literal_value, taps.literal_value, apart.literal_value
    together = (4 if across == 3 else 2 * step) if step else 1  # columns whose products are added at once

    def emit(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        out, out_step, x, x_step, x_row, x_tap, x_tap_row, grad, grad_step, grad_row, columns, rows, *_ = arguments
        places = [b.mul(out_step, llvm.integer(t)) for t in range(down * across)]
        sums = [llvm.in_register(b, llvm.read(b, out, place)) for place in places]
        whole = b.sdiv(columns, llvm.integer(together))
        done = b.mul(whole, llvm.integer(together))
        parts = (llvm.integer(0), whole, together), (done, b.sub(columns, done), 1)
        with llvm.loop(b, rows) as outer:
            x_start, grad_start = b.mul(outer.index, x_row), b.mul(outer.index, grad_row)
            for first, number, count in parts if together > 1 else parts[:1]:
                with llvm.loop(b, number) as inner:
                    column = b.add(b.mul(inner.index, llvm.integer(count)), first)
                    at = b.add(grad_start, b.mul(column, grad_step))
                    factors = [llvm.read(b, grad, b.add(at, b.mul(grad_step, llvm.integer(u)))) for u in range(count)]
                    at = b.add(x_start, b.mul(column, x_step))
                    for i in range(down):
                        row = b.add(at, b.mul(x_tap_row, llvm.integer(i)))
                        _correlated(b, sums[i * across : (i + 1) * across], factors, x, row, x_step, x_tap, step)
        for place, total in zip(places, sums, strict=True):
            llvm.write(b, b.load(total), out, place)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 12, taps_down, taps, apart), emit


def _correlated(
    b: Any, sums: Sequence[Any], factors: Sequence[Any], x: Any, row: Any, x_step: Any, x_tap: Any, step: int
) -> None:
    """Add the products of a row of taps and some columns, whose gradients are ``factors``; see ``correlate``."""

    def place(column: int, tap: int) -> tuple[int, int]:
        """The distance of a pixel of x from the first one, in columns and in taps."""
        return (column + tap * step, 0) if step else (column, tap)

    pixels = {
        (c, t): llvm.read(b, x, b.add(row, b.add(b.mul(x_step, llvm.integer(c)), b.mul(x_tap, llvm.integer(t)))))
        for c, t in sorted({place(u, j) for u in range(len(factors)) for j in range(len(sums))})
    }
    for j, register in enumerate(sums):
        total = b.load(register)
        for u, factor in enumerate(factors):
            total = llvm.multiply_add(b, factor, pixels[place(u, j)], total)
        b.store(total, register)
