"""The lock of a run folder, to which one process writes at a time."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import TextIO

from diffnas.run_files import LOCK

# The folders that this thread owns.
_OWNED: ContextVar[frozenset[Path]] = ContextVar("owned", default=frozenset())

# The errors of a file system without locks.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


@contextmanager
def owning(folder: Path | None, warn: Callable[[str], None]) -> Iterator[None]:
    """A context in which no other process writes to the run in ``folder``, which is made if it does not exist.

    The system holds the lock, on a file in the folder, so it ends with the process, however that ends. The owner of a
    folder may own it again inside. A folder that was made for this, and is empty at the end, is removed.

    Args:
        folder: the run folder; None does nothing.
        warn: gets a warning if the file system has no locks; then other processes are not kept away.

    Raises:
        ValueError: if another process owns ``folder``, or it is a file. Nothing is changed.
    """
    if folder is None or folder.resolve() in _OWNED.get():
        yield
        return
    with _made(folder), _locked(folder / LOCK, warn):
        before = _OWNED.set(_OWNED.get() | {folder.resolve()})
        try:
            yield
        finally:
            _OWNED.reset(before)


def in_use(folder: Path) -> bool:
    """Whether a process owns ``folder``; False where the file system knows no locks."""
    if not (folder / LOCK).exists():
        return False
    try:
        file = _take(folder / LOCK)
    except ValueError:
        return True
    if file is not None:
        file.close()
    return False


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """A context in which the folder exists. The folders that were made for it are removed if empty at the end."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; a run needs a folder of its own.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        for path in missing:
            with suppress(OSError):  # the folder is not empty
                path.rmdir()


@contextmanager
def _locked(path: Path, warn: Callable[[str], None]) -> Iterator[None]:
    """A context in which the file at ``path`` exists, is locked, and says which process locked it."""
    file = _take(path)
    if file is None:
        path.unlink(missing_ok=True)
        warn("the file system of the run folder has no locks; let no other process write to this run.")
        yield
        return
    with file:
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        try:
            yield
        finally:
            with suppress(OSError):  # Windows does not remove an open file: it stays there, unlocked
                path.unlink()


def _take(path: Path) -> TextIO | None:
    """The file at ``path``, locked; None if the file system has no locks.

    Raises:
        ValueError: if another process has locked it.
    """
    while True:
        file = path.open("a+", encoding="utf-8")
        try:
            _lock(file)
        except OSError as error:
            with file:
                file.seek(0)
                owner = file.read() or "another process"
            if error.errno in _NO_LOCKS:
                return None
            raise ValueError(
                f"{path.parent} is in use: {owner} writes to it. Wait until that ends, or choose another --out."
            ) from None
        if _still_at(path, file):
            return file
        file.close()


def _still_at(path: Path, file: TextIO) -> bool:
    """Whether ``file`` is still at ``path``: its last owner may have removed it after it was opened here."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


if sys.platform == "win32":
    import msvcrt

    def _lock(file: TextIO) -> None:
        """Lock a byte far behind the text, so that others can read the text; an OSError if another process has."""
        file.seek(1 << 30)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(file: TextIO) -> None:
        """Lock the file; an OSError if another process has, or if the file system has no locks."""
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
