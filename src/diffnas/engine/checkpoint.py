"""Checkpoints: written so that a crash at any moment loses nothing, read without executing anything."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from diffnas.untrusted import torch_archive

LAST, PREVIOUS = "last.pt", "previous.pt"


def save(folder: Path, state: Mapping[str, Any]) -> None:
    """Write ``state`` (tensors and plain data) as the last checkpoint; the one before becomes the previous.

    At every moment at least one whole checkpoint is there: the new one is written beside them, synced, and renamed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / "partial.pt"
    with partial.open("wb") as file:
        torch.save(dict(state), file)
        file.flush()
        os.fsync(file.fileno())
    if (folder / LAST).exists():
        os.replace(folder / LAST, folder / PREVIOUS)
    os.replace(partial, folder / LAST)
    _sync(folder)


def _sync(folder: Path) -> None:
    """Have the renames in a folder on disk; where a folder cannot be opened (Windows), the system does it."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def load(folder: Path, device: torch.device | str = "cpu") -> dict[str, Any] | None:
    """The last checkpoint in ``folder``, or None if there is none.

    Raises:
        ValueError: if the file cannot be read; it names the file and says how to go on from the one before.
    """
    path = folder / LAST
    if not path.exists():
        # A crash between the two renames of ``save`` leaves the previous one alone.
        path = folder / PREVIOUS
    if not path.exists():
        return None
    try:
        with path.open("rb") as file:
            torch_archive.check(file)
            state = torch.load(file, map_location=device, weights_only=True)
    except Exception as error:
        other = folder / PREVIOUS
        way = f" Delete it to go on from {other}." if path.name == LAST and other.exists() else ""
        raise ValueError(f"checkpoint {path} cannot be read ({type(error).__name__}).{way}") from error
    if not isinstance(state, dict):
        raise ValueError(f"checkpoint {path} does not hold the state of a run.")
    return state
