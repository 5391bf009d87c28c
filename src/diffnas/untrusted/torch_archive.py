"""What ``torch.save`` writes, looked over before torch reads it.

With ``weights_only`` torch runs nothing of a file, and believes no size that the file does not have. But it unpacks,
and it hashes whatever the file makes a key of, which a few hundred bytes can make last for ever.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from diffnas.untrusted.pickles import StandIn, unpickle
from diffnas.untrusted.whole import MEGA, read_all

_LARGEST, _STEPS = 64 * MEGA, 5_000_000
"""Bytes and instructions of what is beside the numbers; a checkpoint of the largest supernet has a hundredth."""


class _Anything(StandIn):
    """Stands for whatever a file names. Torch decides what that may be."""

    def __init__(self, *ignored: object) -> None:
        pass

    def build(self, state: Any) -> None:
        """Take any state, and forget it."""


def _dictionary(*ignored: object) -> dict[Any, Any]:
    return {}


class _Everything(Mapping[tuple[str, str], Any]):
    """Knows every name."""

    def __getitem__(self, name: tuple[str, str]) -> Any:
        return _dictionary if name == ("collections", "OrderedDict") else _Anything

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(())

    def __len__(self) -> int:
        return 0


def check(file: BinaryIO) -> None:
    """Make sure that torch can read an archive in a time and memory of its size; the file is at its start again.

    Raises:
        ValueError: if it cannot.
    """
    size = file.seek(0, os.SEEK_END)
    try:
        with zipfile.ZipFile(file) as archive:
            parts = archive.infolist()
            if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
                raise ValueError("it is packed, as torch does not do")
            if sum(part.file_size for part in parts) > size:
                raise ValueError("its parts are larger than it is")
            for part in parts:
                if part.filename.endswith("data.pkl"):
                    with archive.open(part) as content:
                        unpickle(read_all(content, _LARGEST, part.filename), _Everything(), steps=_STEPS)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"it is no archive of torch's ({type(error).__name__})") from None
    file.seek(0)
