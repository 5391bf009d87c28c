"""The run folder, which holds everything that a run leaves behind, as plain files."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from diffnas import files, version
from diffnas.engine.settings import HOW, EvaluateSettings, SearchSettings, as_dict
from diffnas.run_files import CHECKPOINTS, GENOTYPE, LAST, PREVIOUS, RECORD, TRACE
from diffnas.untrusted import json_text
from diffnas.untrusted.whole import MEGA, read_text

_LONGEST_TRACE = 256 * MEGA  # 600 epochs of the largest space have 100 million
VERSION = 1

# The name under which a checkpoint holds the record of its folder, and the digest of its trace.
_FOLDER = "folder"


_SETTINGS: dict[str, type[SearchSettings | EvaluateSettings]] = {"search": SearchSettings, "evaluate": EvaluateSettings}

BESIDE = ("notes", "computed")
"""Parts of ``run.json`` that do not decide a result: where the data came from, and how it was computed at first."""


def renamed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a record, under their present names.

    >>> renamed({"epochs": 2, "forward_by": "batched"})
    {'epochs': 2, 'backend': 'auto'}
    """
    names = {"forward_by": "backend"}
    values = {"batched": "auto"}
    return {
        names.get(name, name): values.get(value, value) if name in names else value for name, value in settings.items()
    }


def _with_new_names(method: Any) -> Any:
    """The method of a record, with the present names of its supernet options.

    >>> _with_new_names({"name": "pc-darts", "supernet": "Changes(share=4)"})
    {'name': 'pc-darts', 'supernet': 'SupernetOptions(one_in=4)'}
    """
    if not isinstance(method, Mapping) or not isinstance(method.get("supernet"), str):
        return method
    now = method["supernet"].replace("Changes(share=", "Changes(one_in=").replace("Changes(", "SupernetOptions(")
    return {**method, "supernet": now}


def _deciding(record: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a record that decide the result. A setting from after the run began has its default."""
    if "method" in record:
        record = {**record, "method": _with_new_names(record["method"])}
    settings, kind = record.get("settings"), _SETTINGS.get(str(record.get("phase")))
    if not isinstance(settings, Mapping) or kind is None:
        return dict(record)
    whole = {**as_dict(kind()), **renamed(settings)}
    return {**record, "settings": {name: value for name, value in whole.items() if name not in HOW}}


class Damaged(ValueError):  # noqa: N818 - named for what it says
    """A file of a run is not what was written."""


def environment() -> dict[str, Any]:
    """What besides the settings can change the last digits of a result."""
    import torch

    return {
        "diffnas": version.VERSION,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "command": sys.argv,
    }


def as_json(content: Mapping[str, Any]) -> bytes:
    """The content of a JSON file in a run folder, ASCII only: names of files may hold halves of characters."""
    return (json.dumps(content, indent=2) + "\n").encode()


def as_line(entry: Mapping[str, Any]) -> str:
    """The line of an epoch in the trace."""
    return json.dumps(entry) + "\n"


def saved(folder: Path) -> list[Path]:
    """The checkpoints in ``folder``, the last one first. After a crash there may be only the previous one."""
    return [path for path in (folder / LAST, folder / PREVIOUS) if path.exists()]


def standing(path: Path | None) -> str:
    """A sentence that says what is left of a run that ends early; ``path`` is its folder, None if it has none."""
    if path is None:
        return "The run has no folder, so nothing is saved."
    if not saved(path / CHECKPOINTS):
        return "No checkpoint was written yet."
    return f"The last checkpoint is untouched; to go on from it: --resume {path}."


@dataclass(frozen=True)
class RunFolder:
    """A folder with ``run.json``, ``trace.jsonl`` and ``checkpoint/``.

    ``run.json`` says what the run is and never changes. The trace grows by one line each epoch. A checkpoint holds the
    record and the trace's digest, and ``digests.json`` the digests of finished files; a file that was changed since is
    refused. Anybody may read, but only the owner of the folder may write (``engine/lock.py``).
    """

    path: Path

    @classmethod
    def create(cls, path: Path, record: Mapping[str, Any]) -> RunFolder:
        """The folder of a new run, with its ``run.json``.

        Raises:
            ValueError: if ``path`` holds a run already, which is left as it is.
        """
        if (path / RECORD).exists():
            raise ValueError(f"{path} already holds a run. Resume it with --resume {path}, or choose another --out.")
        left = [name for name in (TRACE, CHECKPOINTS, GENOTYPE) if (path / name).exists()]
        if left:
            raise ValueError(f"{path} holds {', '.join(left)} of a run without its {RECORD}. Choose another --out.")
        folder = cls(path)
        made = {"schema": "diffnas/run", "version": VERSION, **record, "made_with": environment()}
        files.write_bytes_atomically(path / RECORD, as_json(made))
        return folder

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """The folder of a run that has begun.

        Raises:
            ValueError: if ``path`` holds no run, or one of another version.
        """
        folder = cls(path)
        record = folder.record
        if record.get("schema") != "diffnas/run" or record.get("version") != VERSION:
            raise ValueError(f"{path / RECORD} is not a run of this version of diffnas (version {VERSION}).")
        return folder

    @cached_property
    def record(self) -> dict[str, Any]:
        """The content of ``run.json``."""
        return self.read_json(RECORD)

    def read_json(self, name: str) -> dict[str, Any]:
        """The content of a JSON file in the folder.

        Raises:
            ValueError: if the file is missing, broken or changed, with its name.
        """
        path = self.path / name
        try:
            read = json_text.read_object(path)
        except FileNotFoundError:
            raise ValueError(f"{self.path} is not a run folder: it has no {name}.") from None
        files.check(path)
        return read

    def append(self, line: Mapping[str, Any]) -> str:
        """The text of an epoch's line, which is added to the trace."""
        text = as_line(line)
        with (self.path / TRACE).open("a", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        return text

    def trace(self, epochs: int | None = None) -> list[dict[str, Any]]:
        """The first ``epochs`` lines of the trace, or all, as one mapping for each epoch.

        Raises:
            Damaged: if one of these lines is missing or broken, or if the epochs are not 0, 1, 2, ... in order.
        """
        path = self.path / TRACE
        try:
            read = enumerate(self._lines(epochs), start=1)
            lines = [json_text.parse_object(line, f"{path}, line {number},") for number, line in read]
        except ValueError as error:
            raise Damaged(str(error)) from None
        for number, line in enumerate(lines):
            epoch = line.get("epoch")
            if type(epoch) is not int or epoch != number:
                raise Damaged(f"{path} is damaged: line {number + 1} is of epoch {ascii(epoch)[:40]}, not {number}.")
        if epochs is not None and len(lines) < epochs:
            raise Damaged(f"{path} is damaged: {epochs} epochs are done, {len(lines)} are in it.")
        if epochs is None and path.exists():
            files.check(path)
        return lines

    def _lines(self, epochs: int | None) -> list[str]:
        """The text of the trace's first ``epochs`` lines, or of all. Half a line that a killed run left is dropped."""
        path = self.path / TRACE
        text = read_text(path, _LONGEST_TRACE) if path.exists() else ""
        return text.split("\n")[:-1][:epochs]

    def rewind(self, epochs: int) -> list[dict[str, Any]]:
        """The first ``epochs`` lines of the trace. All others are removed from its file."""
        kept = self.trace(epochs)
        files.unseal(self.path / TRACE)
        files.write_atomically(self.path / TRACE, "".join(map(as_line, kept)))
        return kept

    def check_same(self, record: Mapping[str, Any]) -> None:
        """Refuse to resume a run that was begun with another record.

        Raises:
            ValueError: with the part of ``record`` that differs.
        """
        kept, now = _deciding(self.record), _deciding(record)
        other = _difference(kept, now, [part for part in now if part not in BESIDE])
        if other:
            raise ValueError(
                f"{self.path} holds a run with another {other}. "
                "Resume it as it was begun, or start anew with another --out."
            )

    def computed_otherwise(self, record: Mapping[str, Any]) -> str:
        """The differences in how the run is computed, as text; empty if there are none."""
        kept, now = (renamed(each.get("settings") or {}) for each in (self.record, record))
        names = [name for name in HOW if name in kept and name in now and kept[name] != now[name]]
        return ", ".join(f"{name} was {kept[name]!r} and is {now[name]!r}" for name in names)

    def stamped(self, state: Mapping[str, Any], trace: str) -> dict[str, Any]:
        """A checkpoint's ``state`` with the record of this folder, and ``trace``, the digest of its trace.

        ``check_fits`` compares both on a resume.
        """
        return {**state, _FOLDER: {RECORD: self.record, TRACE: trace}}

    def check_fits(self, state: Mapping[str, Any]) -> None:
        """Compare the folder with the record and the digest in a checkpoint, ``state``. Older checkpoints have none.

        Raises:
            Damaged: if the trace was changed since the checkpoint.
            ValueError: if the record was.
        """
        known, epochs = state.get(_FOLDER), state["epoch"]
        record, trace = (known[RECORD], known[TRACE]) if known else (self.record, None)
        other = _difference(record, self.record, {**record, **self.record})
        if other:
            raise ValueError(
                f"{self.path / RECORD} was changed after the run began and tells of another {other}. "
                "Undo the change to go on, or start anew with another --out."
            )
        self.trace(epochs)
        written = "".join(f"{line}\n" for line in self._lines(epochs)).encode()
        if trace not in (None, files.digest(written)):
            raise Damaged(f"{self.path / TRACE} is damaged or was changed: it is not what the run wrote.")


def _difference(kept: Mapping[str, Any], now: Mapping[str, Any], parts: Iterable[str]) -> str:
    """The first of ``parts`` that differs between two records, and how it differs; empty if none does."""
    return next((f"{part}: {how}" for part in parts if (how := _change(part, kept.get(part), now.get(part)))), "")


def _change(part: str, kept: object, now: object) -> str:
    """How a part of a record was changed, field by field if it has fields; empty if it was not.

    A new name of the data is no change, because the same pictures may be in another folder.
    """
    if not (isinstance(kept, Mapping) and isinstance(now, Mapping)):
        return "" if kept == now else f"it was {kept!r} and is {now!r}"
    names = [name for name in {**kept, **now} if kept.get(name) != now.get(name) and (part, name) != ("data", "name")]
    return ", ".join(f"{name} was {kept.get(name)!r} and is {now.get(name)!r}" for name in names)
