"""Functions of numbers at an address in memory, for Numba.

Many tensors are passed as one array of their addresses, so that one compiled function serves any number of them.
"""

from __future__ import annotations

from typing import Any

import numba
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

from diffnas.backends.cpu.kernels.compiler import part

# Functions that come without types.
_carray: Any = numba.carray  # type: ignore[attr-defined]
_float_pointer: Any = types.CPointer


def _pointer(typing_context: Any, address: Any) -> Any:
    """A pointer to float32 numbers, from their address."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        assert isinstance(arguments[0].type, ir.IntType)
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return _float_pointer(types.float32)(types.int64), emit


_as_pointer: Any = intrinsic(_pointer)


def _address(typing_context: Any, array: Any) -> Any:
    """The address of an array, signed as all addresses here; ``ctypes.data`` is unsigned."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        begin = context.make_array(array)(context, builder, arguments[0]).data
        return builder.ptrtoint(begin, context.get_value_type(types.int64))

    return types.int64(array), emit


address_of: Any = intrinsic(_address)
"""Where an array begins. Numba frees a local array after its last use by name: pass the array to what reads it last."""


@part
def floats(address: int, count: int) -> Any:
    """The ``count`` float32 numbers from an address on, as an array."""
    return _carray(_as_pointer(address), (count,))
