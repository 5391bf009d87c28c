"""Vectors of float32 numbers as values, for Numba.

A vector fills a register of the machine. Addresses are integers, in bytes; everything else counts numbers.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core.datamodel import models
from numba.extending import lower_builtin, register_model, type_callable

from diffnas.backends.cpu.kernels import llvm
from diffnas.backends.cpu.kernels.compiler import part
from diffnas.backends.cpu.kernels.llvm import LANES

CACHE_LINE = 64  # bytes


class Vector(types.Type):
    """A register full of float32 numbers."""

    def __init__(self) -> None:
        super().__init__(name="Vector")


_vector = Vector()


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, llvm.VECTOR)  # type: ignore[no-untyped-call]


@llvm.instruction
def zeros(typing_context: Any) -> Any:
    """A vector of zeros."""
    return _vector(), lambda context, b, signature, arguments: ir.Constant(llvm.VECTOR, None)


@llvm.instruction
def load(typing_context: Any, address: Any) -> Any:
    """The vector at an address."""
    return _vector(types.int64), lambda context, b, signature, arguments: llvm.read(b, arguments[0], llvm.integer(0))


@llvm.instruction
def _touch(typing_context: Any, address: Any, write: Any) -> Any:
    """Begin to load the cache line at an address into the L2 cache."""
    writes = int(write.literal_value)

    def emit(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        place, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), (place, number, number, number))
        function = llvm.declare(b.module, kind, "llvm.prefetch.p0")
        how = (number(value) for value in (writes, 2, 1))
        b.call(function, (b.inttoptr(arguments[0], place), *how))
        return context.get_dummy_value()

    return types.void(types.int64, write), emit


@part
def prepare(address: int, count: int, write: bool) -> None:
    """Begin to load ``count`` numbers into the L2 cache, from the first to the last, for reading or for writing.

    Memory is fastest in this order, and loops over channels read it in another order.
    """
    for at in range(0, 4 * count, CACHE_LINE):
        if write:
            _touch(address + at, True)
        else:
            _touch(address + at, False)


@llvm.instruction
def load_part(typing_context: Any, address: Any, count: Any) -> Any:
    """A vector of the ``count`` numbers at an address, then zeros; all lanes if ``count`` is larger.

    Memory after the ``count`` numbers is not read.
    """

    def emit(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        address, count = arguments
        pointer = llvm.VECTOR.as_pointer()
        name = f"llvm.masked.load.v{LANES}f32.p0"
        function = llvm.declare(
            b.module, ir.FunctionType(llvm.VECTOR, (pointer, ir.IntType(32), llvm.MASK, llvm.VECTOR)), name
        )
        with b.if_else(llvm.is_whole(b, count)) as (whole, part):
            with whole:
                value, read = llvm.read(b, address, llvm.integer(0)), b.block
            with part:
                place = llvm.at(b, address, llvm.integer(0), llvm.VECTOR)
                how = place, ir.Constant(ir.IntType(32), 4), llvm.first_lanes(b, count), ir.Constant(llvm.VECTOR, None)
                some, masked = b.call(function, how), b.block
        result = b.phi(llvm.VECTOR)
        result.add_incoming(value, read)
        result.add_incoming(some, masked)
        return result

    return _vector(types.int64, types.int64), emit


@llvm.instruction
def store(typing_context: Any, value: Any, address: Any) -> Any:
    """Write a vector to an address."""

    def emit(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        llvm.write(b, arguments[0], arguments[1], llvm.integer(0))
        return context.get_dummy_value()

    return types.void(_vector, types.int64), emit


@llvm.instruction
def store_part(typing_context: Any, value: Any, address: Any, count: Any) -> Any:
    """Write the first ``count`` numbers of a vector to an address; the whole vector if ``count`` is larger."""

    def emit(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        value, address, count = arguments
        pointer = llvm.VECTOR.as_pointer()
        name = f"llvm.masked.store.v{LANES}f32.p0"
        function = llvm.declare(
            b.module, ir.FunctionType(ir.VoidType(), (llvm.VECTOR, pointer, ir.IntType(32), llvm.MASK)), name
        )
        with b.if_else(llvm.is_whole(b, count)) as (whole, part):
            with whole:
                llvm.write(b, value, address, llvm.integer(0))
            with part:
                place = llvm.at(b, address, llvm.integer(0), llvm.VECTOR)
                b.call(function, (value, place, ir.Constant(ir.IntType(32), 4), llvm.first_lanes(b, count)))
        return context.get_dummy_value()

    return types.void(_vector, types.int64, types.int64), emit


@llvm.instruction
def splat(typing_context: Any, number: Any) -> Any:
    """A vector with the same number in every lane."""
    return _vector(types.float32), lambda context, b, signature, arguments: llvm.splat(b, arguments[0])


@llvm.instruction
def multiply_add(typing_context: Any, x: Any, y: Any, z: Any) -> Any:
    """``x * y + z``, rounded once where the machine can."""
    return _vector(_vector, _vector, _vector), lambda context, b, signature, arguments: llvm.multiply_add(b, *arguments)


@llvm.instruction
def where_above(typing_context: Any, x: Any, floor: Any, value: Any) -> Any:
    """``value`` where x is above ``floor``, else zero."""

    def emit(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        x, floor, value = arguments
        return b.select(b.fcmp_ordered(">", x, floor), value, ir.Constant(llvm.VECTOR, None))

    return _vector(_vector, _vector, _vector), emit


@llvm.instruction
def at_least(typing_context: Any, x: Any, floor: Any) -> Any:
    """x where it is above ``floor`` or nan, else ``floor``. A nan must pass, so that a run that diverges shows it."""

    def emit(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        x, floor = arguments
        return b.select(b.fcmp_ordered(">", floor, x), floor, x)

    return _vector(_vector, _vector), emit


@llvm.instruction
def where_larger(typing_context: Any, x: Any, y: Any, value: Any, other: Any) -> Any:
    """``value`` where x is above y or nan, else ``other``."""

    def emit(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        x, y, value, other = arguments
        return b.select(b.or_(b.fcmp_ordered(">", x, y), b.fcmp_unordered("uno", x, x)), value, other)

    return _vector(_vector, _vector, _vector, _vector), emit


@llvm.instruction
def where_equal(typing_context: Any, x: Any, y: Any, value: Any) -> Any:
    """``value`` where x and y are equal or one of them is nan, else zero."""

    def emit(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        x, y, value = arguments
        return b.select(b.fcmp_unordered("==", x, y), value, ir.Constant(llvm.VECTOR, None))

    return _vector(_vector, _vector, _vector), emit


# Arithmetic.


def _operator(symbol: Callable[..., Any], name: str) -> None:
    """Define a Python operator, such as ``+``, for vectors, as the LLVM instruction of this name."""

    def typed(context: Any) -> Any:
        return lambda x, y: _vector if isinstance(x, Vector) and isinstance(y, Vector) else None

    def emit(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        return getattr(b, name)(*arguments)

    type_callable(symbol)(typed)
    lower_builtin(symbol, Vector, Vector)(emit)  # type: ignore[no-untyped-call]


_operator(operator.add, "fadd")
_operator(operator.sub, "fsub")
_operator(operator.mul, "fmul")
