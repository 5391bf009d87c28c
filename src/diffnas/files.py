"""Writing files so that a crash leaves no half of one, and noting digests so that later damage is noticed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

DIGESTS = "digests.json"
"""The file in a folder that lists, by name, the SHA-256 of each file from :func:`write_checked` or :func:`seal`."""

_PARTIAL = ".partial"


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that, even after a crash, a reader sees the whole old file or the whole new one.

    A character that UTF-8 cannot encode, such as a stray byte in a file's name, is written as an escape: ``\\udce9``.
    """
    write_bytes_atomically(path, text.encode("utf-8", "backslashreplace"))


def write_bytes_atomically(path: Path, content: bytes) -> None:
    """Write a file of bytes so that, even after a crash, a reader sees the whole old file or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    os.replace(write_partial(path, lambda file: file.write(content)), path)
    sync(path.parent)


def write_checked(path: Path, content: bytes) -> None:
    """Write a file of bytes as :func:`write_bytes_atomically` does, and note its digest, which :func:`check` compares.

    The digest is written first. A crash before the file is written leaves a new digest, and no file or the old one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _note(path, digest(content))
    write_bytes_atomically(path, content)


def seal(path: Path) -> None:
    """Note the digest of a file that exists and will not change any more."""
    _note(path, digest(path.read_bytes()))


def unseal(path: Path) -> None:
    """Remove the digest of a file that will change."""
    _note(path, None)


def check(path: Path) -> None:
    """Check that a file has the digest that was noted; a file without a noted digest passes.

    Raises:
        ValueError: if its digest is another.
        OSError: if the file cannot be read.
    """
    expected = _digests(path.parent).get(path.name)
    if expected is not None and expected != digest(path.read_bytes()):
        raise ValueError(
            f"{path} is damaged or was changed: it is not what the run wrote (by {DIGESTS}). "
            f"To write it again: --resume {path.parent}"
        )


def digest(content: bytes | memoryview) -> str:
    """The SHA-256 of ``content``, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def write_partial(path: Path, write: Callable[[BinaryIO], object]) -> Path:
    """A new file beside ``path``, written by ``write`` and synced to disk; the caller renames it to ``path``.

    Its name holds the number of this process, so that two processes never write the same file.
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
    """Remove the unfinished files that killed processes left in ``folder``."""
    for partial in folder.glob(f"*{_PARTIAL}"):
        number = partial.name.removesuffix(_PARTIAL).rpartition(".")[2]
        if not (number.isdigit() and _alive(int(number))):
            with suppress(OSError):  # Windows does not remove a file that a process has open
                partial.unlink()


def sync(folder: Path) -> None:
    """Sync the renames in a folder to disk; on Windows, where a folder cannot be opened, the system does that."""
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
    """The digests noted in a folder, by name; none if they cannot be read, as they only confirm other files."""
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
