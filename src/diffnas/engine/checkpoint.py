"""Checkpoints: written so that a crash at any moment loses nothing, read without executing anything."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import torch

from diffnas import files
from diffnas.engine.memory import ran_out
from diffnas.names import first_line
from diffnas.run_files import LAST, PREVIOUS
from diffnas.run_folder import Damaged
from diffnas.untrusted import torch_archive

DAMAGED = "damaged.pt"

# A checkpoint is a zip archive, as torch writes it, and the archive's comment is the digest of all before it.
_MARK = b"sha256:"
_COMMENT = len(_MARK) + 64


def save(folder: Path, state: Mapping[str, Any]) -> None:
    """Write ``state`` (tensors and plain data) as the last checkpoint; the one before becomes the previous.

    At every moment at least one whole checkpoint is there: the new one is written beside them, synced, and renamed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    partial = files.write_partial(folder / LAST, lambda file: _write(file, state))
    if (folder / LAST).exists():
        os.replace(folder / LAST, folder / PREVIOUS)
    os.replace(partial, folder / LAST)
    files.sync(folder)


def _write(file: BinaryIO, state: Mapping[str, Any]) -> None:
    archive = BytesIO()
    torch.save(dict(state), archive)
    # An archive ends in the length of its comment, two bytes, and the comment.
    archive.seek(-2, os.SEEK_END)
    archive.write(_COMMENT.to_bytes(2, "little"))
    file.write(archive.getbuffer())
    file.write(_MARK + files.digest(archive.getbuffer()).encode())


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """The state in a checkpoint.

    Raises:
        Damaged: if the file is not what was written.
    """
    content = path.read_bytes()
    try:
        torch_archive.check(BytesIO(content))  # first: what comes after unpacks
        _check(content)
        state = torch.load(BytesIO(content), map_location=device, weights_only=True)
    except Exception as error:
        if ran_out(error):
            raise
        raise Damaged(f"checkpoint {path} cannot be read ({first_line(error)}).") from error
    if not isinstance(state, dict) or type(state.get("epoch")) is not int or state["epoch"] < 0:
        raise Damaged(f"checkpoint {path} does not hold the state of a run.")
    return state


def _check(content: bytes) -> None:
    """Compare the digest; checkpoints from before there was one have only the checksums of the archive's parts."""
    if content[-_COMMENT:-64] == _MARK:
        if files.digest(memoryview(content)[:-_COMMENT]).encode() != content[-64:]:
            raise ValueError("its digest is not that of its content")
        return
    with zipfile.ZipFile(BytesIO(content)) as archive:
        if archive.testzip() is not None:
            raise ValueError("a checksum is not that of its content")


def set_aside(path: Path) -> None:
    """Give a damaged checkpoint another name, under which it is in nobody's way."""
    os.replace(path, path.with_name(DAMAGED))
    files.sync(path.parent)
