"""Reading the files of a published data set from a folder or a ``.tar.gz``, and downloading the archive."""

from __future__ import annotations

import gzip
import hashlib
import os
import tempfile
import urllib.request
import zlib
from collections.abc import Collection
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO

from diffnas.untrusted.tar import read_files
from diffnas.untrusted.whole import MEGA, read_bytes

_LARGEST = 192 * MEGA
"""The most bytes that one file may have. The largest known, CIFAR-100's training pictures, has 155 million."""
_ALL = 256 * MEGA
"""The most bytes that an unpacked archive may have. The largest known has 186 million."""


def read_folder(folder: Path, names: Collection[str]) -> dict[str, bytes]:
    """The content of the files called ``names`` in ``folder``.

    Raises:
        FileNotFoundError: some are missing.
        ValueError: one has more bytes than any file of a known data set.
    """
    _check_complete(folder, names, [name for name in names if (folder / name).is_file()])
    return {name: read_bytes(folder / name, _LARGEST) for name in names}


def read_tar(path: Path, folder: str, names: Collection[str]) -> dict[str, bytes]:
    """The content of the files ``folder/name`` in a ``.tar.gz``; nothing is unpacked onto the disk.

    Raises:
        FileNotFoundError: some are missing.
        ValueError: the archive is damaged, or too large.
    """
    paths = {f"{folder}/{name}": name for name in names}
    try:
        with gzip.open(path) as file:
            found = {paths[inner]: content for inner, content in read_files(file, paths, _ALL).items()}
    except (ValueError, EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read ({error}); it is damaged or incomplete: fetch it again.") from None
    _check_complete(path, names, found)
    return found


def _check_complete(place: Path, names: Collection[str], found: Collection[str]) -> None:
    """Check that every wanted file is there."""
    missing = sorted(set(names) - set(found))
    if missing:
        raise FileNotFoundError(f"{place} lacks {', '.join(missing)}; fetch or unpack the archive again.")


def fetch(url: str, path: Path, md5: str) -> Path:
    """``path``, after downloading ``url`` to it; the file appears there only if its checksum is right.

    Raises:
        ConnectionError: the site cannot be reached, or the download broke off.
        ValueError: the MD5 of the download is not ``md5``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as part:
            found = _copy(url, part)
        if found != md5:
            raise ValueError(f"{url} has MD5 {found}, not {md5}; the download was deleted. Try again later.")
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)
    return path


def _copy(url: str, part: BinaryIO) -> str:
    """Download ``url`` into ``part``, and return the MD5 of the content."""
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            while chunk := answer.read(1024**2):
                digest.update(chunk)
                part.write(chunk)
    except (OSError, HTTPException) as error:
        raise ConnectionError(
            f"cannot download {url} ({error}). Fetch it by other means and give the folder it lies in "
            "as the data folder (data_dir, --data-dir)."
        ) from error
    return digest.hexdigest()
