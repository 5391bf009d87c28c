"""The driver of a sweep: it begins the runs, tries again those that were lost, and stops all on request."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from pathlib import Path

from diffnas.engine.listen import Interrupted, interruptions
from diffnas.report.sweep.record import EndRecord, read_end, write_end
from diffnas.report.sweep.status import Status, SweepView
from diffnas.sweeps.workers import Ending, Workers

Show = Callable[[Sequence[Status]], None]
"""Is called with the states of the runs, again and again while a sweep goes on."""


def drive(folder: Path, workers: Workers, *, retries: int, show: Show) -> list[Status]:
    """The states of all runs, once each is done or has failed.

    Args:
        folder: the folder of the sweep. Its runs that are done already stay as they are.
        workers: who computes the runs.
        retries: how often a run is tried again. It goes on from its checkpoint.
        show: is called with the states of the runs.

    Raises:
        Interrupted: if a signal asked the sweep to end. All runs have then saved checkpoints.
    """
    with interruptions() as heard:
        try:
            view = SweepView(folder)
            _drive(view, workers, heard, retries=retries, show=show)
        finally:
            workers.stop()
    statuses = view.statuses()
    show(statuses)
    return statuses


def _drive(view: SweepView, workers: Workers, heard: Sequence[int], *, retries: int, show: Show) -> None:
    """Do all runs of a sweep that are not done, until a signal is heard."""
    folder, cells, tries = view.path, view.record.cells, Counter[str]()
    waiting = deque(name for name in cells if not _done(folder, name))
    going: set[str] = set()
    for name in waiting:
        write_end(folder, name, None)
    while waiting or going:
        show(view.statuses())
        while waiting and not heard and workers.has_room(cells[waiting[0]]):
            name = waiting.popleft()
            going.add(name)
            workers.start(name, cells[name])
        for end in workers.ended():
            going.discard(end.name)
            if _tries_again(folder, end, tries, retries):
                waiting.append(end.name)
        if heard:
            raise Interrupted(heard[0], folder)


def _done(folder: Path, name: str) -> bool:
    end = read_end(folder, name)
    return end is not None and end.done


def _tries_again(folder: Path, end: Ending, tries: Counter[str], retries: int) -> bool:
    """Whether a run that has ended is to be tried again. The reason of one that has failed for good is noted."""
    if not end.reason:
        return False
    tries[end.name] += 1
    if not end.final and tries[end.name] <= retries:
        write_end(folder, end.name, None)
        return True
    write_end(folder, end.name, EndRecord(done=False, reason=end.reason))
    return False
