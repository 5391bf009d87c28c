"""Listeners, which are told how a run goes, and the signals and errors that end a run."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from diffnas.task import Task


class Listener(Protocol):
    """Is told how a run goes. The command line draws progress bars; a script may ignore everything."""

    def begin(self, phase: str, epochs: int, steps: int, done: int, task: Task) -> None:
        """A phase begins.

        Args:
            phase: its name: "evaluate", "search", or "search, " and the name of a stage.
            epochs, steps: how many epochs it has, and steps an epoch.
            done: how many of its ``epochs * steps`` steps are over, after a resume.
            task: what is learned.
        """

    def step(self, loss: float, metrics: Mapping[str, float]) -> None:
        """A step is over; ``loss`` and the task's ``metrics``, by name, are the means of the epoch so far."""

    def epoch(self, line: Mapping[str, Any]) -> None:
        """An epoch is over; ``line`` is its line of the trace."""

    def note(self, message: str) -> None:
        """A sentence on how the run is computed, before the phase begins."""

    def warn(self, message: str) -> None:
        """Something that the user should know. Each message comes once, and again after a resume."""

    def end(self) -> None:
        """The phase is over."""


class Silent:
    """A listener that does nothing."""

    def begin(self, phase: str, epochs: int, steps: int, done: int, task: Task) -> None:
        """Nothing."""

    def step(self, loss: float, metrics: Mapping[str, float]) -> None:
        """Nothing."""

    def epoch(self, line: Mapping[str, Any]) -> None:
        """Nothing."""

    def note(self, message: str) -> None:
        """Nothing."""

    def warn(self, message: str) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""


class Interrupted(Exception):  # noqa: N818 - not an error: the run was asked to end, and can go on
    """A signal asked the run to end, and the run saved a checkpoint if it has a folder.

    Attributes:
        signal: the number of the signal.
        folder: the run folder, from which the run can be resumed; None if it had none and is lost.
    """

    def __init__(self, number: int, folder: Path | None) -> None:
        name = signal.Signals(number).name
        where = f"Go on with --resume {folder}." if folder else "It had no folder, so nothing is saved."
        super().__init__(f"interrupted by {name}. {where}")
        self.signal = number
        self.folder = folder


class NotFinite(Exception):  # noqa: N818 - named for what it says
    """The loss is infinite or nan. An earlier checkpoint is left as it is."""


class OutOfMemory(Exception):  # noqa: N818 - named for what it says
    """A run needed more memory than there is. An earlier checkpoint is left as it is.

    Attributes:
        left: a sentence that says what is left of the run.
        advice: options with which the run needs less memory.
    """

    def __init__(self, left: str, advice: tuple[str, ...]) -> None:
        less = ", or ".join(advice) or "smaller pictures (--size)"
        super().__init__(f"memory ran out. {left} A new run needs less with {less}.")
        self.left, self.advice = left, advice


class Lost(Exception):  # noqa: N818 - named for what it says
    """Another process of the same run is gone; a checkpoint that was written before is untouched."""


class Diverged(Exception):  # noqa: N818 - named for what it says
    """The processes of a run hold different states; a checkpoint that was written before is untouched."""

    def __init__(self, name: str, number: int, when: str) -> None:
        super().__init__(
            f"after {when} {name} is not the same in the processes 0 and {number}, and nothing was saved of it. A "
            "component that draws without the generator that it is given, or that reads the clock or a file, does that."
        )


@contextmanager
def interruptions() -> Iterator[list[int]]:
    """A context in which SIGINT and SIGTERM do not kill, but are added to the list that it gives.

    A second signal of the same kind kills as usual. Only the main thread gets signals; elsewhere the list stays empty.
    """
    heard: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield heard
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before: dict[int, Any] = {number: signal.getsignal(number) for number in numbers}

    def hear(number: int, frame: FrameType | None) -> None:
        heard.append(number)
        signal.signal(number, before[number])

    for number in numbers:
        signal.signal(number, hear)
    try:
        yield heard
    finally:
        for number in numbers:
            signal.signal(number, before[number])
