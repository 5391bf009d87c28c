"""The evaluation: a genotype's network trained from scratch, and tested once at the end."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn import functional

from diffnas.components import schedule
from diffnas.components.schedule import Moment
from diffnas.data import Augmentation, DataSet, Split, batches
from diffnas.data.augment import augment, normalize
from diffnas.engine import seeds, trained
from diffnas.engine.common import (
    Totals,
    check_finite,
    computing_on,
    describe_data,
    fixed_random,
    make_fabric,
    peak_memory,
    set_rate,
    to_cpu,
)
from diffnas.engine.listen import Interrupted, Listener, Silent, interruptions
from diffnas.engine.run import RunFolder, enter
from diffnas.engine.settings import EvaluateSettings, as_dict
from diffnas.genotype import Genotype, to_json
from diffnas.nets.network import Network, Output, parameters_of
from diffnas.nets.ops import count_macs, draw_noise_from
from diffnas.space import OpFactory

RESULT = "result.json"


@dataclass(kw_only=True)
class EvaluateState:
    """What changes during an evaluation, and exactly what a checkpoint holds."""

    network: Network
    optimizer: torch.optim.Optimizer
    epoch: int = 0
    step: int = 0
    train: Totals = field(default_factory=Totals)
    seconds: float = 0.0

    def state_dict(self) -> dict[str, Any]:
        """The state as tensors and plain data."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "train": self.train.sums,
            "seconds": self.seconds,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a state that ``state_dict`` gave, of an evaluation with the same genotype and settings."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch, self.step, self.seconds = state["epoch"], state["step"], state["seconds"]
        self.train = Totals(state["train"].clone())


@dataclass(frozen=True, kw_only=True)
class EvaluateResult:
    """What an evaluation measured.

    Attributes:
        network: the trained network, in evaluation mode.
        accuracy: share of test pictures that are right after the last epoch, from 0 to 1.
        loss: mean test loss after the last epoch.
        parameters: without the auxiliary head.
        macs: multiply-adds for one picture.
        seconds: time of all training steps.
        trace: an entry an epoch, as in the run folder.
        folder: the run folder, if there is one.
    """

    network: Network
    accuracy: float
    loss: float
    parameters: int
    macs: int
    seconds: float
    trace: list[dict[str, Any]]
    folder: Path | None


def evaluate(
    genotype: Genotype,
    data: DataSet,
    *,
    settings: EvaluateSettings,
    out: Path | None = None,
    resume: bool = False,
    listener: Listener | None = None,
    device: str = "auto",
    precision: str = "32-true",
    notes: Mapping[str, Any] | None = None,
    threads: int | None = None,
    factories: Mapping[str, OpFactory] | None = None,
) -> EvaluateResult:
    """Train the network of ``genotype`` on all training pictures and test it after the last epoch.

    Nothing is chosen by test accuracy: the test split is read once, at the end.

    Args:
        genotype: what to build.
        data: pictures and labels.
        settings: epochs, learning rate, sizes and the seed.
        out: the run folder; None leaves nothing behind.
        resume: go on from the last checkpoint in ``out``, bit for bit as in ``search``.
        listener: hears how it goes.
        device: "auto", "cpu" or "cuda".
        precision: Fabric's word for it, such as "32-true" or "bf16-mixed".
        notes: plain data to keep in ``run.json``.
        threads: how many CPU threads compute; None leaves torch's number as it is.
        factories: the user's own operations of the genotype.

    Raises:
        ValueError: for a genotype or settings that cannot work, or a folder that holds something else.
        Interrupted: on SIGINT or SIGTERM, after a checkpoint was written.
        NotFinite: if the loss leaves the numbers.
    """
    listener = listener or Silent()
    fabric = make_fabric(device, precision)
    with fixed_random(seeds.derive(settings.seed, "weights")):
        state = begin(genotype, data, settings, fabric.device, factories)
    record = describe(genotype, data, settings, notes or {})
    with computing_on(threads), interruptions() as heard, fixed_random(settings.seed):
        folder, trace = enter(out, record, state, resume=resume, device=fabric.device)
        loop = _Loop(genotype, data, settings, state, fabric, folder, listener, trace)
        loop.run(heard)
        return loop.result()


def describe(genotype: Genotype, data: DataSet, settings: EvaluateSettings, notes: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that decides the result, as plain data."""
    return {
        "phase": "evaluate",
        "genotype": json.loads(to_json(genotype)),
        "settings": as_dict(settings),
        "data": describe_data(data),
        "notes": dict(notes),
    }


def begin(
    genotype: Genotype,
    data: DataSet,
    settings: EvaluateSettings,
    device: torch.device,
    factories: Mapping[str, OpFactory] | None = None,
) -> EvaluateState:
    """The state before the first step; weights come from torch's own random numbers."""
    network = Network(
        genotype,
        classes=len(data.classes),
        in_channels=data.channels,
        channels=settings.channels,
        depth=settings.depth,
        stem=settings.stem,
        auxiliary=settings.auxiliary > 0 and genotype.skeleton == "darts",
        factories=factories,
    ).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=settings.lr,
        momentum=settings.momentum,
        nesterov=settings.nesterov,
        weight_decay=settings.weight_decay,
    )
    return EvaluateState(network=network, optimizer=optimizer)


@torch.no_grad()
def test(network: Network, split: Split, data: DataSet, *, batch: int, device: torch.device) -> Totals:
    """Loss and accuracy of a network, in evaluation mode, on all pictures of a split of ``data``."""
    network.eval()
    totals = Totals()
    for pictures, labels in batches(split, torch.arange(len(split)), batch, device=device):
        logits = network(normalize(pictures, data.mean, data.std)).logits
        totals.add(functional.cross_entropy(logits, labels), logits, labels)
    return totals


class _Loop:
    """An evaluation under way."""

    def __init__(
        self,
        genotype: Genotype,
        data: DataSet,
        settings: EvaluateSettings,
        state: EvaluateState,
        fabric: Fabric,
        folder: RunFolder | None,
        listener: Listener,
        trace: list[dict[str, Any]],
    ) -> None:
        self.genotype, self.data, self.settings, self.state = genotype, data, settings, state
        self.fabric, self.folder, self.listener, self.trace = fabric, folder, listener, trace
        self.net = fabric.setup_module(state.network, move_to_device=False)
        self.split = data.train.to(fabric.device)
        self.steps = -(-len(seeds.epoch_order(len(data.train), settings.batch, settings.seed, 0)) // settings.batch)
        self.augmentation: Augmentation = data.augmentation
        if settings.cutout is not None:
            self.augmentation = replace(data.augmentation, cutout=min(settings.cutout, min(data.size) // 2))

    def run(self, heard: Sequence[int]) -> None:
        """Run to the end."""
        state, settings = self.state, self.settings
        self.listener.begin("evaluate", settings.epochs, self.steps, state.epoch * self.steps + state.step)
        while state.epoch < settings.epochs:
            self.run_epoch(heard)
            self.close_epoch()
        self.listener.end()

    def run_epoch(self, heard: Sequence[int]) -> None:
        """The steps of the running epoch that are still to take."""
        state, settings = self.state, self.settings
        moment = Moment(epoch=state.epoch, step=state.step, epochs=settings.epochs, steps=self.steps)
        set_rate(state.optimizer, schedule.cosine(moment, start=settings.lr, stop=settings.lr_min))
        order = seeds.epoch_order(len(self.data.train), settings.batch, settings.seed, state.epoch)
        state.network.train()
        begun = time.perf_counter()
        stream = batches(self.split, order, settings.batch, start=state.step, device=self.fabric.device)
        for pictures, labels in stream:
            self.take_step(pictures, labels)
            state.step += 1
            now = time.perf_counter()
            state.seconds += now - begun
            begun = now
            if heard:
                check_finite(state.train.loss, f"step {state.step} of epoch {state.epoch}")
                self.save()
                raise Interrupted(heard[0], self.folder.path if self.folder else None)

    def take_step(self, pictures: Tensor, labels: Tensor) -> None:
        """One step of the weights."""
        state, settings, data = self.state, self.settings, self.data
        x = augment(pictures, self.augmentation, data.mean, data.std, self.generator("train"))
        draw_noise_from(state.network, self.generator("noise"))
        # DARTS: the probability of dropping a path rises linearly with the epoch.
        drop_path = settings.drop_path * state.epoch / settings.epochs
        output: Output = self.net(x, drop_path, self.generator("drop-path"))
        loss = functional.cross_entropy(output.logits, labels, label_smoothing=settings.label_smoothing)
        state.train.add(loss.detach(), output.logits.detach(), labels)
        if output.auxiliary is not None:
            smoothing = settings.label_smoothing
            loss = loss + settings.auxiliary * functional.cross_entropy(
                output.auxiliary, labels, label_smoothing=smoothing
            )
        self.fabric.backward(loss)
        if settings.clip:
            torch.nn.utils.clip_grad_norm_(state.network.parameters(), settings.clip)
        state.optimizer.step()
        state.optimizer.zero_grad()
        # Reading the loss back makes a GPU wait, so there it is looked at now and then only.
        if self.fabric.device.type == "cpu" or state.step % 50 == 0:
            check_finite(state.train.loss, f"step {state.step} of epoch {state.epoch}")
            self.listener.step(state.train.loss, state.train.accuracy)

    def generator(self, purpose: str) -> torch.Generator:
        """The random numbers of this step for one purpose."""
        place = (purpose, self.state.epoch, self.state.step)
        return seeds.generator(self.settings.seed, *place, device=self.fabric.device)

    def close_epoch(self) -> None:
        """Write the epoch down and begin the next."""
        state = self.state
        check_finite(state.train.loss, f"epoch {state.epoch}")
        (group,) = state.optimizer.param_groups
        line = {
            "epoch": state.epoch,
            "train_loss": state.train.loss,
            "train_accuracy": state.train.accuracy,
            "lr": group["lr"],
            "seconds": state.seconds,
            "peak_memory": peak_memory(self.fabric.device),
        }
        self.trace.append(line)
        if self.folder:
            self.folder.append(line)
        state.epoch, state.step, state.seconds, state.train = state.epoch + 1, 0, 0.0, Totals()
        self.save()
        self.listener.epoch(line)

    def save(self) -> None:
        """Write a checkpoint, if there is a folder for it."""
        if self.folder:
            self.folder.save(to_cpu(self.state.state_dict()))

    def result(self) -> EvaluateResult:
        """Test the network, and leave it and the numbers in the folder."""
        data, network = self.data, self.state.network
        tested = test(network, data.test.to(self.fabric.device), data, batch=256, device=self.fabric.device)
        result = EvaluateResult(
            network=network,
            accuracy=tested.accuracy,
            loss=tested.loss,
            parameters=parameters_of(network),
            macs=count_macs(network, (data.channels, *data.size)),
            seconds=sum(line["seconds"] for line in self.trace),
            trace=self.trace,
            folder=self.folder.path if self.folder else None,
        )
        if self.folder:
            trained.save_trained(self.folder.path, network, self.genotype, self.data, self.settings)
            numbers = {name: getattr(result, name) for name in ("accuracy", "loss", "parameters", "macs", "seconds")}
            self.folder.write_json(RESULT, {"test_pictures": len(data.test), **numbers})
        return result
