"""The run folder: everything a run leaves behind, as plain files."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from diffnas.untrusted import json_text
from diffnas.untrusted.whole import MEGA, read_text

# Torch is imported where it is needed: who only reads a folder does without, and starts at once.
if TYPE_CHECKING:
    import torch

RECORD, TRACE = "run.json", "trace.jsonl"
_LONGEST_TRACE = 256 * MEGA  # 600 epochs of the largest space have 100 million
VERSION = 1


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that a reader, or a crash, sees the old one whole or the new one whole."""
    write_bytes_atomically(path, text.encode())


def write_bytes_atomically(path: Path, content: bytes) -> None:
    """The same for bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def environment() -> dict[str, Any]:
    """What besides the settings can move the last digits of a result."""
    import torch

    from diffnas import __version__

    return {
        "diffnas": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "command": sys.argv,
    }


class Restorable(Protocol):
    """A state that can go back to what a checkpoint holds."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to ``state``."""


def enter(
    path: Path | None, record: Mapping[str, Any], state: Restorable, *, resume: bool, device: torch.device
) -> tuple[RunFolder | None, list[dict[str, Any]]]:
    """The folder of a run that begins, or goes on and brings ``state`` to its last checkpoint; and the trace so far.

    Raises:
        ValueError: if the folder does not fit: there is a run, or there is none, or it was begun otherwise.
    """
    if path is None:
        if resume:
            raise ValueError("to resume, say which run: --resume FOLDER, or out=FOLDER in Python.")
        return None, []
    folder = RunFolder.open(path) if resume else RunFolder.create(path, record)
    folder.check_same(record)
    saved = folder.load(device) if resume else None
    if saved is None:
        return folder, folder.rewind(0)
    try:
        state.load_state_dict(saved)
        epoch = saved["epoch"]
    except (KeyError, RuntimeError, ValueError, AttributeError, TypeError, AssertionError) as error:
        from diffnas.engine.common import first_line

        raise ValueError(f"the checkpoint in {path} does not fit this run: {first_line(error)}") from error
    return folder, folder.rewind(epoch)


def _difference(kept: object, now: object) -> str:
    """What differs between two records, the fields only if they have fields."""
    if isinstance(kept, Mapping) and isinstance(now, Mapping):
        names = [name for name in {**kept, **now} if kept.get(name) != now.get(name)]
        return ", ".join(f"{name} was {kept.get(name)!r} and is {now.get(name)!r}" for name in names)
    return f"it was {kept!r} and is {now!r}"


@dataclass(frozen=True)
class RunFolder:
    """A folder with ``run.json``, ``trace.jsonl`` and ``checkpoint/``.

    ``run.json`` says what the run is and never changes; the trace grows by a line an epoch.
    """

    path: Path

    @classmethod
    def create(cls, path: Path, record: Mapping[str, Any]) -> RunFolder:
        """Begin a run.

        Raises:
            ValueError: if a run is there already; nothing of it is touched.
        """
        if (path / RECORD).exists():
            raise ValueError(f"{path} already holds a run. Resume it with --resume {path}, or choose another --out.")
        left = [name for name in (TRACE, "checkpoint", "genotype.json") if (path / name).exists()]
        if left:
            raise ValueError(f"{path} holds {', '.join(left)} of a run without its {RECORD}. Choose another --out.")
        if path.exists() and not path.is_dir():
            raise ValueError(f"{path} is a file; a run needs a folder of its own.")
        folder = cls(path)
        folder.write_json(RECORD, {"schema": "diffnas/run", "version": VERSION, **record, "made_with": environment()})
        return folder

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """A run that has begun.

        Raises:
            ValueError: if there is none, or it was written by another version.
        """
        folder = cls(path)
        record = folder.record
        if record.get("schema") != "diffnas/run" or record.get("version") != VERSION:
            raise ValueError(f"{path / RECORD} is not a run of this version of diffnas (version {VERSION}).")
        return folder

    @property
    def record(self) -> dict[str, Any]:
        """What ``run.json`` says."""
        return self.read_json(RECORD)

    def read_json(self, name: str) -> dict[str, Any]:
        """A JSON file of the folder; a ValueError that names it if it is missing or broken."""
        try:
            return json_text.read_object(self.path / name)
        except FileNotFoundError:
            raise ValueError(f"{self.path} is not a run folder: it has no {name}.") from None

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a JSON file of the folder, atomically."""
        write_atomically(self.path / name, json.dumps(content, indent=2) + "\n")

    def append(self, line: Mapping[str, Any]) -> None:
        """Add an epoch to the trace."""
        with (self.path / TRACE).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def trace(self, epochs: int | None = None) -> list[dict[str, Any]]:
        """The trace, one mapping an epoch: its first ``epochs`` lines, or all.

        Raises:
            ValueError: if a line that should be there is missing or broken.
        """
        path = self.path / TRACE
        lines = read_text(path, _LONGEST_TRACE).splitlines() if path.exists() else []
        if epochs is None:
            # A run that was killed while it wrote leaves half a line.
            lines = lines[:-1] if lines and not lines[-1].endswith("}") else lines
        elif len(lines) < epochs:
            raise ValueError(f"{path} is damaged: {epochs} epochs are done, {len(lines)} are in it.")
        return [json_text.parse_object(line, f"{path}, line {n},") for n, line in enumerate(lines[:epochs], start=1)]

    def rewind(self, epochs: int) -> list[dict[str, Any]]:
        """Cut the trace back to its first ``epochs`` lines and return them: what a checkpoint knows of."""
        kept = self.trace(epochs)
        write_atomically(self.path / TRACE, "".join(json.dumps(line) + "\n" for line in kept))
        return kept

    def check_same(self, record: Mapping[str, Any]) -> None:
        """Refuse to go on with a run that was begun otherwise.

        Raises:
            ValueError: naming the part of ``record`` that differs.
        """
        kept = self.record
        for part in record:
            if part != "notes" and kept.get(part) != record[part]:
                raise ValueError(
                    f"{self.path} holds a run with another {part}: {_difference(kept.get(part), record[part])}. "
                    "Resume it as it was begun, or start anew with another --out."
                )

    def save(self, state: Mapping[str, Any]) -> None:
        """Write a checkpoint."""
        from diffnas.engine import checkpoint

        checkpoint.save(self.path / "checkpoint", state)

    def load(self, device: torch.device | str = "cpu") -> dict[str, Any] | None:
        """The last checkpoint, or None if there is none yet."""
        from diffnas.engine import checkpoint

        return checkpoint.load(self.path / "checkpoint", device)
