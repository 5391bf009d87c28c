"""Running totals of an epoch, and the error that ends a run whose loss is infinite or nan."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from diffnas.engine.listen import NotFinite
from diffnas.run_files import LOSS
from diffnas.run_folder import standing
from diffnas.task import Task

_ADVICE = "In a new run, a lower learning rate (--lr), clipping (--set clip=1) or full precision usually helps."
_ADVICE_IF_LARGE = (
    "Features have become too large: where the operations of an edge do not compete, as gates do not, features can "
    "grow from cell to cell. In a new run, fewer cells (--depth) can help."
)


class Totals:
    """Sums over the batches of an epoch. They stay on the device until somebody reads one.

    Attributes:
        task: the task, which has the metrics.
        sums: the loss times the samples, the sum of every metric, the samples; float64, ``(2 + metrics,)``.
    """

    def __init__(self, task: Task, sums: Tensor | None = None) -> None:
        size = 2 + len(task.metrics)
        if sums is not None and sums.shape != (size,):
            raise ValueError(f"the totals have {len(sums)} sums, and the task {task.name!r} has {size}.")
        self.task = task
        self.sums = torch.zeros(size, dtype=torch.float64) if sums is None else sums

    @torch.no_grad()
    def add(self, loss: Tensor, outputs: Tensor, targets: Tensor) -> None:
        """Add a batch: its mean loss, outputs ``(B, ...)`` and targets ``(B, ...)``."""
        count = self.task.count(targets)
        whole, sums = loss.double() * count, [metric.sum for metric in self.task.metrics.values()]
        found = [whole if measure is None else measure(outputs, targets).double() for measure in sums]
        self.sums = self.sums.to(loss.device)
        self.sums += torch.stack([whole, *found, torch.full_like(loss, count).double()])

    @property
    def loss(self) -> float:
        """The mean loss of a sample; 0 before the first batch."""
        return self._mean(0)

    @property
    def metrics(self) -> dict[str, float]:
        """The value of every metric, by name."""
        named = enumerate(self.task.metrics.items(), start=1)
        return {name: metric.value(self._mean(place)) for place, (name, metric) in named}

    def line(self) -> dict[str, float] | None:
        """The entries of a split in the trace: the loss and every metric by its name; None without a batch."""
        return {LOSS: self.loss, **self.metrics} if self.samples else None

    @property
    def score(self) -> float:
        """The first metric of the task, with its sign changed if lower is better."""
        return self.task.score(self.metrics)

    @property
    def samples(self) -> int:
        """How many samples were added."""
        return int(self.sums[-1])

    def _mean(self, place: int) -> float:
        return float(self.sums[place] / self.sums[-1].clamp_min(1))


def check_finite(loss: float, where: str, folder: Path | None) -> None:
    """Stop a run if its loss is infinite or nan.

    Args:
        loss: the loss.
        where: the step or epoch of the loss, for the error.
        folder: the run folder; None if there is none.

    Raises:
        NotFinite: with what is left of the run, and what usually helps.
    """
    if not math.isfinite(loss):
        raise NotFinite(f"the loss became {loss} in {where}. {standing(folder)} {_ADVICE}")


def blown_up(name: str, epoch: int, folder: Path) -> NotFinite:
    """The error that ends a run in whose state a tensor is infinite or nan.

    Args:
        name: the name of the tensor in the state.
        epoch: how many epochs are over.
        folder: the run folder.
    """
    large = name.endswith((".running_mean", ".running_var"))
    return NotFinite(
        f"{name} became infinite or nan in epoch {epoch}. {standing(folder)} {_ADVICE_IF_LARGE if large else _ADVICE}"
    )


def check_falls(loss: float, tokens: int, where: str, rate: float, folder: Path | None) -> None:
    """Stop a run on a text if its mean loss is far above that of guessing.

    Args:
        loss: the mean loss of a token over an epoch, in nats.
        tokens: the size of the vocabulary.
        where: the epoch, for the error.
        rate: the learning rate.
        folder: the run folder; None if there is none.

    Raises:
        NotFinite: if the loss is above 1.5 times that of a guess without any knowledge.
    """
    guessing = math.log(tokens)
    if loss > 1.5 * guessing:
        raise NotFinite(
            f"the loss is {loss:.2f} in {where}, and guessing has {guessing:.2f}: the learning rate {rate:g} is too "
            f"high. {standing(folder)} In a new run, take a lower one: --lr {rate / 4:.2g}."
        )
