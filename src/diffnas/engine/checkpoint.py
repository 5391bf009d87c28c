"""Checkpoints. A crash at any moment of writing leaves a whole one, and reading executes nothing of the file."""

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

# A checkpoint is a zip archive, as torch writes it. The archive's comment is the digest of everything before it.
_MARK = b"sha256:"
_COMMENT = len(_MARK) + 64


def save(folder: Path, state: Mapping[str, Any]) -> None:
    """Write ``state``, tensors and plain data, as the last checkpoint. The last one before it becomes the previous one.

    At every moment ``folder`` has a whole checkpoint: the new one is written under another name, synced, then renamed.
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
    # An archive ends with the length of its comment, in two bytes, and the comment.
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
        torch_archive.check(BytesIO(content))  # first, because the other two unpack the archive
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
    """Compare the digest with the content. Older checkpoints have none, only the checksums of the archive's parts."""
    if content[-_COMMENT:-64] == _MARK:
        if files.digest(memoryview(content)[:-_COMMENT]).encode() != content[-64:]:
            raise ValueError("its digest does not fit its content")
        return
    with zipfile.ZipFile(BytesIO(content)) as archive:
        if archive.testzip() is not None:
            raise ValueError("a checksum does not fit its content")


def set_aside(path: Path) -> None:
    """Rename a damaged checkpoint to ``damaged.pt``, which no run reads."""
    os.replace(path, path.with_name(DAMAGED))
    files.sync(path.parent)
