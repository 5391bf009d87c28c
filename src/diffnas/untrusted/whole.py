"""Files read whole, if they are no larger than what they hold can need."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

MEGA = 1024**2


class Readable(Protocol):
    """An open file, or what unpacks one as it is read."""

    def read(self, size: int, /) -> bytes:
        """The next bytes, ``size`` of them if there are as many."""


def read_bytes(path: Path, most: int) -> bytes:
    """The content of a file.

    Args:
        path: the file.
        most: how many bytes it may have.

    Raises:
        ValueError: if it has more; the message names it.
        OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        return read_all(file, most, str(path))


def read_all(file: Readable, most: int, what: str) -> bytes:
    """The rest of an open file.

    Args:
        file: the file.
        most: how many bytes may come.
        what: the file's name, for errors.

    Raises:
        ValueError: if more come; no more than that is ever held.
    """
    content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"{what} holds more than {most:,} bytes, and needs less: it is damaged, or something else.")
    return content


def read_text(path: Path, most: int) -> str:
    """The text of a file in UTF-8; the arguments and errors are those of ``read_bytes``."""
    try:
        return read_bytes(path, most).decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is damaged: byte {error.start} is not text in UTF-8.") from None
