"""What search and evaluation share: the way through the epochs, with checkpoints and interruptions."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from diffnas.components import schedule
from diffnas.components.contract import may_look
from diffnas.components.level import Batch
from diffnas.components.schedule import Moment
from diffnas.data import DataSet, fetched
from diffnas.engine import checkpoint, seeds, shared
from diffnas.engine.listen import Interrupted, Listener
from diffnas.engine.nested import all_finite, to_cpu
from diffnas.engine.optimizers import set_rate
from diffnas.engine.ranks import ALONE, Ranks
from diffnas.engine.run import RunFolder, as_line
from diffnas.engine.settings import EvaluateSettings, SearchSettings
from diffnas.engine.totals import Totals, check_finite
from diffnas.run_files import CHECKPOINTS
from diffnas.task import Task

# How the learning rate of the weights falls, by ``settings.lr_fall``.
FALLS = {"cosine": schedule.cosine, "line": schedule.slowing_line}


class State(Protocol):
    """What changes during a run, and exactly what a checkpoint holds.

    Attributes:
        epoch, step: the next step to take.
        seconds: time spent in the running epoch.
        train: totals of the running epoch, over the batches that move the weights.
        weight_optimizer: what moves the weights.
    """

    epoch: int
    step: int
    seconds: float
    train: Totals
    weight_optimizer: torch.optim.Optimizer

    @property
    def task(self) -> Task:
        """What is learned."""

    @property
    def net(self) -> nn.Module:
        """The net that has the weights."""

    @property
    def totals(self) -> tuple[Totals, ...]:
        """All totals of the running epoch."""

    def advance(self) -> None:
        """Begin the next epoch."""

    def state_dict(self) -> dict[str, Any]:
        """The state as tensors and plain data."""


class TrainingLoop:
    """A run on its way: takes batches to whoever does the steps, writes down, saves, and ends when asked.

    Attributes:
        split: the training pictures, on the device if they fit in memory.
        steps: how many steps an epoch has.
        trace: an entry an epoch, as in the run folder.
        settings: those of the running stage, its epochs among them.
        first: the first epoch of the running stage.
        epochs: of all stages together.
        ranks: this process among those of the run.
    """

    def __init__(
        self,
        phase: str,
        data: DataSet,
        indices: Tensor,
        settings: SearchSettings | EvaluateSettings,
        state: State,
        fabric: Fabric,
        folder: RunFolder | None,
        listener: Listener,
        trace: list[dict[str, Any]],
        ranks: Ranks = ALONE,
    ) -> None:
        self.indices, self.state, self.ranks = indices, state, ranks
        self.device, self.folder, self.listener, self.trace = fabric.device, folder, listener, trace
        # What the trace should be, whatever becomes of its file or of the lines that a listener was given.
        self.written = hashlib.sha256("".join(map(as_line, trace)).encode())
        self.split = data.train.to(fabric.device)
        self.begin_stage(settings, phase=phase, first=0, epochs=settings.epochs)

    def begin_stage(
        self, settings: SearchSettings | EvaluateSettings, *, phase: str, first: int, epochs: int, number: int = 0
    ) -> None:
        """Begin or go on with a stage: its settings, name and first epoch, the epochs of all, and its number."""
        self.settings, self.phase, self.first, self.epochs, self.number = settings, phase, first, epochs, number
        self.steps = len(self.ranks.batches(self._order(0), settings.batch))

    def run(
        self,
        heard: Sequence[int],
        take_step: Callable[[Batch], None],
        line: Callable[[], Mapping[str, Any]],
        reason_to_stop: Callable[[], str | None] = lambda: None,
        before_epoch: Callable[[], None] = lambda: None,
    ) -> str | None:
        """Run to the last epoch of the stage, or to a reason to stop, which is returned.

        Args:
            heard: signals that asked the run to end, as they come.
            take_step: what a step does with pictures, uint8 ``(B, C, H, W)``, and labels, ``(B,)``.
            line: what is to be written down of the epoch that is over.
            reason_to_stop: asked before each epoch.
            before_epoch: called before the first step of each epoch. Cut short, it is called again after a resume.
        """
        state, end = self.state, self.first + self.settings.epochs
        self.listener.begin(self.phase, self.epochs, self.steps, state.epoch * self.steps + state.step, state.task)
        reason = reason_to_stop()
        while state.epoch < end and reason is None:
            if state.step == 0:
                before_epoch()
            self._take_steps(heard, take_step)
            self._check(f"epoch {state.epoch}")
            shared.bring_together(state, self.ranks)
            self._close({**self._common(), **line()})
            reason = reason_to_stop()
        self.listener.end()
        return reason

    def moment(self) -> Moment:
        """Where the stage stands, with the random numbers of this step."""
        state = self.state
        return Moment(
            epoch=state.epoch - self.first,
            step=state.step,
            epochs=self.settings.epochs,
            steps=self.steps,
            stage=self.number,
            generator=self.generator("mix"),
        )

    def rate(self) -> float:
        """The learning rate of the weights in the running epoch."""
        settings = self.settings
        return FALLS[settings.lr_fall](self.moment(), start=settings.lr, stop=settings.lr_min)

    def generator(
        self, purpose: str, device: torch.device | str | None = None, step: int | None = None
    ) -> torch.Generator:
        """The random numbers of a step, this one if None, for one purpose, on the run's device unless one is named."""
        place = (purpose, self.state.epoch, self.state.step if step is None else step)
        return seeds.generator(self.settings.seed, *place, device=device or self.device)

    def own_generator(self, purpose: str) -> torch.Generator:
        """The random numbers of this step for what differs from picture to picture, and so from rank to rank."""
        place = (purpose, self.state.epoch, self.state.step, *self.ranks.place)
        return seeds.generator(self.settings.seed, *place, device=self.device)

    def _order(self, epoch: int) -> Tensor:
        order = seeds.epoch_order(len(self.indices), self.settings.seed, epoch)
        return self.indices[order]

    def _take_steps(self, heard: Sequence[int], take_step: Callable[[Batch], None]) -> None:
        """The steps of the running epoch that are still to take."""
        state, settings = self.state, self.settings
        set_rate(state.weight_optimizer, self.rate())
        batches = self.ranks.batches(self._order(state.epoch), settings.batch)
        begun = time.perf_counter()
        for batch in fetched(self.split, batches[state.step :], self.device):
            # For operations of the user's own that draw from torch's own numbers, such as dropout.
            torch.manual_seed(seeds.derive(settings.seed, "torch", state.epoch, state.step, *self.ranks.place))
            take_step(batch)
            # Reading the loss back makes a GPU wait, so there it is looked at now and then only.
            if may_look(self.device, state.step):
                self._check(f"step {state.step} of epoch {state.epoch}")
                self.listener.step(state.train.loss, state.train.metrics)
            state.step += 1
            now = time.perf_counter()
            state.seconds += now - begun
            begun = now
            asked = self.ranks.agree(max(heard, default=0))
            if asked:
                self._check(f"step {state.step} of epoch {state.epoch}")
                self._save()
                self.end(asked)

    def draws(self, indices: Tensor, purpose: str, steps: Iterable[int]) -> Generator[Batch, None, None]:
        """A random batch of the pictures at ``indices`` for each of some steps of the running epoch, on the device.

        Of a batch, this rank takes its part.
        """
        orders = (torch.randperm(len(indices), generator=self.generator(purpose, "cpu", step)) for step in steps)
        drawn = (indices[order[: self.settings.batch]] for order in orders)
        return fetched(self.split, map(self.ranks.part, drawn), self.device)

    def heed(self, heard: Sequence[int]) -> None:
        """End the run where the last checkpoint is, if a rank has heard a signal."""
        asked = self.ranks.agree(max(heard, default=0))
        if asked:
            self.end(asked)

    def end(self, asked: int) -> None:
        """End the run where the last checkpoint is, for a signal.

        Raises:
            Interrupted: in any case.
        """
        raise Interrupted(asked, self.folder.path if self.folder else None)

    def check(self, loss: float, where: str) -> None:
        """Stop the run if a loss has left the numbers in any rank."""
        check_finite(self.ranks.worst(loss), where, self.folder.path if self.folder else None)

    def _check(self, where: str) -> None:
        self.check(self.state.train.loss, where)

    def _common(self) -> dict[str, Any]:
        state = self.state
        (group, *_) = state.weight_optimizer.param_groups
        return {
            "epoch": state.epoch,
            **state.train.line("train"),
            "lr": group["lr"],
            "steps": self.steps,
            "seconds": state.seconds,
        }

    def _close(self, line: dict[str, Any]) -> None:
        """Write the epoch down, and only then say in a checkpoint that it is over."""
        shared.check_same(self.state, self.ranks, f"epoch {self.state.epoch + 1}")
        # That of the first rank, for it has times of day and of memory.
        line = self.ranks.broadcast(line)
        self.trace.append(line)
        if self.folder:
            self.written.update(self.folder.append(line).encode())
        self.state.advance()
        self._save()
        self.listener.epoch(line)

    def _save(self) -> None:
        own = shared.set_apart(self.state, self.ranks)
        if self.folder is None:
            return
        state = to_cpu({**self.state.state_dict(), **own})
        if not all_finite(state):
            # The loss was still finite: it is that of before the step.
            check_finite(math.nan, f"the weights, in epoch {self.state.epoch}", self.folder.path)
        checkpoint.save(self.folder.path / CHECKPOINTS, self.folder.stamped(state, self.written.hexdigest()))
