"""Files in a tar archive, which may be a stranger's.

Python's own reader takes notes about a file, such as a long name, into memory as large as they claim to be. What we
read has plain names, so that all notes are passed over.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import PurePosixPath

from diffnas.untrusted.whole import MEGA, Readable

_BLOCK = 512
_FILE = (b"0", b"\0")


def read_files(file: Readable, names: Collection[str], most: int) -> dict[str, bytes]:
    """The content of those files of an archive that have one of ``names``; links and folders are none.

    Args:
        file: the open archive.
        names: their paths in it.
        most: how many bytes the whole archive may have.

    Raises:
        ValueError: if it is damaged, or has more.
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
    # To the end, where a packed file has the checksum of all.
    while rest := file.read(MEGA):
        most -= len(rest)
        if most < 0:
            raise ValueError("it holds more than the data set has")
    return found


def _name(head: bytes) -> str:
    name, before = (head[start:end].partition(b"\0")[0].decode("latin1") for start, end in ((0, 100), (345, 500)))
    return f"{before}/{name}" if before and head[257:263] == b"ustar\0" else name


def _size(head: bytes) -> int:
    """How many bytes an entry has, by a head whose checksum is right."""
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
