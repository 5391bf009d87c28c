"""A listener that writes the numbers of a run for TensorBoard. It needs the extra ``logging``."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from diffnas.engine.listen import Listener, Silent
from diffnas.task import Task


class TensorBoard:
    """A listener that writes all numbers of each epoch to TensorBoard's event files.

    Args:
        folder: the folder of the event files; it is made when the first epoch begins.
        listener: another listener, which is told everything too.

    Raises:
        ImportError: if ``tensorboard`` is not installed.
    """

    def __init__(self, folder: str | Path, listener: Listener | None = None) -> None:
        try:
            self.make_writer = importlib.import_module("torch.utils.tensorboard").SummaryWriter
        except ImportError:
            raise ImportError(
                "logging to TensorBoard needs its package: pip install 'diffnas[logging]', or pip install tensorboard."
            ) from None
        self.folder, self.listener = Path(folder), listener or Silent()
        self.phase, self.writer = "", None

    def begin(self, phase: str, epochs: int, steps: int, done: int, task: Task) -> None:
        """Open the files. After a resume, plots leave out what was written of epochs that are run again."""
        self.phase = phase
        self.writer = self.make_writer(str(self.folder / phase), purge_step=done // max(steps, 1) + 1)
        self.listener.begin(phase, epochs, steps, done, task)

    def step(self, loss: float, metrics: Mapping[str, float]) -> None:
        """Tell the other listener. Nothing is written before the epoch is over."""
        self.listener.step(loss, metrics)

    def epoch(self, line: Mapping[str, Any]) -> None:
        """Write the numbers of the epoch."""
        assert self.writer is not None, "an epoch ends in a phase that has begun"
        for name, value in _numbers(line):
            self.writer.add_scalar(name, value, int(line["epoch"]) + 1)
        self.writer.flush()
        self.listener.epoch(line)

    def note(self, message: str) -> None:
        """Tell the other listener."""
        self.listener.note(message)

    def warn(self, message: str) -> None:
        """Tell the other listener."""
        self.listener.warn(message)

    def end(self) -> None:
        """Close the files."""
        if self.writer is not None:
            self.writer.close()
            self.writer = None
        self.listener.end()


def _numbers(line: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """The numbers in a line of the trace, by name. Lists, such as alpha, and the genotype are left out."""
    for name, value in line.items():
        if isinstance(value, Mapping) and name != "genotype":
            yield from _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool) and name != "epoch":
            yield prefix + name, value
