"""Files that no crash can tear and whose damage is noticed: written whole, some with a digest beside them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

DIGESTS = "digests.json"
"""In a folder, the SHA-256 of those of its files that were written with :func:`write_checked`, by name."""

_PARTIAL = ".partial"


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that a reader, or a crash, sees the old one whole or the new one whole.

    What UTF-8 cannot hold, half a character from the name of a file, is written as an escape: ``\\udce9``.
    """
    write_bytes_atomically(path, text.encode("utf-8", "backslashreplace"))


def write_bytes_atomically(path: Path, content: bytes) -> None:
    """The same for bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    os.replace(write_partial(path, lambda file: file.write(content)), path)
    sync(path.parent)


def write_checked(path: Path, content: bytes) -> None:
    """The same, with the digest that :func:`check` compares.

    The digest comes first: a crash between the two leaves a digest without its file, which disturbs nobody.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _note(path, digest(content))
    write_bytes_atomically(path, content)


def seal(path: Path) -> None:
    """Note the digest of a file that is there and will not grow any more."""
    _note(path, digest(path.read_bytes()))


def unseal(path: Path) -> None:
    """Forget the digest of a file that will change."""
    _note(path, None)


def check(path: Path) -> None:
    """Make sure that a file is what was written, if a digest of it was noted.

    Raises:
        ValueError: if it is not.
        OSError: if it cannot be read.
    """
    expected = _digests(path.parent).get(path.name)
    if expected is not None and expected != digest(path.read_bytes()):
        raise ValueError(
            f"{path} is damaged or was changed: it is not what the run wrote (by {DIGESTS}). "
            f"To have it written again: --resume {path.parent}"
        )


def digest(content: bytes | memoryview) -> str:
    """The SHA-256 of ``content``, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def write_partial(path: Path, write: Callable[[BinaryIO], object]) -> Path:
    """A new file beside ``path``, written by ``write`` and on disk: what a rename to ``path`` makes whole at once.

    Its name holds the number of this process, so that two processes never write the same one.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}{_PARTIAL}")
    try:
        with partial.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return partial


def remove_partials(folder: Path) -> None:
    """Remove what processes that were killed had begun to write in ``folder``."""
    for partial in folder.glob(f"*{_PARTIAL}"):
        number = partial.name.removesuffix(_PARTIAL).rpartition(".")[2]
        if not (number.isdigit() and _alive(int(number))):
            with suppress(OSError):  # Windows does not remove a file that somebody writes
                partial.unlink()


def sync(folder: Path) -> None:
    """Have the renames in a folder on disk; where a folder cannot be opened (Windows), the system does it."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _alive(process: int) -> bool:
    if os.name != "posix":
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # it runs, under another user
    return True


def _digests(folder: Path) -> dict[str, str]:
    """What is noted in a folder; nothing if that cannot be read, for it is only a second look at other files."""
    try:
        read = json.loads((folder / DIGESTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return read if isinstance(read, dict) else {}


def _note(path: Path, value: str | None) -> None:
    before = _digests(path.parent)
    after = {name: kept for name, kept in before.items() if name != path.name}
    if value is not None:
        after[path.name] = value
    if after != before:
        write_atomically(path.with_name(DIGESTS), json.dumps(dict(sorted(after.items())), indent=2) + "\n")
