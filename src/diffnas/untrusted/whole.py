"""Reading whole files that are no larger than a given limit."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

MEGA = 1024**2


class Readable(Protocol):
    """An open file, or a decompressor with the same method."""

    def read(self, size: int, /) -> bytes:
        """The next ``size`` bytes, or fewer at the end."""


def read_bytes(path: Path, most: int) -> bytes:
    """The content of a file.

    Args:
        path: the file.
        most: the most bytes.

    Raises:
        ValueError: if the file has more bytes; the message names it.
        OSError: if the file cannot be read.
    """
    with path.open("rb") as file:
        return read_all(file, most, str(path))


def read_all(file: Readable, most: int, what: str) -> bytes:
    """The rest of an open file.

    Args:
        file: the file.
        most: the most bytes.
        what: the file's name, for errors.

    Raises:
        ValueError: if there are more bytes; no more than ``most + 1`` are read.
    """
    content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(
            f"{what} has more than {most:,} bytes, and no valid file does: it is damaged, or another file."
        )
    return content


def read_text(path: Path, most: int) -> str:
    """The text of a file in UTF-8; the arguments and errors are those of ``read_bytes``."""
    try:
        return read_bytes(path, most).decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is damaged: byte {error.start} is not text in UTF-8.") from None
