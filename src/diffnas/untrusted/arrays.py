"""Reading the arrays in a ``.npz`` file; the size of each is compared with its header before the array is made."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Collection
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from diffnas.untrusted.whole import read_all

_PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # numpy packs a .npz in no other way


def read_npz(path: Path, names: Collection[str], most: int) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays called ``names`` in a ``.npz`` file.

    Args:
        path: the file.
        names: which arrays.
        most: the most bytes of each array.

    Raises:
        ValueError: if an array is missing, too large, or of another size than its header claims.
        OSError: if the file cannot be opened.
    """
    # Opened here, because zipfile leaves a file open if it turns out to be no archive.
    with path.open("rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                return {name: parse_npy(_member(archive, f"{name}.npy", most), name) for name in names}
        except (
            zipfile.BadZipFile,
            zlib.error,
            OSError,
            EOFError,
            KeyError,
            NotImplementedError,
            RuntimeError,
        ) as error:
            reason = f"{type(error).__name__}: {str(error)[:80]}"
            raise ValueError(f"no archive of {', '.join(names)} ({reason})") from None


def _member(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    found = archive.getinfo(name)
    if found.compress_type not in _PACKED:
        raise ValueError(f"{name} is packed in a way that numpy does not write")
    with archive.open(found) as file:
        return read_all(file, most, name)


def parse_npy(content: bytes, name: str) -> np.ndarray[Any, Any]:
    """The array in the content of a ``.npy`` file.

    Raises:
        ValueError: if it holds Python objects, or another number of bytes than its shape needs.

    >>> file = BytesIO()
    >>> np.save(file, np.arange(3))
    >>> parse_npy(file.getvalue(), "x").tolist()
    [0, 1, 2]
    """
    file = BytesIO(content)
    try:
        version = npy.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"of the version {version}")
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read(file)
    except Exception as error:  # The exceptions that numpy raises for broken headers have no common type.
        raise ValueError(f"{name} is no array ({type(error).__name__})") from None
    rest = content[file.tell() :]
    if dtype.hasobject or min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(rest):
        raise ValueError(f"{name} claims {shape} of {dtype} and has {len(rest):,} bytes")
    return np.frombuffer(rest, dtype).reshape(shape, order="F" if fortran else "C") if rest else np.empty(shape, dtype)
