"""Reading a pickle that can build nothing but arrays of small integers and plain containers."""

from __future__ import annotations

import pickle
from io import BytesIO
from typing import Any

import numpy as np

_TYPES = ("u1", "i4", "i8")


class _Type:
    """Stands for a numpy type while a pickle is read."""

    def __init__(self, code: str | bytes, *flags: object) -> None:
        self.code = code.decode("ascii") if isinstance(code, bytes) else code
        if self.code not in _TYPES:
            raise pickle.UnpicklingError(f"it holds an array of {self.code!r}, not of {', '.join(_TYPES)}")
        self.order = "|"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = state[1]
        self.order = order.decode("ascii") if isinstance(order, bytes) else str(order)


class _Array:
    """Stands for a numpy array while a pickle is read: numpy itself builds nothing from untrusted state."""

    array: np.ndarray[Any, Any] | None = None

    def __init__(self, *ignored: object) -> None:
        pass

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, fortran, content = state
        if not isinstance(kind, _Type) or not isinstance(content, bytes):
            raise pickle.UnpicklingError("it holds an array in a form that is not plain bytes")
        order = ">" if kind.order == ">" else "<"
        flat = np.frombuffer(content, np.dtype(order + kind.code))
        self.array = flat.reshape(shape, order="F" if fortran else "C")


def _latin1(text: str, encoding: str) -> bytes:
    """Bytes as Python 3 writes them in the old pickle protocols."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for the text encoding {encoding!r}")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], object] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    # Only ever an argument of _reconstruct; as text it cannot be called.
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _latin1,
}


class _Restricted(pickle.Unpickler):
    """An unpickler that finds our stand-ins and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _ALLOWED[module, name]


def read_arrays(content: bytes, what: str) -> dict[str, Any]:
    """The dictionary in a pickle, made of arrays, lists, numbers and text only.

    Args:
        content: the pickle, of protocol 0 to 4, written by Python 2 or 3.
        what: the file's name, for errors.

    Raises:
        ValueError: it is no pickle of a dictionary, or asks for anything else to be built. Nothing that
            the file names is ever imported or called.

    >>> read_arrays(pickle.dumps({"labels": [3, 1]}), "example")
    {'labels': [3, 1]}
    >>> read_arrays(pickle.dumps(print), "example")
    Traceback (most recent call last):
    ...
    ValueError: example is refused: it asks for builtins.print. Only arrays, lists and text are read.
    """
    try:
        found = _Restricted(BytesIO(content), encoding="bytes").load()
    except Exception as error:  # What a broken pickle raises has no common type.
        raise ValueError(f"{what} is refused: {error}. Only arrays, lists and text are read.") from error
    if not isinstance(found, dict):
        raise ValueError(f"{what} holds a {type(found).__name__}, not a dictionary.")
    return {_text(key): value.array if isinstance(value, _Array) else value for key, value in found.items()}


def _text(key: object) -> str:
    """A key as text: Python 2 wrote bytes."""
    return key.decode("latin1") if isinstance(key, bytes) else str(key)
