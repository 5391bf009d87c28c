"""Reading files in a stranger's tar archive.

Python's own reader loads extended headers, such as long names, whole into memory, however large they claim to be. This
reader believes none of their claims: ``read_files`` skips them, and ``files_in`` reads those that a long name needs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from pathlib import PurePosixPath
from typing import BinaryIO, NamedTuple

from diffnas.untrusted.whole import MEGA, Readable

_BLOCK = 512
_FILE = (b"0", b"\0")
_LONG_NAME, _NOTES = b"L", b"x"
_LONGEST = 64 * 1024
"""The most bytes of an extended header that is read for the name in it."""


class Inside(NamedTuple):
    """A file in an archive: its path there, and which bytes of the archive are its content."""

    name: str
    start: int
    size: int


def files_in(file: BinaryIO) -> Iterator[Inside]:
    """Every file in an archive that is not packed, in order; links and folders do not count as files.

    Only heads are read, and names of any length. So memory does not grow with the archive.

    Raises:
        ValueError: if the archive is damaged, or packed.
    """
    whole, name = file.seek(0, os.SEEK_END), None
    file.seek(0)
    while (head := _exactly(file, _BLOCK)).strip(b"\0"):
        start, size, kind = file.tell(), _size(head), head[156:157]
        if start + size > whole:
            raise ValueError("it ends too early")
        if kind in (_LONG_NAME, _NOTES) and size <= _LONGEST:
            name = _long_name(kind, _exactly(file, size)) or name
        else:
            if kind in _FILE:
                yield Inside(name or str(PurePosixPath(_name(head))), start, size)
            name = None
        file.seek(start + size + -size % _BLOCK)


def read_files(file: Readable, names: Collection[str], most: int) -> dict[str, bytes]:
    """The content of the files in an archive whose path is in ``names``; links and folders do not count as files.

    Args:
        file: the open archive.
        names: the paths in the archive.
        most: the most bytes of the whole archive.

    Raises:
        ValueError: if the archive is damaged, or has more bytes.
    """
    found: dict[str, bytes] = {}
    while (head := _exactly(file, _BLOCK)).strip(b"\0"):
        size = _size(head)
        padding = -size % _BLOCK
        most -= _BLOCK + size + padding
        if most < 0:
            raise ValueError("it holds more than the data set has")
        name = str(PurePosixPath(_name(head)))
        if name in names and head[156:157] in _FILE:
            found[name] = _exactly(file, size)
            _skip(file, padding)
        else:
            _skip(file, size + padding)
    # Read to the end, because a compressed file has its checksum there.
    while rest := file.read(MEGA):
        most -= len(rest)
        if most < 0:
            raise ValueError("it holds more than the data set has")
    return found


def _name(head: bytes) -> str:
    name, before = (head[start:end].partition(b"\0")[0].decode("latin1") for start, end in ((0, 100), (345, 500)))
    return f"{before}/{name}" if before and head[257:263] == b"ustar\0" else name


def _long_name(kind: bytes, content: bytes) -> str | None:
    """The name that an extended header gives to the next file; None if it gives none."""
    if kind == _NOTES:
        # Records are "LENGTH KEY=VALUE\n".
        found = re.search(rb"(?:^|\n)\d+ path=([^\n]*)\n", content)
        if found is None:
            return None
        content = found[1]
    return str(PurePosixPath(content.rstrip(b"\0").decode("utf-8", "replace")))


def _size(head: bytes) -> int:
    """How many bytes an entry has; a ValueError if the checksum of its head is wrong."""
    if _octal(head[148:156]) != sum(head) - sum(head[148:156]) + 8 * ord(" "):
        raise ValueError("the head of a file in it is damaged")
    return _octal(head[124:136])


def _octal(digits: bytes) -> int:
    text = digits.strip(b"\0 ")
    if text.strip(b"01234567"):
        raise ValueError("the head of a file in it is damaged")
    return int(text or b"0", 8)


def _exactly(file: Readable, count: int) -> bytes:
    found = file.read(count)
    if len(found) < count:
        raise ValueError("it ends too early")
    return found


def _skip(file: Readable, count: int) -> None:
    while count:
        count -= len(_exactly(file, min(count, MEGA)))
