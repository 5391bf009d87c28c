"""Pieces of LLVM code for vectors and inner loops; ``b`` is the builder.

Addresses are integers, in bytes; everything else counts numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import binding, ir  # type: ignore[import-untyped]
from numba.core import cgutils
from numba.extending import intrinsic

_FEATURES = binding.get_host_cpu_features()
LANES = 16 if _FEATURES.get("avx512f") else 8 if _FEATURES.get("avx") else 4  # numbers in a register
MANY = bool(_FEATURES.get("avx512f") or _FEATURES.get("neon"))  # thirty-two registers, not sixteen

# Functions that come without types.
in_register: Any = cgutils.alloca_once_value
loop: Any = cgutils.for_range
declare: Any = cgutils.get_or_insert_function

FLOAT, INT = ir.FloatType(), ir.IntType(64)
VECTOR = ir.VectorType(FLOAT, LANES)
MASK = ir.VectorType(ir.IntType(1), LANES)
_LANE = ir.VectorType(ir.IntType(32), LANES)


def instruction(function: Callable[..., Any]) -> Any:
    """An instruction that kernels may call; ``function`` gives its types, and the function that emits its code."""
    return intrinsic(prefer_literal=True)(function)


def integer(number: int) -> Any:
    """An integer constant."""
    return ir.Constant(INT, number)


def at(b: Any, address: Any, offset: Any, kind: Any) -> Any:
    """A pointer of this kind to the number ``offset`` after an address."""
    return b.inttoptr(b.add(address, b.mul(offset, integer(4))), kind.as_pointer())


def read(b: Any, address: Any, offset: Any) -> Any:
    """The vector that begins ``offset`` numbers after an address."""
    return b.load(at(b, address, offset, VECTOR), align=4)


def write(b: Any, value: Any, address: Any, offset: Any) -> None:
    """Write a vector to ``offset`` numbers after an address."""
    b.store(value, at(b, address, offset, VECTOR), align=4)


def splat(b: Any, number: Any) -> Any:
    """A vector with the same number in every lane."""
    kind = ir.VectorType(number.type, LANES)
    first = b.insert_element(ir.Constant(kind, ir.Undefined), number, ir.Constant(ir.IntType(32), 0))
    return b.shuffle_vector(first, ir.Constant(kind, ir.Undefined), ir.Constant(_LANE, [0] * LANES))


def multiply_add(b: Any, x: Any, y: Any, z: Any) -> Any:
    """``x * y + z``, rounded once where the machine can."""
    function = declare(b.module, ir.FunctionType(VECTOR, (VECTOR,) * 3), f"llvm.fmuladd.v{LANES}f32")
    return b.call(function, (x, y, z))


def first_lanes(b: Any, count: Any) -> Any:
    """A mask of the first ``count`` lanes."""
    numbers = ir.Constant(ir.VectorType(INT, LANES), list(range(LANES)))
    return b.icmp_signed("<", numbers, splat(b, count))


def is_whole(b: Any, count: Any) -> Any:
    """Whether ``count`` covers all lanes. A masked store may take twenty times as long as a plain one."""
    return b.icmp_signed(">=", count, integer(LANES))
