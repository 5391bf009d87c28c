"""Checkpoints. A crash at any moment of writing leaves a whole one, and reading executes nothing of the file."""

from __future__ import annotations

import os
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
    torch_archive.write_signed(file, archive)


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """The state in a checkpoint.

    Raises:
        Damaged: if the file is not what was written.
    """
    content = path.read_bytes()
    try:
        state = torch_archive.read(content, device)
    except Exception as error:
        if ran_out(error):
            raise
        raise Damaged(f"checkpoint {path} cannot be read ({first_line(error)}).") from error
    if not isinstance(state, dict) or type(state.get("epoch")) is not int or state["epoch"] < 0:
        raise Damaged(f"checkpoint {path} does not hold the state of a run.")
    return state


def set_aside(path: Path) -> None:
    """Rename a damaged checkpoint to ``damaged.pt``, which no run reads."""
    os.replace(path, path.with_name(DAMAGED))
    files.sync(path.parent)
