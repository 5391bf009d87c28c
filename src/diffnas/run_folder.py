"""The run folder: everything a run leaves behind, as plain files. Whoever opens one of them asks here."""

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

# Under this name a checkpoint holds what it knows of its folder.
_FOLDER = "folder"


class Damaged(ValueError):  # noqa: N818 - named for what it says
    """A file of a run is not what was written."""


def environment() -> dict[str, Any]:
    """What besides the settings can move the last digits of a result."""
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
    """What a JSON file of a run folder holds; half a character from the name of a file becomes an escape in it."""
    return (json.dumps(content, indent=2) + "\n").encode()


def as_line(entry: Mapping[str, Any]) -> str:
    """An epoch as the trace holds it."""
    return json.dumps(entry) + "\n"


def saved(folder: Path) -> list[Path]:
    """The checkpoints in ``folder``, the last one first; a crash between two renames leaves the previous one alone."""
    return [path for path in (folder / LAST, folder / PREVIOUS) if path.exists()]


def standing(path: Path | None) -> str:
    """What is left of a run that ends early, as a sentence; ``path`` is its folder, if it has one."""
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

    ``run.json`` says what the run is and never changes; the trace grows by a line an epoch. A checkpoint knows both as
    they were, and ``digests.json`` what the finished files were: what has changed since is refused, not believed.
    Anybody may read; whoever writes owns the folder (``engine/lock.py``).
    """

    path: Path

    @classmethod
    def create(cls, path: Path, record: Mapping[str, Any]) -> RunFolder:
        """Begin a run.

        Raises:
            ValueError: if a run is there already; nothing of it is touched.
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
        """A run that has begun.

        Raises:
            ValueError: if there is none, or it was written by another version.
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
        """Where it is said what a finished search with targets landed at."""
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
    def files(self) -> tuple[Path, ...]:
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
        """What ``run.json`` says; one of a former version says it as this version would."""
        return former.record(self.read_json(RECORD))

    def read_json(self, name: str) -> dict[str, Any]:
        """A JSON file of the folder; a ValueError that names it if it is missing, broken or not what was written."""
        path = self.path / name
        try:
            read = json_text.read_object(path)
        except FileNotFoundError:
            raise ValueError(f"{self.path} is not a run folder: it has no {name}.") from None
        files.check(path)
        return read

    def result(self) -> dict[str, Any]:
        """What ``result.json`` says; one of a former version says it as this version would."""
        return former.result(self.read_json(RESULT))

    def genotype(self) -> dict[str, Any]:
        """What ``genotype.json`` says."""
        return self.read_json(GENOTYPE)

    def landing(self) -> dict[str, Any]:
        """What ``landing.json`` says."""
        return self.read_json(LANDING)

    def append(self, line: Mapping[str, Any]) -> str:
        """Add an epoch to the trace; the text that was written comes back."""
        text = as_line(line)
        with (self.trace_file).open("a", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        return text

    def trace(self, epochs: int | None = None) -> list[dict[str, Any]]:
        """The trace, one mapping an epoch: its first ``epochs`` lines, or all; former lines as this version has them.

        Raises:
            Damaged: if a line that should be there is missing or broken, or the epochs are not 0, 1, 2, ... in order.
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
        """The text of the trace's first ``epochs`` lines, or of all; half a line that a killed run wrote is none."""
        path = self.trace_file
        text = read_text(path, _LONGEST_TRACE) if path.exists() else ""
        return text.split("\n")[:-1][:epochs]

    def rewind(self, epochs: int) -> list[dict[str, Any]]:
        """Cut the trace back to its first ``epochs`` lines and return them: what a checkpoint knows of.

        They stay as they were written, a former version's too: a checkpoint holds their digest.
        """
        kept, text = self.trace(epochs), self.raw(epochs)
        files.unseal(self.trace_file)
        files.write_bytes_atomically(self.trace_file, text)
        return kept

    def raw(self, epochs: int) -> bytes:
        """The first ``epochs`` lines of the trace as they were written."""
        return "".join(f"{line}\n" for line in self._lines(epochs)).encode()

    def stamped(self, state: Mapping[str, Any], trace: str) -> dict[str, Any]:
        """A state with the record and the digest of the trace, ``trace``, that it belongs to; see ``check_fits``."""
        return {**state, _FOLDER: {RECORD: self.record, TRACE: trace}}

    def check_fits(self, state: Mapping[str, Any]) -> None:
        """Compare the folder with what the checkpoint ``state`` knows of it; one from before it did knows nothing.

        Raises:
            Damaged: if the trace has changed since.
            ValueError: if the record has.
        """
        known, epochs = state.get(_FOLDER), state["epoch"]
        record, trace = (former.record(known[RECORD]), known[TRACE]) if known else (self.record, None)
        other = difference(record, self.record, {**record, **self.record})
        if other:
            raise ValueError(
                f"{self.record_file} was changed after the run began and tells of another {other}. "
                "Put back what was there to go on, or start anew with another --out."
            )
        self.trace(epochs)
        if trace not in (None, files.digest(self.raw(epochs))):
            raise Damaged(f"{self.trace_file} is damaged or was changed: it is not what the run wrote.")


def difference(kept: Mapping[str, Any], now: Mapping[str, Any], parts: Iterable[str]) -> str:
    """The first of ``parts`` that differs between two records, and how; empty if none does."""
    return next((f"{part}: {how}" for part in parts if (how := _change(part, kept.get(part), now.get(part)))), "")


def _change(part: str, kept: object, now: object) -> str:
    """How a part of a record has changed, field by field if it has fields; empty if it has not.

    The name of data is only a name: the same pictures may lie in another folder.
    """
    if not (isinstance(kept, Mapping) and isinstance(now, Mapping)):
        return "" if kept == now else f"it was {kept!r} and is {now!r}"
    names = [name for name in {**kept, **now} if kept.get(name) != now.get(name) and (part, name) != ("data", "name")]
    return ", ".join(f"{name} was {kept.get(name)!r} and is {now.get(name)!r}" for name in names)
