"""The run folder, which holds everything that a run leaves behind, as plain files. Only this module opens them."""

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

from diffnas import files, former, version
from diffnas.run_files import CHECKPOINTS, EVALUATION, GENOTYPE, LANDING, LAST, PREVIOUS, RECORD, RESULT, TRACE
from diffnas.untrusted import json_text
from diffnas.untrusted.whole import MEGA, read_text

_LONGEST_TRACE = 256 * MEGA  # 600 epochs of the largest space have 100 million
_SCHEMA = "diffnas/run"
VERSION = 2
_READABLE = (1, 2)  # diffnas/former.py reads version 1 as if this version had written it

# The name under which a checkpoint holds the record of its folder, and the digest of its trace.
_FOLDER = "folder"


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
    if not saved(RunFolder(path).checkpoints):
        return "No checkpoint was written yet."
    return f"The last checkpoint is untouched; to go on from it: --resume {path}."


def looks_like_run(folder: Path) -> bool:
    """Whether a folder has a record that calls itself that of a run, whatever else is wrong with it."""
    try:
        return json_text.read_object(folder / RECORD).get("schema") == _SCHEMA
    except (OSError, ValueError):
        return False


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
        folder = cls(path)
        if folder.begun:
            raise ValueError(f"{path} already holds a run. Resume it with --resume {path}, or choose another --out.")
        left = [name for name in (TRACE, CHECKPOINTS, GENOTYPE) if (path / name).exists()]
        if left:
            raise ValueError(f"{path} holds {', '.join(left)} of a run without its {RECORD}. Choose another --out.")
        made = {"schema": _SCHEMA, "version": VERSION, **record, "made_with": environment()}
        files.write_bytes_atomically(folder.record_file, as_json(made))
        return folder

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """The folder of a run that has begun.

        Raises:
            ValueError: if ``path`` holds no run, or one of another version.
        """
        folder = cls(path)
        record = folder.record
        if record.get("schema") != _SCHEMA or record.get("version") not in _READABLE:
            raise ValueError(f"{folder.record_file} is not a run of this version of diffnas (version {VERSION}).")
        return folder

    @property
    def record_file(self) -> Path:
        """Where ``run.json`` is."""
        return self.path / RECORD

    @property
    def trace_file(self) -> Path:
        """Where the trace is."""
        return self.path / TRACE

    @property
    def genotype_file(self) -> Path:
        """Where the genotype of a finished search is."""
        return self.path / GENOTYPE

    @property
    def landing_file(self) -> Path:
        """Where the size is at which a finished search with targets landed."""
        return self.path / LANDING

    @property
    def result_file(self) -> Path:
        """Where the result of a finished evaluation is."""
        return self.path / RESULT

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / CHECKPOINTS

    @property
    def shown_files(self) -> tuple[Path, ...]:
        """Where the files are that a report shows, whether they are there yet or not."""
        return self.record_file, self.trace_file, self.genotype_file, self.result_file

    @property
    def evaluation(self) -> RunFolder:
        """The folder of the evaluation of what this search found, whether it has begun or not."""
        return RunFolder(self.path / EVALUATION)

    @property
    def begun(self) -> bool:
        """Whether a run has begun here."""
        return os.path.isfile(self.record_file)  # not is_file(), which raises for a name that is too long

    @cached_property
    def record(self) -> dict[str, Any]:
        """The content of ``run.json``; that of a former version as this version would have written it."""
        return former.record(self.read_json(RECORD))

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

    def result(self) -> dict[str, Any]:
        """The content of ``result.json``; that of a former version as this version would have written it."""
        return former.result(self.read_json(RESULT))

    def genotype(self) -> dict[str, Any]:
        """The content of ``genotype.json``."""
        return self.read_json(GENOTYPE)

    def landing(self) -> dict[str, Any]:
        """The content of ``landing.json``."""
        return self.read_json(LANDING)

    def append(self, line: Mapping[str, Any]) -> str:
        """The text of an epoch's line, which is added to the trace."""
        text = as_line(line)
        with self.trace_file.open("a", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        return text

    def trace(self, epochs: int | None = None) -> list[dict[str, Any]]:
        """The first ``epochs`` lines of the trace, or all, as one mapping for each epoch, as this version writes it.

        Raises:
            Damaged: if one of these lines is missing or broken, or if the epochs are not 0, 1, 2, ... in order.
        """
        path = self.trace_file
        try:
            read = enumerate(self._lines(epochs), start=1)
            lines = [former.line(json_text.parse_object(line, f"{path}, line {number},")) for number, line in read]
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
        path = self.trace_file
        text = read_text(path, _LONGEST_TRACE) if path.exists() else ""
        return text.split("\n")[:-1][:epochs]

    def rewind(self, epochs: int) -> list[dict[str, Any]]:
        """The first ``epochs`` lines of the trace. All others are removed from its file.

        The lines of a former version stay as they were written, because a checkpoint holds their digest.
        """
        kept, text = self.trace(epochs), self.raw(epochs)
        files.unseal(self.trace_file)
        files.write_bytes_atomically(self.trace_file, text)
        return kept

    def raw(self, epochs: int) -> bytes:
        """The first ``epochs`` lines of the trace as they were written."""
        return "".join(f"{line}\n" for line in self._lines(epochs)).encode()

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
        record, trace = (former.record(known[RECORD]), known[TRACE]) if known else (self.record, None)
        other = difference(record, self.record, {**record, **self.record})
        if other:
            raise ValueError(
                f"{self.record_file} was changed after the run began and tells of another {other}. "
                "Undo the change to go on, or start anew with another --out."
            )
        self.trace(epochs)
        if trace not in (None, files.digest(self.raw(epochs))):
            raise Damaged(f"{self.trace_file} is damaged or was changed: it is not what the run wrote.")


def difference(kept: Mapping[str, Any], now: Mapping[str, Any], parts: Iterable[str]) -> str:
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
