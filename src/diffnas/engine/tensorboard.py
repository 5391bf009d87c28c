"""What a run measures, for TensorBoard. Needs the extra ``logging``."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from diffnas.engine.listen import Listener, Silent
from diffnas.task import Task


class TensorBoard:
    """A listener that writes every number of every epoch to TensorBoard's event files, and passes on all it hears.

    Args:
        folder: where the event files go; made when the first epoch begins.
        listener: who else listens.

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
        """Open the files; what an earlier attempt wrote of epochs that come again is left out of the plots."""
        self.phase = phase
        self.writer = self.make_writer(str(self.folder / phase), purge_step=done // max(steps, 1) + 1)
        self.listener.begin(phase, epochs, steps, done, task)

    def step(self, loss: float, metrics: Mapping[str, float]) -> None:
        """Pass it on: the epoch's own numbers come at its end."""
        self.listener.step(loss, metrics)

    def epoch(self, line: Mapping[str, Any]) -> None:
        """Write the epoch's numbers."""
        assert self.writer is not None, "an epoch ends in a phase that has begun"
        for name, value in _numbers(line):
            self.writer.add_scalar(name, value, int(line["epoch"]) + 1)
        self.writer.flush()
        self.listener.epoch(line)

    def note(self, message: str) -> None:
        """Pass it on."""
        self.listener.note(message)

    def warn(self, message: str) -> None:
        """Pass it on."""
        self.listener.warn(message)

    def end(self) -> None:
        """Close the files."""
        if self.writer is not None:
            self.writer.close()
            self.writer = None
        self.listener.end()


def _numbers(line: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """The numbers of a trace's line with their names, those of its groups too; tables of weights are left out."""
    for name, value in line.items():
        if isinstance(value, Mapping) and name != "genotype":
            yield from _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool) and name != "epoch":
            yield prefix + name, value
