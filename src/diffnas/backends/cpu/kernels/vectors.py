"""Vectors of float32 numbers, and the inner loops of convolutions over them, for Numba.

Numba's loops are vectorized if LLVM finds out how; the inner loop of a convolution is fast only with its sums in
registers, which it does not find out. So a value here is a vector that fills a register of the machine, with loads,
stores and arithmetic, and the inner loops are written as LLVM instructions, unrolled in Python as far as the machine
has registers. Addresses are integers, in bytes; everything else counts numbers.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar, cast

from llvmlite import binding, ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.extending import intrinsic, overload, register_model

_FEATURES = binding.get_host_cpu_features()
LANES = 16 if _FEATURES.get("avx512f") else 8 if _FEATURES.get("avx") else 4  # numbers in a register
_MANY = bool(_FEATURES.get("avx512f") or _FEATURES.get("neon"))  # thirty-two registers, not sixteen
BLOCK = 8  # pixels whose sums are in registers at once: two multiply-adds a cycle, each four cycles long
TALL = 8 if _MANY else 6  # pixels whose sums are, two vectors side by side: half the loads
HALF = 4  # the same for what is left
TAPS_DOWN = 5 if _MANY else 2  # rows of five taps whose sums are; the last of the five is then by itself

CACHE_LINE = 64  # bytes

TILE, RESULTS, SPREAD, TAPS, FOLDED = range(5)
"""Transforms of Winograd's convolutions by tiles, names for the rows of ``_TRANSFORMS``."""

_RESULTS = (1, 1, 1, 0), (0, 1, -1, -1)  # back to 2x2 pixels
_TAPS = (1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1)  # of 3x3 weights
_TRANSFORMS: tuple[tuple[tuple[float, ...], ...], ...] = (
    ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1)),  # of 4x4 pixels
    _RESULTS,
    tuple(zip(*_RESULTS, strict=True)),
    _TAPS,
    tuple(zip(*_TAPS, strict=True)),
)

_HERE = Path(__file__).parent
SOURCES = sha256(
    b"".join(path.read_bytes() for path in sorted([*_HERE.glob("*.py"), _HERE.parents[2] / "nets" / "geometry.py"]))
).digest()
"""A hash of the text that all compiled functions are made of."""

Function = TypeVar("Function", bound=Callable[..., Any])

# Functions that come without types.
_in_register: Any = cgutils.alloca_once_value
_loop: Any = cgutils.for_range
_declare: Any = cgutils.get_or_insert_function


_FLOAT, _INT = ir.FloatType(), ir.IntType(64)
_VECTOR = ir.VectorType(_FLOAT, LANES)
_LANE = ir.VectorType(ir.IntType(32), LANES)
_MASK = ir.VectorType(ir.IntType(1), LANES)


def _instruction(function: Callable[..., Any]) -> Any:
    """An instruction that Numba's code may call; ``function`` gives its types, and what emits it."""
    return intrinsic(prefer_literal=True)(function)


def compiled(function: Function) -> Function:
    """Compile a function at its first call, and keep the result for the next process where a cache can be written."""
    # "contract" allows a fused multiply-add, and nothing that would change the order of a sum.
    compile_with: dict[str, Any] = {"nogil": True, "fastmath": {"contract"}, "error_model": "numpy"}
    try:
        made = njit(cache=True, **compile_with)(function)
        # Numba looks at a function's own file alone, but what it keeps has the code of all that the function calls.
        kept = made._cache._cache_file
        kept._source_stamp = kept._source_stamp, SOURCES
        return cast(Function, made)
    except RuntimeError:  # neither the package's folder nor the user's cache can be written to
        return cast(Function, njit(**compile_with)(function))


def woven(function: Function) -> Function:
    """Compile a function as a part of those that call it, each time: where one calls it, that takes half the time."""
    return cast(Function, njit(inline="always", error_model="numpy")(function))


class Vector(types.Type):
    """As many float32 numbers as a register has."""

    def __init__(self) -> None:
        super().__init__(name="Vector")


_vector = Vector()


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _VECTOR)  # type: ignore[no-untyped-call]


# Pieces of LLVM code; ``b`` is the builder.


def _constant(number: int) -> Any:
    return ir.Constant(_INT, number)


def _at(b: Any, address: Any, offset: Any, kind: Any) -> Any:
    return b.inttoptr(b.add(address, b.mul(offset, _constant(4))), kind.as_pointer())


def _read(b: Any, address: Any, offset: Any) -> Any:
    return b.load(_at(b, address, offset, _VECTOR), align=4)


def _write(b: Any, value: Any, address: Any, offset: Any) -> None:
    b.store(value, _at(b, address, offset, _VECTOR), align=4)


def _splat(b: Any, number: Any) -> Any:
    kind = ir.VectorType(number.type, LANES)
    first = b.insert_element(ir.Constant(kind, ir.Undefined), number, ir.Constant(ir.IntType(32), 0))
    return b.shuffle_vector(first, ir.Constant(kind, ir.Undefined), ir.Constant(_LANE, [0] * LANES))


def _multiply_add(b: Any, x: Any, y: Any, z: Any) -> Any:
    function = _declare(b.module, ir.FunctionType(_VECTOR, (_VECTOR,) * 3), f"llvm.fmuladd.v{LANES}f32")
    return b.call(function, (x, y, z))


def _first_lanes(b: Any, count: Any) -> Any:
    numbers = ir.Constant(ir.VectorType(_INT, LANES), list(range(LANES)))
    return b.icmp_signed("<", numbers, _splat(b, count))


def _is_whole(b: Any, count: Any) -> Any:
    """Whether all lanes count: some machines take twenty times as long for a masked store as for a plain one."""
    return b.icmp_signed(">=", count, _constant(LANES))


# The values.


@_instruction
def zeros(typing_context: Any) -> Any:
    """Zeros."""
    return _vector(), lambda context, b, signature, arguments: ir.Constant(_VECTOR, None)


@_instruction
def load(typing_context: Any, address: Any) -> Any:
    """The numbers at an address."""
    return _vector(types.int64), lambda context, b, signature, arguments: _read(b, arguments[0], _constant(0))


@_instruction
def _touch(typing_context: Any, address: Any, write: Any) -> Any:
    """Begin to bring what is at an address into the second cache."""
    writes = int(write.literal_value)

    def emit(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        place, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), (place, number, number, number))
        function = _declare(b.module, kind, "llvm.prefetch.p0")
        how = (number(value) for value in (writes, 2, 1))
        b.call(function, (b.inttoptr(arguments[0], place), *how))
        return context.get_dummy_value()

    return types.void(types.int64, write), emit


@compiled
def prepare(address: int, count: int, write: bool) -> None:
    """Begin to bring so many numbers into the second cache, from the first to the last, to be read or written.

    Memory is fastest in that order; loops over channels take it in another.
    """
    for at in range(0, 4 * count, CACHE_LINE):
        if write:
            _touch(address + at, True)
        else:
            _touch(address + at, False)


@_instruction
def load_part(typing_context: Any, address: Any, count: Any) -> Any:
    """The ``count`` numbers at an address, all lanes if it is larger; zeros after them, and nothing read there."""

    def emit(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        address, count = arguments
        pointer = _VECTOR.as_pointer()
        name = f"llvm.masked.load.v{LANES}f32.p0"
        function = _declare(b.module, ir.FunctionType(_VECTOR, (pointer, ir.IntType(32), _MASK, _VECTOR)), name)
        with b.if_else(_is_whole(b, count)) as (whole, part):
            with whole:
                value, read = _read(b, address, _constant(0)), b.block
            with part:
                place = _at(b, address, _constant(0), _VECTOR)
                how = place, ir.Constant(ir.IntType(32), 4), _first_lanes(b, count), ir.Constant(_VECTOR, None)
                some, masked = b.call(function, how), b.block
        result = b.phi(_VECTOR)
        result.add_incoming(value, read)
        result.add_incoming(some, masked)
        return result

    return _vector(types.int64, types.int64), emit


@_instruction
def store(typing_context: Any, value: Any, address: Any) -> Any:
    """Write a vector."""

    def emit(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        _write(b, arguments[0], arguments[1], _constant(0))
        return context.get_dummy_value()

    return types.void(_vector, types.int64), emit


@_instruction
def store_part(typing_context: Any, value: Any, address: Any, count: Any) -> Any:
    """Write the first ``count`` numbers of a vector, all of it if it is larger."""

    def emit(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        value, address, count = arguments
        pointer = _VECTOR.as_pointer()
        name = f"llvm.masked.store.v{LANES}f32.p0"
        function = _declare(b.module, ir.FunctionType(ir.VoidType(), (_VECTOR, pointer, ir.IntType(32), _MASK)), name)
        with b.if_else(_is_whole(b, count)) as (whole, part):
            with whole:
                _write(b, value, address, _constant(0))
            with part:
                place = _at(b, address, _constant(0), _VECTOR)
                b.call(function, (value, place, ir.Constant(ir.IntType(32), 4), _first_lanes(b, count)))
        return context.get_dummy_value()

    return types.void(_vector, types.int64, types.int64), emit


@_instruction
def splat(typing_context: Any, number: Any) -> Any:
    """One number in every lane."""
    return _vector(types.float32), lambda context, b, signature, arguments: _splat(b, arguments[0])


@_instruction
def multiply_add(typing_context: Any, x: Any, y: Any, z: Any) -> Any:
    """``x * y + z``, rounded once where the machine can."""
    return _vector(_vector, _vector, _vector), lambda context, b, signature, arguments: _multiply_add(b, *arguments)


@_instruction
def where_positive(typing_context: Any, x: Any, value: Any) -> Any:
    """``value`` where x is above zero, else zero."""

    def emit(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        zero = ir.Constant(_VECTOR, None)
        return b.select(b.fcmp_ordered(">", arguments[0], zero), arguments[1], zero)

    return _vector(_vector, _vector), emit


@_instruction
def positive_part(typing_context: Any, x: Any) -> Any:
    """x where it is above zero, or not a number: a run that diverges must show it; else zero."""

    def emit(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        zero = ir.Constant(_VECTOR, None)
        return b.select(b.fcmp_ordered(">", zero, arguments[0]), zero, arguments[0])

    return _vector(_vector), emit


@_instruction
def where_larger(typing_context: Any, x: Any, y: Any, value: Any, other: Any) -> Any:
    """``value`` where x is above y, or not a number; else ``other``."""

    def emit(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        x, y, value, other = arguments
        return b.select(b.or_(b.fcmp_ordered(">", x, y), b.fcmp_unordered("uno", x, x)), value, other)

    return _vector(_vector, _vector, _vector, _vector), emit


@_instruction
def where_equal(typing_context: Any, x: Any, y: Any, value: Any) -> Any:
    """``value`` where x and y are equal, or one of them is not a number; else zero."""

    def emit(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        x, y, value = arguments
        return b.select(b.fcmp_unordered("==", x, y), value, ir.Constant(_VECTOR, None))

    return _vector(_vector, _vector, _vector), emit


def _arithmetic(name: str) -> Any:
    @_instruction
    def apply(typing_context: Any, x: Any, y: Any) -> Any:
        return _vector(_vector, _vector), lambda context, b, signature, arguments: getattr(b, name)(*arguments)

    return apply


_added, _less, _times = _arithmetic("fadd"), _arithmetic("fsub"), _arithmetic("fmul")


def _operator(symbol: Callable[..., Any], instruction: Any) -> None:
    def typed(x: Any, y: Any) -> Any:
        if isinstance(x, Vector) and isinstance(y, Vector):
            return lambda x, y: instruction(x, y)
        return None

    overload(symbol, strict=False)(typed)


_operator(operator.add, _added)
_operator(operator.sub, _less)
_operator(operator.mul, _times)


# The inner loops.


@_instruction
def multiply(
    typing_context: Any, out: Any, out_step: Any, start: Any, start_step: Any, a: Any, a_step: Any, a_next: Any,
    a_row: Any, w: Any, w_next: Any, w_row: Any, count: Any, rows: Any, pixels: Any, vectors: Any,
) -> Any:  # fmt: skip
    """A block of a matrix product.

    ``out[p] = start[p] + sum over r < rows, n < count of a[p, r, n] * w[r, n]`` for p up to ``pixels`` numbers of a
    and ``vectors`` vectors of w side by side, known when it is compiled; each of a is spread over the lanes. A step
    leads from one p to the next, ``next`` to the next n and ``row`` to the next r.
    """
    P, V = pixels.literal_value, vectors.literal_value

    def emit(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        out, out_step, start, start_step, a, a_step, a_next, a_row, w, w_next, w_row, count, rows, *_ = arguments
        steps = [_constant(p) for p in range(P)]
        beside = [_constant(v * LANES) for v in range(V)]
        places = [(p, v) for p in range(P) for v in range(V)]
        sums = {
            (p, v): _in_register(b, _read(b, start, b.add(b.mul(start_step, steps[p]), beside[v]))) for p, v in places
        }
        with _loop(b, rows) as outer:
            a_start, w_start = b.mul(outer.index, a_row), b.mul(outer.index, w_row)
            with _loop(b, count) as inner:
                a_at, w_at = b.add(a_start, b.mul(inner.index, a_next)), b.add(w_start, b.mul(inner.index, w_next))
                factors = [_read(b, w, b.add(w_at, lanes)) for lanes in beside]
                for p, step in enumerate(steps):
                    number = _splat(b, b.load(_at(b, a, b.add(a_at, b.mul(a_step, step)), _FLOAT), align=4))
                    for v, factor in enumerate(factors):
                        b.store(_multiply_add(b, number, factor, b.load(sums[p, v])), sums[p, v])
        for p, v in places:
            _write(b, b.load(sums[p, v]), out, b.add(b.mul(out_step, steps[p]), beside[v]))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 13, pixels, vectors), emit


@_instruction
def slide(
    typing_context: Any, out: Any, out_step: Any, start: Any, start_step: Any, x: Any, x_step: Any, x_row: Any,
    w: Any, w_step: Any, kernel: Any, dilation: Any, stride: Any,
) -> Any:  # fmt: skip
    """Eight neighboring pixels of a depthwise convolution, a vector of channels of each.

    ``out[p] = start[p] + sum over i, j < kernel of w[i, j] * x[i * dilation, p * stride + j * dilation]``; kernel,
    dilation and stride are known when it is compiled, and a pixel of x is read once for each row of the kernel.
    """
    K, D, S = kernel.literal_value, dilation.literal_value, stride.literal_value

    def emit(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        out, out_step, start, start_step, x, x_step, x_row, w, w_step, *_ = arguments
        sums = [_read(b, start, b.mul(start_step, _constant(p))) for p in range(BLOCK)]
        for i in range(K):
            row = b.mul(x_row, _constant(i * D))
            columns = sorted({p * S + j * D for p in range(BLOCK) for j in range(K)})
            pixels = {column: _read(b, x, b.add(row, b.mul(x_step, _constant(column)))) for column in columns}
            for j in range(K):
                factor = _read(b, w, b.mul(w_step, _constant(i * K + j)))
                sums = [_multiply_add(b, factor, pixels[p * S + j * D], total) for p, total in enumerate(sums)]
        for p, total in enumerate(sums):
            _write(b, total, out, b.mul(out_step, _constant(p)))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 9, kernel, dilation, stride), emit


@_instruction
def sweep(
    typing_context: Any, out: Any, out_step: Any, start: Any, start_step: Any, x: Any, x_step: Any, x_tap: Any,
    x_tap_row: Any, w: Any, w_tap: Any, w_tap_row: Any, taps: Any, taps_down: Any, pixels: Any,
) -> Any:  # fmt: skip
    """What ``slide`` does for any kernel, dilation and stride: pixels of a depthwise convolution, one vector of each.

    ``out[p] = start[p] + sum over i < taps_down, j < taps of w[i, j] * x[p, tap i, j]`` for p up to ``pixels``, known
    when it is compiled. A step leads from one p to the next, ``tap`` to the next j and ``tap_row`` to the next i.
    """
    P = pixels.literal_value

    def emit(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        out, out_step, start, start_step, x, x_step, x_tap, x_tap_row, w, w_tap, w_tap_row, taps, down, _ = arguments
        steps = [_constant(p) for p in range(P)]
        sums = [_in_register(b, _read(b, start, b.mul(start_step, step))) for step in steps]
        with _loop(b, down) as outer:
            x_start, w_start = b.mul(outer.index, x_tap_row), b.mul(outer.index, w_tap_row)
            with _loop(b, taps) as inner:
                x_at, w_at = b.add(x_start, b.mul(inner.index, x_tap)), b.add(w_start, b.mul(inner.index, w_tap))
                factor = _read(b, w, w_at)
                for step, total in zip(steps, sums, strict=True):
                    pixel = _read(b, x, b.add(x_at, b.mul(x_step, step)))
                    b.store(_multiply_add(b, factor, pixel, b.load(total)), total)
        for step, total in zip(steps, sums, strict=True):
            _write(b, b.load(total), out, b.mul(out_step, step))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 13, pixels), emit


@_instruction
def correlate(
    typing_context: Any, out: Any, out_step: Any, x: Any, x_step: Any, x_row: Any, x_tap: Any, x_tap_row: Any,
    grad: Any, grad_step: Any, grad_row: Any, columns: Any, rows: Any, taps_down: Any, taps: Any,
) -> Any:  # fmt: skip
    """The weight gradient of a depthwise convolution, a vector of channels of it, added to what is in ``out``.

    ``out[i, j] += sum over r < rows, c < columns of x[r, c, tap i, j] * grad[r, c]`` for ``taps_down`` rows of
    ``taps`` taps, known when it is compiled.
    """
    across, down = taps.literal_value, taps_down.literal_value

    def emit(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        out, out_step, x, x_step, x_row, x_tap, x_tap_row, grad, grad_step, grad_row, columns, rows, *_ = arguments
        places = [b.mul(out_step, _constant(t)) for t in range(down * across)]
        shifts = [
            b.add(b.mul(x_tap_row, _constant(i)), b.mul(x_tap, _constant(j)))
            for i in range(down)
            for j in range(across)
        ]
        sums = [_in_register(b, _read(b, out, place)) for place in places]
        with _loop(b, rows) as outer:
            x_start, grad_start = b.mul(outer.index, x_row), b.mul(outer.index, grad_row)
            with _loop(b, columns) as inner:
                x_at = b.add(x_start, b.mul(inner.index, x_step))
                factor = _read(b, grad, b.add(grad_start, b.mul(inner.index, grad_step)))
                for shift, total in zip(shifts, sums, strict=True):
                    pixel = _read(b, x, b.add(x_at, shift))
                    b.store(_multiply_add(b, factor, pixel, b.load(total)), total)
        for place, total in zip(places, sums, strict=True):
            _write(b, b.load(total), out, place)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 12, taps_down, taps), emit


@_instruction
def transform(
    typing_context: Any, out: Any, out_step: Any, out_row: Any, x: Any, x_step: Any, x_row: Any, which: Any, add: Any
) -> Any:  # fmt: skip
    """A square of vectors with a transform's matrix M on both sides: ``out = M x M^T``, or that added to ``out``.

    A step leads from one column to the next, and ``row`` to the next row; which transform (TILE, RESULTS, SPREAD, TAPS
    or FOLDED) and whether to add are known when it is compiled.
    """
    matrix, adds = _TRANSFORMS[which.literal_value], add.literal_value
    before = len(matrix[0])

    def emit(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        out, out_step, out_row, x, x_step, x_row, *_ = arguments

        def place(row: Any, step: Any, i: int, j: int) -> Any:
            return b.add(b.mul(row, _constant(i)), b.mul(step, _constant(j)))

        square = [[_read(b, x, place(x_row, x_step, i, j)) for j in range(before)] for i in range(before)]
        down = [[_weighed(b, factors, column) for column in zip(*square, strict=True)] for factors in matrix]
        for i, row in enumerate(down):
            for j, factors in enumerate(matrix):
                value, at = _weighed(b, factors, row), place(out_row, out_step, i, j)
                _write(b, b.fadd(value, _read(b, out, at)) if adds else value, out, at)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6, which, add), emit


def _weighed(b: Any, factors: Sequence[float], values: Sequence[Any]) -> Any:
    """A sum of vectors, each times 1, -1, 1/2, -1/2 or nothing."""
    half = ir.Constant(_VECTOR, [0.5] * LANES)
    inner = set(map(abs, factors)) <= {0, 0.5}  # then all of the sum is halved at once
    total = None
    for factor, value in sorted(zip(factors, values, strict=True), key=lambda pair: -pair[0]):
        if factor == 0:
            continue
        if abs(factor) == 0.5 and not inner:
            value = b.fmul(value, half)
        if total is None:
            total = value if factor > 0 else b.fsub(ir.Constant(_VECTOR, None), value)
        else:
            total = b.fadd(total, value) if factor > 0 else b.fsub(total, value)
    return b.fmul(total, half) if inner else total
