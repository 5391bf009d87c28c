"""Who hears how a run goes, and how a run hears that it should end."""

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
    """Hears how a run goes. A command line draws progress bars; a script may ignore it all."""

    def begin(self, phase: str, epochs: int, steps: int, done: int, task: Task) -> None:
        """``phase`` ("search" or "evaluate") begins: ``task`` is learned, ``done`` of ``epochs * steps`` steps over."""

    def step(self, loss: float, metrics: Mapping[str, float]) -> None:
        """A step is over; the loss and the task's metrics, by name, are the epoch's so far."""

    def epoch(self, line: Mapping[str, Any]) -> None:
        """An epoch is over; ``line`` is what stands in the trace."""

    def note(self, message: str) -> None:
        """How the run goes about its work; comes before the phase begins."""

    def warn(self, message: str) -> None:
        """Something the user should know; each message comes once, and again after a resume."""

    def end(self) -> None:
        """The phase is over."""


class Silent:
    """Hears nothing."""

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
    """The run was asked to end, and has saved where it was.

    Attributes:
        signal: the number of the signal that asked.
        folder: the run folder it can go on from; None if it had none, and is lost.
    """

    def __init__(self, number: int, folder: Path | None) -> None:
        name = signal.Signals(number).name
        where = f"Go on with --resume {folder}." if folder else "It had no folder, so nothing is saved."
        super().__init__(f"interrupted by {name}. {where}")
        self.signal = number
        self.folder = folder


class NotFinite(Exception):  # noqa: N818 - named for what it says
    """The loss is infinite or not a number; a checkpoint that was written before is untouched."""


class OutOfMemory(Exception):  # noqa: N818 - named for what it says
    """A run needed more memory than there was; a checkpoint that was written before is untouched.

    Attributes:
        left: what is left of the run, a sentence.
        advice: what needs less memory, as options.
    """

    def __init__(self, left: str, advice: tuple[str, ...]) -> None:
        less = ", or ".join(advice) or "smaller pictures (--size)"
        super().__init__(f"memory ran out. {left} Begun anew, the run needs less with {less}.")
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
    """Collects SIGINT and SIGTERM in a list instead of dying of them; a second one kills as usual.

    Signals can only be heard in the main thread; elsewhere the list stays empty.
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
