"""How far each run of a sweep has come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from diffnas.report.reading import Evaluation, Run, Search, read_run
from diffnas.report.sweep.record import SweepRecord, read_end, read_sweep
from diffnas.report.sweep.rows import State
from diffnas.run_files import EVALUATION, GENOTYPE, LOCK, RECORD, RESULT, TRACE

_FILES = (RECORD, TRACE, GENOTYPE, RESULT)


@dataclass(frozen=True, kw_only=True)
class Status:
    """How far a run has come.

    Attributes:
        name: the name of its folder.
        values: its place in the grid, as text, by axis.
        state: one of ``STATES`` in ``rows``.
        phase: ``search`` or ``evaluate``; empty if it has not begun.
        epoch, epochs: how many epochs of the phase are over, and how many are planned.
        accuracy: the latest accuracy, from 0 to 1; None if there is none.
        pictures: on which pictures: ``test``, ``held-out`` or ``training``.
        live: operations that are in play in the search; None before the first epoch is over.
        seconds: how long the epochs took.
        left: seconds to the end of the phase; None if they are not known.
        reason: why it failed.
    """

    name: str
    values: Mapping[str, str]
    state: State
    phase: str = ""
    epoch: int = 0
    epochs: int = 0
    accuracy: float | None = None
    pictures: str = ""
    live: int | None = None
    seconds: float = 0.0
    left: float | None = None
    reason: str = ""


class SweepView:
    """A reader of a sweep's folder, which reads a run again only if its files have changed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.record: SweepRecord = read_sweep(path)
        self._known: dict[str, tuple[str, Status]] = {}

    def version(self) -> str:
        """A text that changes whenever a run of the sweep changes."""
        return str(hash(tuple(map(self._stamp, self.record.cells))))

    def statuses(self) -> list[Status]:
        """How far each run has come, in the order of the grid."""
        return [self._status(name) for name in self.record.cells]

    def _status(self, name: str) -> Status:
        stamp = self._stamp(name)
        if name not in self._known or self._known[name][0] != stamp:
            self._known[name] = stamp, _read(self.path, name, self.record.cells[name].values)
        return self._known[name][1]

    def _stamp(self, name: str) -> str:
        place = self.path / name
        stamps = [stamp(folder / file) for folder in (place, place / EVALUATION) for file in _FILES]
        return "-".join([*stamps, str(_state(self.path, name)), str((place / LOCK).exists())])


def stamp(path: Path) -> str:
    """A text that changes whenever a file changes; ``0`` if there is no file."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return "0"
    return f"{found.st_mtime_ns:x}.{found.st_size:x}"


def _state(path: Path, name: str) -> tuple[State, str]:
    """The state of a run, and why it failed."""
    try:
        end = read_end(path, name)
    except ValueError as error:
        return "failed", str(error)
    if end is not None:
        return ("done" if end.done else "failed"), end.reason
    if (path / name / LOCK).exists():
        return "running", ""
    return ("stopped" if (path / name / RECORD).exists() else "waiting"), ""


def _read(path: Path, name: str, values: Mapping[str, str]) -> Status:
    state, reason = _state(path, name)
    if not (path / name / RECORD).exists():
        return Status(name=name, values=values, state=state, reason=reason)
    try:
        run = read_run(path / name)
    except (ValueError, OSError) as error:
        # The files of a run change while they are read. If the run itself cannot go on, it will say so.
        return Status(name=name, values=values, state=state, reason=reason or f"{error}" * (state == "done"))
    return _of_run(run, name, values, state, reason)


def _of_run(run: Run, name: str, values: Mapping[str, str], state: State, reason: str) -> Status:
    phases = [("search", run.search), ("evaluate", run.evaluation)]
    phase, now = next((name, part) for name, part in reversed(phases) if part is not None)
    assert now is not None
    accuracy, pictures = _accuracy(now)
    seconds = [line.seconds for line in now.lines]
    left = mean(seconds) * (now.record.epochs - len(seconds)) if seconds else None
    live = run.search.lines[-1].indicators.get("live_ops") if run.search and run.search.lines else None
    return Status(
        name=name,
        values=values,
        state=state,
        phase=phase,
        epoch=len(seconds),
        epochs=now.record.epochs,
        accuracy=accuracy,
        pictures=pictures,
        live=None if live is None else round(live),
        seconds=sum(line.seconds for _, part in phases if part is not None for line in part.lines),
        left=left if state == "running" else None,
        reason=reason,
    )


def _accuracy(phase: Search | Evaluation) -> tuple[float | None, str]:
    """The latest accuracy of a phase, and on which pictures."""
    if isinstance(phase, Evaluation) and phase.result is not None:
        return phase.result.accuracy, "test"
    if not phase.lines:
        return None, ""
    last = phase.lines[-1]
    held_out = getattr(last, "held_out_accuracy", None)
    return (held_out, "held-out") if held_out is not None else (last.train_accuracy, "training")
