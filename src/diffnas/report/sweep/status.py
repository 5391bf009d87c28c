"""How far each run of a sweep has come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from diffnas.report.reading import Evaluation, Run, Search, read_run
from diffnas.report.sweep.record import SweepRecord, read_end, read_sweep
from diffnas.report.sweep.rows import State
from diffnas.run_files import LOCK
from diffnas.run_folder import RunFolder


@dataclass(frozen=True, kw_only=True)
class Status:
    """How far a run has come.

    Attributes:
        name: the name of its folder.
        values: its place in the grid, as text, by axis.
        state: one of ``STATES`` in ``rows``.
        phase: ``search`` or ``evaluate``; empty if it has not begun.
        epoch, epochs: how many epochs of the phase are over, and how many are planned.
        score: the latest value of the metric that decides; None if there is none.
        said: the same in words, with its pictures (test, held-out or training) and its name.
        live: operations that are in play in the search; None before the first epoch is over.
        seconds: how long the epochs took.
        left: seconds to the end of the phase; None if they are not known.
        reason: why it failed; of a run that is done, what is wrong with the cells that it found. Empty if nothing is.
    """

    name: str
    values: Mapping[str, str]
    state: State
    phase: str = ""
    epoch: int = 0
    epochs: int = 0
    score: float | None = None
    said: str = ""
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
        return str(hash(tuple(self._stamp(name, _state(self.path, name)) for name in self.record.cells)))

    def statuses(self) -> list[Status]:
        """How far each run has come, in the order of the grid."""
        return [self._status(name) for name in self.record.cells]

    def _status(self, name: str) -> Status:
        state = _state(self.path, name)
        stamp = self._stamp(name, state)
        if name not in self._known or self._known[name][0] != stamp:
            self._known[name] = stamp, _read(self.path / name, self.record.cells[name].values, *state)
        return self._known[name][1]

    def _stamp(self, name: str, state: tuple[State, str]) -> str:
        run = RunFolder(self.path / name)
        stamps = map(stamp, (*run.shown_files, *run.evaluation.shown_files))
        return "-".join([*stamps, str(state)])


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
    return ("stopped" if RunFolder(path / name).begun else "waiting"), ""


def _read(folder: Path, values: Mapping[str, str], state: State, reason: str) -> Status:
    if not RunFolder(folder).begun:
        return Status(name=folder.name, values=values, state=state, reason=reason)
    try:
        run = read_run(folder)
    except (ValueError, OSError) as error:
        # The files of a run change while they are read. If the run itself cannot go on, it will say so.
        return Status(name=folder.name, values=values, state=state, reason=reason or f"{error}" * (state == "done"))
    return _of_run(run, folder.name, values, state, reason)


def _of_run(run: Run, name: str, values: Mapping[str, str], state: State, reason: str) -> Status:
    phases = [("search", run.search), ("evaluate", run.evaluation)]
    phase, now = next((name, part) for name, part in reversed(phases) if part is not None)
    assert now is not None
    score, said = _score(now)
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
        score=score,
        said=said,
        live=None if live is None else round(live),
        seconds=sum(line.seconds for _, part in phases if part is not None for line in part.lines),
        left=left if state == "running" else None,
        reason=reason or (_wrong(run) if state == "done" else ""),
    )


def _wrong(run: Run) -> str:
    """What is wrong with the cells that a search found, the worst in a sentence; empty if nothing is."""
    problems = run.search.genotype.problems() if run.search and run.search.genotype else ()
    return problems[-1] if problems else ""


def _score(phase: Search | Evaluation) -> tuple[float | None, str]:
    """The latest value of the metric that decides, and the value in words."""
    task = phase.record.task
    if isinstance(phase, Evaluation) and phase.result is not None:
        pictures, numbers = "test", phase.result.test
    elif not phase.lines:
        return None, ""
    else:
        last = phase.lines[-1]
        held_out = getattr(last, "held_out", None)
        pictures, numbers = ("held-out", held_out) if held_out else ("training", last.train)
    score = numbers[task.deciding]
    return score, f"{task.metric.say(score)} {pictures} {task.deciding}"
