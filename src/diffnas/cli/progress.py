"""Progress on the standard error stream: a bar if the stream is a terminal, else a line for each epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from diffnas.names import showable

if TYPE_CHECKING:  # a command that only prints help imports no torch
    from diffnas.task import Task as Learned


class Rate(TextColumn):
    """A column of a progress bar that shows steps per second."""

    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: Task) -> Text:
        """A text such as ``12.3 steps/s``; empty before the first steps are over."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f} steps/s" if speed else "", style="cyan")


class Display:
    """A listener that shows how a run goes.

    Args:
        console: the console of the standard error stream.
        quiet: whether to show only warnings.
    """

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self.console, self.quiet = console, quiet
        self.bar: Progress | None = None
        self.told: set[str] = set()
        self.phase, self.epochs, self.steps, self.done = "", 0, 0, 0
        self.learned: Learned  # known when a phase begins

    def __enter__(self) -> Display:
        return self

    def __exit__(self, *error: object) -> None:
        # A failed run does not end its phase, and its bar must not stay on the terminal.
        self.end()

    def begin(self, phase: str, epochs: int, steps: int, done: int, task: Learned) -> None:
        """Start the bar at the steps that are done already."""
        self.learned = task
        self.phase, self.epochs, self.steps, self.done = phase, epochs, steps, done // max(steps, 1)
        if done and not self.quiet:
            self.console.print(f"{phase}: going on at epoch {self.done + 1} of {epochs}")
        if self.quiet or not self.console.is_terminal:
            return
        self.bar = Progress(
            TextColumn("[bold]{task.fields[phase]}"),
            BarColumn(bar_width=24),
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
            Rate(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[numbers]}"),
            console=self.console,
            transient=True,
        )
        self.task = self.bar.add_task(
            "", total=epochs * steps, completed=done, phase=phase, epoch=self.epoch_now, epochs=epochs, numbers=""
        )
        self.bar.start()

    @property
    def epoch_now(self) -> int:
        """The running epoch, counted from 1."""
        return min(self.done + 1, self.epochs)

    def step(self, loss: float, metrics: Mapping[str, float]) -> None:
        """Move the bar."""
        if self.bar:
            self.bar.update(self.task, advance=1, numbers=self.learned.written(loss, metrics))

    def epoch(self, line: Mapping[str, Any]) -> None:
        """Move the bar to the end of the epoch, or print a line."""
        self.done = int(line["epoch"]) + 1
        if self.bar:
            # On a GPU, listeners hear of only some steps, but of each epoch.
            self.bar.update(self.task, completed=self.done * self.steps, epoch=self.epoch_now)
        elif not self.quiet:
            live = f", {line['indicators']['live_ops']} live operations" if "indicators" in line else ""
            numbers = self.learned.written(line["train"]["loss"], line["train"])
            self.console.print(f"{self.phase}: epoch {self.done}/{self.epochs}, {numbers}{live}", highlight=False)

    def note(self, message: str) -> None:
        """Print a message once, unless only warnings are wanted."""
        if not self.quiet and message not in self.told:
            self.told.add(message)
            self.console.print(showable(message), style="dim", highlight=False, markup=False, soft_wrap=True)

    def warn(self, message: str) -> None:
        """Print a warning in yellow, but the same text only once."""
        if message not in self.told:
            self.told.add(message)
            told = f"warning: {showable(message)}"
            self.console.print(told, style="yellow", highlight=False, markup=False, soft_wrap=True)

    def end(self) -> None:
        """Remove the bar."""
        if self.bar:
            self.bar.stop()
            self.bar = None
