"""The training loop that search and evaluation share, with its trace, checkpoints and interruptions."""

from __future__ import annotations

import hashlib
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
from diffnas.data import DataSet, Stream, fetched
from diffnas.engine import checkpoint, passes, seeds, shared
from diffnas.engine.listen import Interrupted, Listener
from diffnas.engine.nested import not_finite, to_cpu
from diffnas.engine.optimizers import set_rate
from diffnas.engine.ranks import ALONE, Ranks
from diffnas.engine.settings import EvaluateSettings, SearchSettings
from diffnas.engine.totals import Totals, blown_up, check_falls, check_finite
from diffnas.nets.carried import forget
from diffnas.run_folder import RunFolder
from diffnas.task import Task

# The schedule of the weights' learning rate, by ``settings.lr_fall``.
FALLS = {"cosine": schedule.cosine, "line": schedule.slowing_line}


class State(Protocol):
    """What changes during a run, and exactly what a checkpoint holds.

    Attributes:
        epoch, step: the epoch and the number of the next step; both count from 0.
        seconds: time that the steps of the running epoch took.
        train: totals of the running epoch, over the batches that move the weights.
        weight_optimizer: the optimizer of the weights.
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
    """Hands batches to the steps of a run, writes its trace, saves checkpoints, and ends the run on a signal.

    Attributes:
        split: the training pictures, on the device if they fit in memory.
        steps: how many steps the running epoch has.
        stretch: the factor of the learning rate in the running step, for windows of a stream that differ in length.
        trace: one entry for each epoch, as in the run folder.
        settings: the settings of the running stage, including its number of epochs.
        first: the first epoch of the running stage, counted through all stages.
        epochs: how many epochs the run has, counted through all stages.
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
        # The digest of the trace as written. A listener may change the lines it was given, and anybody the file.
        self.written = hashlib.sha256(folder.raw(len(trace)) if folder else b"")
        self.split = data.train.to(fabric.device)
        self.begin_stage(settings, phase=phase, first=0, epochs=settings.epochs)

    def begin_stage(
        self, settings: SearchSettings | EvaluateSettings, *, phase: str, first: int, epochs: int, number: int = 0
    ) -> None:
        """Begin a stage, or go on with it after a resume.

        Args:
            settings: the settings of the stage.
            phase: its name in progress.
            first: its first epoch, counted through all stages.
            epochs: how many epochs the run has, counted through all stages.
            number: the number of the stage, counted from 0.
        """
        self.settings, self.phase, self.first, self.epochs, self.number = settings, phase, first, epochs, number
        self.stretch = 1.0
        self._plan()

    def run(
        self,
        heard: Sequence[int],
        take_step: Callable[[Batch], None],
        line: Callable[[], Mapping[str, Any]],
        reason_to_stop: Callable[[], str | None] = lambda: None,
        before_epoch: Callable[[], None] = lambda: None,
    ) -> str | None:
        """The reason to stop before the last epoch of the stage; None if the stage ran to its end.

        Args:
            heard: the signals that asked the run to end; the list grows while the run goes on.
            take_step: takes a step with pictures, uint8 ``(B, C, H, W)``, and labels, ``(B,)``.
            line: gives the phase's own part of the trace's line, once an epoch is over.
            reason_to_stop: called before each epoch; gives a reason to stop, or None.
            before_epoch: called before the first step of each epoch. If it was cut short, a resumed run calls it again.
        """
        state, end = self.state, self.first + self.settings.epochs
        self.listener.begin(self.phase, self.epochs, self.steps, state.epoch * self.steps + state.step, state.task)
        reason = reason_to_stop()
        while state.epoch < end and reason is None:
            if state.step == 0:
                before_epoch()
            self._take_steps(heard, take_step)
            self._check(f"epoch {state.epoch}")
            self._check_falls()
            shared.bring_together(state, self.ranks)
            self._close({**self._common(), **line()})
            reason = reason_to_stop()
        self.listener.end()
        return reason

    def moment(self) -> Moment:
        """Where the stage stands, with the generator of this step."""
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
        """The learning rate of the weights in the running step."""
        settings = self.settings
        return FALLS[settings.lr_fall](self.moment(), start=settings.lr, stop=settings.lr_min) * self.stretch

    def generator(
        self, purpose: str, device: torch.device | str | None = None, step: int | None = None
    ) -> torch.Generator:
        """The generator for one purpose in a step: the present one if ``step`` is None.

        It is on ``device``, or on the run's device if that is None.
        """
        place = (purpose, self.state.epoch, self.state.step if step is None else step)
        return seeds.generator(self.settings.seed_for(purpose), *place, device=device or self.device)

    def own_generator(self, purpose: str) -> torch.Generator:
        """The random numbers of this step for what differs from picture to picture, and so from rank to rank."""
        place = (purpose, self.state.epoch, self.state.step, *self.ranks.place)
        return seeds.generator(self.settings.seed_for(purpose), *place, device=self.device)

    def _plan(self) -> None:
        """Cut the running epoch into batches."""
        place = self.split, self.indices, self.settings, self.state.epoch, self.ranks
        self.batches = passes.epoch_batches(*place)
        self.steps = len(self.batches)

    def _stretched(self) -> None:
        """Let the learning rate follow the length of the window, as in AWD-LSTM, if lengths differ."""
        if isinstance(self.split, Stream) and self.settings.windows != "fixed":
            self.stretch = self.batches[self.state.step].shape[1] / self.settings.window
            set_rate(self.state.weight_optimizer, self.rate())

    def _take_steps(self, heard: Sequence[int], take_step: Callable[[Batch], None]) -> None:
        """Take the steps that are left of the running epoch."""
        state, settings = self.state, self.settings
        self._plan()
        set_rate(state.weight_optimizer, self.rate())
        begun = time.perf_counter()
        for batch in fetched(self.split, self.batches[state.step :], self.device):
            self._stretched()
            # For a user's own operations that draw torch's global random numbers, such as dropout.
            seeds.seed_torch(seeds.derive(settings.seed, "torch", state.epoch, state.step, *self.ranks.place))
            take_step(batch)
            # Reading the loss makes a GPU wait, so there it is read in few of the steps.
            if may_look(self.device, state.step):
                self._check(f"step {state.step} of epoch {state.epoch}")
                self.listener.step(state.train.loss, state.train.metrics)
            state.step += 1
            now = time.perf_counter()
            state.seconds += now - begun
            begun = now
            number = self.ranks.agree(max(heard, default=0))
            if number:
                self._check(f"step {state.step} of epoch {state.epoch}")
                self._save()
                self.end(number)
        self._rest()

    def _rest(self) -> None:
        """Leave nothing of the windows that were read: the next epoch begins where the stream does."""
        if isinstance(self.split, Stream):
            for stream in (passes.TRAIN, passes.HELD_OUT):
                forget(self.state.net, stream)
            self.stretch = 1.0
            set_rate(self.state.weight_optimizer, self.rate())

    def draws(self, indices: Tensor, purpose: str, steps: Iterable[int]) -> Generator[Batch, None, None]:
        """A random batch of the pictures at ``indices`` for each of ``steps`` of the running epoch, on the device.

        For a stream, ``indices`` are columns, and nothing is random: a batch is the window of these columns that begins
        where the training window of the step begins. This rank gets its part of each batch.
        """
        if isinstance(self.split, Stream):
            windows = passes.beside(indices, self.batches, self.settings)
            return fetched(self.split, (self.ranks.part(windows[step % len(windows)]) for step in steps), self.device)
        orders = (torch.randperm(len(indices), generator=self.generator(purpose, "cpu", step)) for step in steps)
        drawn = (indices[order[: self.settings.batch]] for order in orders)
        return fetched(self.split, map(self.ranks.part, drawn), self.device)

    def heed(self, heard: Sequence[int]) -> None:
        """End the run if a rank has heard a signal.

        Raises:
            Interrupted: in all ranks.
        """
        number = self.ranks.agree(max(heard, default=0))
        if number:
            self.end(number)

    def end(self, number: int) -> None:
        """End the run because of a signal. A resume goes on from the last checkpoint.

        Raises:
            Interrupted: always.
        """
        raise Interrupted(number, self.folder.path if self.folder else None)

    def check(self, loss: float, where: str) -> None:
        """Stop the run if a loss is infinite or nan in any rank.

        Raises:
            NotFinite: saying ``where``, such as "step 3 of epoch 0", and what usually helps.
        """
        check_finite(self.ranks.worst(loss), where, self.folder.path if self.folder else None)

    def _check(self, where: str) -> None:
        self.check(self.state.train.loss, where)

    def _check_falls(self) -> None:
        """Stop the run if a network for a text predicts worse than chance.

        Raises:
            NotFinite: naming the learning rate.
        """
        if isinstance(self.split, Stream) and self.split.is_text:
            where = f"epoch {self.state.epoch + 1}"
            loss = self.ranks.broadcast(self.state.train.loss)
            check_falls(loss, self.split.channels, where, self.settings.lr, self.folder.path if self.folder else None)

    def _common(self) -> dict[str, Any]:
        state = self.state
        (group, *_) = state.weight_optimizer.param_groups
        return {
            "epoch": state.epoch,
            "train": state.train.line(),
            "lr": group["lr"],
            "steps": self.steps,
            "seconds": state.seconds,
        }

    def _close(self, line: dict[str, Any]) -> None:
        """Write the epoch's line, and only then a checkpoint that says that the epoch is over."""
        shared.check_same(self.state, self.ranks, f"epoch {self.state.epoch + 1}")
        # The first rank's line, because seconds and memory differ.
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
        # The loss may be finite all the same: it was computed before the step changed the weights.
        if (name := not_finite(state)) is not None:
            raise blown_up(name, self.state.epoch, self.folder.path)
        checkpoint.save(self.folder.checkpoints, self.folder.stamped(state, self.written.hexdigest()))
