"""All files in a folder at any depth, each once, and the files and folders that were left out."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from diffnas.data.decode import FORMATS
from diffnas.run_files import WEIGHTS
from diffnas.run_folder import looks_like_run

HIDDEN = "hidden, or the system's own"
AGAIN = "a link to a folder that was read already"
OURS = "written by diffnas"
UNREADABLE = "a folder that cannot be read"

_NETWORK_FILES = ("network.onnx", "network.pt2", WEIGHTS)


class Left(NamedTuple):
    """A file or folder that was left out, with the reason."""

    path: Path
    reason: str


class Found(NamedTuple):
    """The files in a folder, sorted, and what was left out."""

    files: list[Path]
    left: list[Left]


def files_in(place: Path, known: Iterable[Path] = ()) -> Found:
    """Every file in a folder, at any depth, and the files and folders that were left out.

    Links are followed, but no folder is entered twice, and the folders around ``place`` are never entered. Hidden
    files, folders that diffnas wrote, and folders that cannot be read are left out.

    Args:
        place: the folder.
        known: other folders that must not be entered.
    """
    found = Found([], [])
    entered = {_identity(folder) for folder in (*known, *place.resolve().parents)}
    waiting = deque([place])
    while waiting:
        folder = waiting.pop()
        try:
            again = _identity(folder) in entered
            inside = [] if again else list(folder.iterdir())
            entered.add(_identity(folder))
        except OSError as error:
            found.left.append(Left(folder, f"{UNREADABLE}: {error.strerror}"))
            continue
        if again:
            found.left.append(Left(folder, AGAIN))
        elif folder != place and is_ours(folder):
            found.left.append(Left(folder, OURS))
        else:
            folders = _sort_out(inside, found)
            # Links come last of all: a folder that is also the target of a link is listed under its own path.
            waiting.extend(path for path in reversed(folders) if not path.is_symlink())
            waiting.extendleft(path for path in folders if path.is_symlink())
    return Found(sorted(found.files, key=lambda file: file.relative_to(place).as_posix()), found.left)


def _sort_out(inside: list[Path], found: Found) -> list[Path]:
    """The folders in ``inside``, sorted; its files, and what is hidden, are added to ``found``."""
    folders = []
    for path in sorted(inside):
        if is_hidden(path):
            found.left.extend(Left(file, HIDDEN) for file in _everything(path))
        elif os.path.isdir(path):
            folders.append(path)
        else:
            found.files.append(path)
    return folders


def is_hidden(place: Path) -> bool:
    """Whether a file or folder is hidden, or made by the operating system for itself."""
    return place.name.startswith(".") or place.name == "__MACOSX"


def is_ours(folder: Path) -> bool:
    """Whether diffnas wrote a folder.

    It did if the folder is a run; also if it holds runs or networks, or lies in a run, and has no picture outside its
    runs.
    """
    if looks_like_run(folder):
        return True
    inside = list(_listed(folder))
    runs = [path for path in inside if looks_like_run(path)]
    if not (runs or any(path.name in _NETWORK_FILES for path in inside) or looks_like_run(folder.parent)):
        return False
    others = (file for path in inside if path not in runs for file in _everything(path))
    return not any(looks_like_picture(file) for file in others)


def looks_like_picture(file: Path) -> bool:
    """Whether a file's suffix is that of a picture format that can be read."""
    return Image.registered_extensions().get(file.suffix.lower()) in FORMATS


def _listed(folder: Path) -> Iterator[Path]:
    """The files and folders in a folder; none if it cannot be read."""
    try:
        yield from sorted(folder.iterdir())
    except OSError:
        return


def _everything(path: Path) -> Iterator[Path]:
    """The file itself if ``path`` is one, else every file in the folder; links are not followed."""
    if path.is_symlink() or not os.path.isdir(path):
        yield path
        return
    for folder, _, names in os.walk(path):
        yield from (Path(folder, name) for name in sorted(names))


def _identity(folder: Path) -> tuple[int, int]:
    """The device and inode of a folder, which are the same under all of its names."""
    told = folder.stat()
    return told.st_dev, told.st_ino
