"""Checking a file of ``torch.save`` before torch reads it.

With ``weights_only`` torch runs nothing in a file, and trusts no size that exceeds the file. But it decompresses, and
it hashes any object that the file uses as a key; a few hundred bytes can build a key whose hash takes for ever.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from io import BytesIO
from typing import Any, BinaryIO

import torch

from diffnas import files
from diffnas.untrusted.pickles import StandIn, unpickle
from diffnas.untrusted.whole import MEGA, read_all

_LARGEST, _STEPS = 64 * MEGA, 5_000_000
"""The most bytes and instructions of a pickle in the archive; the largest supernet's checkpoint has a hundredth."""


# A signed archive's comment is the digest of everything before it.
_MARK = b"sha256:"
_COMMENT = len(_MARK) + 64


class _Anything(StandIn):
    """Stands for any object that a file names; torch decides later which names it allows."""

    def __init__(self, *ignored: object) -> None:
        pass

    def build(self, state: Any) -> None:
        """Accept any state, and ignore it."""


def _dictionary(*ignored: object) -> dict[Any, Any]:
    return {}


class _Everything(Mapping[tuple[str, str], Any]):
    """A ``Known`` that allows every name."""

    def __getitem__(self, name: tuple[str, str]) -> Any:
        return _dictionary if name == ("collections", "OrderedDict") else _Anything

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(())

    def __len__(self) -> int:
        return 0


def check(file: BinaryIO) -> None:
    """Check that torch can read an archive in time and memory proportional to its size; then rewind the file.

    Raises:
        ValueError: if torch cannot.
    """
    size = file.seek(0, os.SEEK_END)
    try:
        with zipfile.ZipFile(file) as archive:
            parts = archive.infolist()
            if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
                raise ValueError("it is compressed, and torch compresses no file")
            if sum(part.file_size for part in parts) > size:
                raise ValueError("its parts are larger than it is")
            for part in parts:
                if part.filename.endswith("data.pkl"):
                    with archive.open(part) as content:
                        unpickle(read_all(content, _LARGEST, part.filename), _Everything(), steps=_STEPS)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"it is no archive of torch's ({type(error).__name__})") from None
    file.seek(0)


def read(content: bytes, device: torch.device | str) -> Any:
    """What an archive holds, on a device.

    Raises:
        ValueError: if the archive is refused by ``check``, or is not what was written.
    """
    check(BytesIO(content))  # first, because the other two unpack the archive
    _check_digest(content)
    return torch.load(BytesIO(content), map_location=device, weights_only=True)


def write_signed(file: BinaryIO, archive: BytesIO) -> None:
    """Write an archive, as ``torch.save`` makes it, with its digest as its comment."""
    # An archive ends with the length of its comment, in two bytes, and the comment.
    archive.seek(-2, os.SEEK_END)
    archive.write(_COMMENT.to_bytes(2, "little"))
    file.write(archive.getbuffer())
    file.write(_MARK + files.digest(archive.getbuffer()).encode())


def _check_digest(content: bytes) -> None:
    """Compare the digest with the content. Older archives have none, only the checksums of their parts."""
    if content[-_COMMENT:-64] == _MARK:
        if files.digest(memoryview(content)[:-_COMMENT]).encode() != content[-64:]:
            raise ValueError("its digest does not fit its content")
        return
    with zipfile.ZipFile(BytesIO(content)) as archive:
        if archive.testzip() is not None:
            raise ValueError("a checksum does not fit its content")
