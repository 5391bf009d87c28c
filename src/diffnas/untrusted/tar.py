"""Reading files in a stranger's tar archive.

Python's own reader loads extended headers, such as long names, whole into memory, however large they claim to be. The
files that we read have plain names, so this reader skips all extended headers.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import PurePosixPath

from diffnas.untrusted.whole import MEGA, Readable

_BLOCK = 512
_FILE = (b"0", b"\0")


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
