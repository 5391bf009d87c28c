"""Stand-ins for numpy's objects in a pickle, so that numpy itself builds nothing from a stranger's state."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from diffnas.untrusted.pickles import Known, StandIn

_ARRAYS = ("u1", "i4", "i8")
_NUMBERS = ("f8", "f4", "i8", "i4")


class _Type(StandIn):
    """Stands for a numpy type."""

    def __init__(self, code: object, *flags: object) -> None:
        self.code = code.decode("latin1") if isinstance(code, bytes) else str(code)[:20]
        self.order = "|"

    def build(self, state: Any) -> None:
        """Take the byte order; the rest of the state is not needed."""
        if type(state) is not tuple or len(state) < 2 or state[1] not in ("|", "<", ">", b"|", b"<", b">"):
            raise ValueError("it holds a type of numbers in an unknown form")
        self.order = state[1].decode() if isinstance(state[1], bytes) else state[1]

    def numpy(self, known: tuple[str, ...]) -> np.dtype[Any]:
        """Numpy's own type; a ValueError if it is none of ``known``."""
        if self.code not in known:
            raise ValueError(f"it holds numbers of {self.code!r}, not of {', '.join(known)}")
        return np.dtype((">" if self.order == ">" else "<") + self.code)


class _Array(StandIn):
    """Stands for a numpy array."""

    array: np.ndarray[Any, Any] | None = None

    def __init__(self, *ignored: object) -> None:
        pass

    def build(self, state: Any) -> None:
        """Take the shape, the type and the bytes, which must fit each other."""
        if type(state) is not tuple or len(state) != 5:
            raise ValueError("it holds an array in an unknown form")
        _, shape, kind, fortran, content = state
        if not isinstance(kind, _Type) or type(content) is not bytes or not _is_shape(shape):
            raise ValueError("it holds an array in a form that is not plain bytes")
        dtype = kind.numpy(_ARRAYS)
        if math.prod(shape) * dtype.itemsize != len(content):
            raise ValueError(f"it holds an array of the shape {shape} in {len(content):,} bytes")
        self.array = np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")


def _is_shape(shape: Any) -> bool:
    return type(shape) is tuple and len(shape) <= 8 and all(type(size) is int and size >= 0 for size in shape)


def _latin1(text: Any, encoding: Any) -> bytes:
    """Bytes as Python 3 writes them in the old pickle protocols."""
    if type(text) is not str or encoding != "latin1":
        raise ValueError(f"it asks for the text encoding {str(encoding)[:20]!r}")
    return text.encode("latin1")


def _number(kind: Any, content: Any) -> Any:
    """A numpy scalar as a plain Python number."""
    if not isinstance(kind, _Type) or type(content) is not bytes:
        raise ValueError("it holds a number in a form that is not plain bytes")
    dtype = kind.numpy(_NUMBERS)
    if len(content) != dtype.itemsize:
        raise ValueError(f"it holds a number of {dtype.itemsize} bytes in {len(content)}")
    return np.frombuffer(content, dtype)[0].item()


ARRAYS: Known = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    # Only ever an argument of _reconstruct. A text cannot be called.
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _latin1,
}
"""The names in a pickle of arrays of integers."""

NUMBERS: Known = {
    ("numpy", "dtype"): _Type,
    ("numpy.core.multiarray", "scalar"): _number,
    ("numpy._core.multiarray", "scalar"): _number,
}
"""The names in a pickle of single numbers."""


def revealed(found: Mapping[Any, Any]) -> dict[Any, Any]:
    """The dictionary with each stand-in replaced by its array."""
    return {key: value.array if isinstance(value, _Array) else value for key, value in found.items()}
