"""The search: one loop for every method."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn import functional

from diffnas.components import discretize, indicators, schedule, update, weighting
from diffnas.components.level import Batch
from diffnas.components.schedule import Moment
from diffnas.components.weighting import Weighting
from diffnas.data import DataSet, Split, batches
from diffnas.data.augment import augment
from diffnas.engine import seeds
from diffnas.engine.common import (
    Totals,
    check_finite,
    computing_on,
    describe_data,
    fixed_random,
    make_fabric,
    parameter_count,
    peak_memory,
    set_rate,
    to_cpu,
)
from diffnas.engine.listen import Interrupted, Listener, Silent, interruptions
from diffnas.engine.run import RunFolder, enter
from diffnas.engine.settings import SearchSettings, as_dict
from diffnas.genotype import Genotype, from_json, save, to_json
from diffnas.method import Method, components
from diffnas.nets.ops import count_macs, draw_noise_from
from diffnas.nets.supernet import Supernet
from diffnas.space import SearchSpace

GENOTYPE = "genotype.json"


@dataclass(kw_only=True)
class SearchState:
    """What changes during a search, and exactly what a checkpoint holds.

    Attributes:
        supernet: the network weights.
        alpha: architecture parameters, ``(edges, ops)``, float32.
        keep: operations still in play, ``(edges, ops)``, bool.
        weighting: the method's weighting, with its own parameters if it has any.
        weight_optimizer, alpha_optimizer: what moves the weights; alpha and the weighting's parameters.
        epoch, step: the next step to take.
        train, held_out: the running epoch's totals over the batches that move the weights, and alpha.
        seconds: time spent in the running epoch.
    """

    supernet: Supernet
    alpha: Tensor
    keep: Tensor
    weighting: Weighting
    weight_optimizer: torch.optim.Optimizer
    alpha_optimizer: torch.optim.Optimizer
    epoch: int = 0
    step: int = 0
    train: Totals = field(default_factory=Totals)
    held_out: Totals = field(default_factory=Totals)
    seconds: float = 0.0

    @property
    def arch(self) -> list[Tensor]:
        """Everything that the update moves: alpha first."""
        return [self.alpha, *weighting.parameters(self.weighting)]

    def prune_(self, keep: Tensor) -> None:
        """Keep only what ``keep`` says, for good: modules, parameters and all that optimisers remember of them."""
        self.keep = self.keep & keep
        assert bool(self.keep.any(dim=1).all()), "an edge may never lose its last operation"
        update.forget(self.alpha_optimizer, self.alpha, ~update.movable(self.keep))
        self.supernet.prune_(self.keep)
        alive = set(self.supernet.parameters())
        (group,) = self.weight_optimizer.param_groups
        for parameter in [parameter for parameter in group["params"] if parameter not in alive]:
            self.weight_optimizer.state.pop(parameter, None)
        group["params"] = [parameter for parameter in group["params"] if parameter in alive]

    def state_dict(self) -> dict[str, Any]:
        """The state as tensors and plain data."""
        return {
            "supernet": self.supernet.state_dict(),
            "alpha": self.alpha.detach(),
            "keep": self.keep,
            "weighting": [parameter.detach() for parameter in weighting.parameters(self.weighting)],
            "weight_optimizer": self.weight_optimizer.state_dict(),
            "alpha_optimizer": self.alpha_optimizer.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "train": self.train.sums,
            "held_out": self.held_out.sums,
            "seconds": self.seconds,
        }

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a state that ``state_dict`` gave, of a search with the same space, method and settings."""
        self.prune_(state["keep"].to(self.keep.device))
        self.supernet.load_state_dict(state["supernet"])
        for tensor, saved in zip(self.arch, [state["alpha"], *state["weighting"]], strict=True):
            tensor.copy_(saved)
        self.weight_optimizer.load_state_dict(state["weight_optimizer"])
        self.alpha_optimizer.load_state_dict(state["alpha_optimizer"])
        self.epoch, self.step, self.seconds = state["epoch"], state["step"], state["seconds"]
        self.train, self.held_out = Totals(state["train"].clone()), Totals(state["held_out"].clone())


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """What a search found.

    Attributes:
        genotype: the cells.
        problems: what is wrong with them, a sentence each; empty for a healthy result.
        trace: an entry an epoch, as in the run folder.
        stopped: why the search ended before its last epoch; None if it did not.
        discarded: for each edge, the weight that reading off its one winner threw away.
        folder: the run folder, if there is one.
    """

    genotype: Genotype
    problems: tuple[str, ...]
    trace: list[dict[str, Any]]
    stopped: str | None
    discarded: tuple[float, ...]
    folder: Path | None


def search(
    data: DataSet,
    *,
    space: SearchSpace,
    method: Method,
    settings: SearchSettings,
    out: Path | None = None,
    resume: bool = False,
    listener: Listener | None = None,
    device: str = "auto",
    precision: str = "32-true",
    notes: Mapping[str, Any] | None = None,
    threads: int | None = None,
) -> SearchResult:
    """Search the cells of ``space`` that suit ``data``. The test split is never touched.

    Args:
        data: pictures and labels.
        space: what may be found.
        method: how it is looked for.
        settings: epochs, learning rates, sizes and the seed.
        out: the run folder; None leaves nothing behind.
        resume: go on from the last checkpoint in ``out``; on a CPU with the same number of threads the result is
            bit for bit that of a search that was never interrupted.
        listener: hears how it goes.
        device: "auto", "cpu" or "cuda".
        precision: Fabric's word for it, such as "32-true" or "bf16-mixed"; alpha stays in float32.
        notes: plain data to keep in ``run.json``: what is needed to load the data again, say.
        threads: how many CPU threads compute; None leaves torch's number as it is.

    Raises:
        ValueError: for settings that cannot work, or a folder that holds something else; nothing is touched.
        Interrupted: on SIGINT or SIGTERM, after a checkpoint was written.
        NotFinite: if the loss leaves the numbers.
    """
    listener = listener or Silent()
    check(space, method, settings, data)
    record = describe(data, space, method, settings, notes or {})
    fabric = make_fabric(device, precision)
    with fixed_random(seeds.derive(settings.seed, "weights")):
        state = begin(data, space, method, settings, fabric.device)
    with computing_on(threads), interruptions() as heard, fixed_random(settings.seed):
        folder, trace = enter(out, record, state, resume=resume, device=fabric.device)
        loop = _Loop(data, space, method, settings, state, fabric, folder, listener, trace)
        return loop.result(loop.run(heard))


def describe(
    data: DataSet, space: SearchSpace, method: Method, settings: SearchSettings, notes: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything that decides the result, as plain data."""
    cells = {
        kind: {"edges": [list(edge) for edge in graph.edges], "ops": [list(names) for names in graph.ops]}
        for kind, graph in space.cells.items()
    }
    return {
        "phase": "search",
        "space": {"name": space.name, "skeleton": space.skeleton, "ops": list(space.ops), "cells": cells},
        "method": {"name": method.name, **components(method)},
        "settings": as_dict(settings),
        "data": describe_data(data),
        "notes": dict(notes),
    }


def check(space: SearchSpace, method: Method, settings: SearchSettings, data: DataSet) -> None:
    """Refuse what cannot work, before anything is built.

    Raises:
        ValueError: with what was given, why it cannot work, and what would.
    """
    held_back = 2 if method.level.data == "halves" else 1
    if len(data.train) < 2 * held_back:
        raise ValueError(f"{data.name} has {len(data.train)} training pictures; a search needs more.")
    widest = max(sum(row) for row in space.offered)
    order = _first_order(method)
    if order < 1:
        raise ValueError(f"the order of entmax must be at least 1, got {order:g}; 1.5 to 3 are usual.")
    if method.pruning is not None and order > 1 and widest > 1:
        # Where the least of `widest` operations dies if all others are tied (support of entmax).
        gap = (widest - 1) ** (1 - order) / (order - 1)
        if settings.alpha_init > gap / 10:
            raise ValueError(
                f"entmax of order {order:g} over {widest} operations removes one at a gap of {gap:.2g} in alpha, and "
                f"alpha starts with a spread of {settings.alpha_init:g}: operations would die before any training. "
                f"Use a lower order, such as 3 with the usual alpha-init of 0.001, or --alpha-init {gap / 10:.1g}."
            )


def _first_order(method: Method) -> float:
    start = Moment(epoch=0, step=0, epochs=1, steps=1)
    if isinstance(method.weighting, weighting.LearnedEntmax):
        return method.weighting.order.item()
    bound = method.weighting if isinstance(method.weighting, partial) else partial(method.weighting)
    if bound.func is weighting.entmax:
        return schedule.value(bound.keywords.get("order", 3.0), start)
    return 1.0


def begin(
    data: DataSet, space: SearchSpace, method: Method, settings: SearchSettings, device: torch.device
) -> SearchState:
    """The state before the first step. Network weights come from torch's own random numbers, alpha from the seed."""
    supernet = Supernet(
        space,
        classes=len(data.classes),
        in_channels=data.channels,
        channels=settings.channels,
        depth=settings.depth,
        stem=settings.stem,
    ).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    keep = torch.tensor(space.offered, device=device)
    drawn = torch.randn(keep.shape, generator=seeds.generator(settings.seed, "alpha"))
    alpha = (settings.alpha_init * drawn).to(device).requires_grad_()
    own = copy.deepcopy(method.weighting)
    if isinstance(own, torch.nn.Module):
        own.to(device)
    arch = [alpha, *weighting.parameters(own)]
    chosen = method.update if settings.alpha_lr is None else partial(method.update, lr=settings.alpha_lr)
    sgd = torch.optim.SGD(
        supernet.parameters(),
        lr=settings.lr,
        momentum=settings.momentum,
        nesterov=settings.nesterov,
        weight_decay=settings.weight_decay,
    )
    return SearchState(
        supernet=supernet,
        alpha=alpha,
        keep=keep,
        weighting=own,
        weight_optimizer=sgd,
        alpha_optimizer=chosen(arch),
    )


def halves(count: int, settings: SearchSettings) -> tuple[Tensor, Tensor]:
    """The pictures that move the weights and those that move alpha, as indices: disjoint halves."""
    if settings.split == "ordered":
        order = torch.arange(count)
    else:
        order = torch.randperm(count, generator=seeds.generator(settings.seed, "halves"))
    return order[: count // 2], order[count // 2 :]


class _Loop:
    """A search under way; as a ``Step`` it is what a level works with."""

    def __init__(
        self,
        data: DataSet,
        space: SearchSpace,
        method: Method,
        settings: SearchSettings,
        state: SearchState,
        fabric: Fabric,
        folder: RunFolder | None,
        listener: Listener,
        trace: list[dict[str, Any]],
    ) -> None:
        self.data, self.space, self.method, self.settings = data, space, method, settings
        self.state, self.fabric, self.folder, self.listener, self.trace = state, fabric, folder, listener, trace
        self.net = fabric.setup_module(state.supernet, move_to_device=False)
        self.split: Split = data.train.to(fabric.device)
        count = len(data.train)
        self.train_indices, self.held_out_indices = (
            halves(count, settings) if method.level.data == "halves" else (torch.arange(count), torch.arange(0))
        )
        used = len(seeds.epoch_order(len(self.train_indices), settings.batch, settings.seed, 0))
        self.steps = -(-used // settings.batch)
        self.told: set[str] = set()
        self.macs = 0

    # The loop.

    def run(self, heard: Sequence[int]) -> str | None:
        """Run to the end, or to a reason to stop, which is returned."""
        state, settings = self.state, self.settings
        self.listener.begin("search", settings.epochs, self.steps, state.epoch * self.steps + state.step)
        self.measure_macs()
        stopped = self.reason_to_stop()
        while state.epoch < settings.epochs and stopped is None:
            self.run_epoch(heard)
            self.close_epoch()
            stopped = self.reason_to_stop()
        self.listener.end()
        return stopped

    def run_epoch(self, heard: Sequence[int]) -> None:
        state, settings = self.state, self.settings
        order = seeds.epoch_order(len(self.train_indices), settings.batch, settings.seed, state.epoch)
        moment = self.moment()
        rate = schedule.cosine(moment, start=settings.lr, stop=settings.lr_min)
        set_rate(state.weight_optimizer, rate)
        state.supernet.train()
        begun = time.perf_counter()
        stream = batches(
            self.split, self.train_indices[order], settings.batch, start=state.step, device=self.fabric.device
        )
        for pictures, labels in stream:
            self.take_step((pictures, labels))
            state.step += 1
            now = time.perf_counter()
            state.seconds += now - begun
            begun = now
            self.hear(heard)

    def take_step(self, batch: Batch) -> None:
        state, settings = self.state, self.settings
        self.now = self.moment()
        self.train = self.prepare(batch, "train")
        if self.method.level.data == "halves" and not self.frozen:
            self.held_out = self.prepare(self.draw_held_out(), "held-out")
        draw_noise_from(state.supernet, self.generator("noise"))
        self.method.level.step(self)
        if settings.prune_every == "step":
            self.prune()
        # Reading the loss back makes a GPU wait, so there it is looked at now and then only.
        if self.fabric.device.type == "cpu" or state.step % 50 == 0:
            check_finite(state.train.loss, f"step {state.step} of epoch {state.epoch}")
            self.listener.step(state.train.loss, state.train.accuracy)

    def hear(self, heard: Sequence[int]) -> None:
        if heard:
            check_finite(self.state.train.loss, f"step {self.state.step} of epoch {self.state.epoch}")
            self.save()
            raise Interrupted(heard[0], self.folder.path if self.folder else None)

    def close_epoch(self) -> None:
        state = self.state
        check_finite(state.train.loss, f"epoch {state.epoch}")
        if self.settings.prune_every == "epoch":
            self.prune()
        found, line = self.line()
        self.trace.append(line)
        if self.folder:
            self.folder.append(line)
        state.epoch, state.step, state.seconds = state.epoch + 1, 0, 0.0
        state.train, state.held_out = Totals(), Totals()
        self.save()
        self.listener.epoch(line)
        for warning in indicators.warnings(line["indicators"], found):
            if warning not in self.told:
                self.told.add(warning)
                self.listener.warn(f"epoch {line['epoch']}: {warning}")

    def save(self) -> None:
        if self.folder:
            self.folder.save(to_cpu(self.state.state_dict()))

    def reason_to_stop(self) -> str | None:
        reasons = (rule(self.trace) for rule in self.method.stopping) if self.trace else iter(())
        return next((reason for reason in reasons if reason), None)

    # What a level works with; see ``components.level.Step``.

    def alpha_gradient(self, batch: Batch) -> list[Tensor]:
        mix = self.mix()
        loss = self.loss(batch, mix, self.state.held_out) + self.penalty(mix)
        # Zeros where nothing depends on alpha: weights that ignore it, or cells that are all ``none``.
        return list(torch.autograd.grad(loss, self.state.arch, materialize_grads=True))

    def weight_gradient(self, batch: Batch) -> None:
        with torch.no_grad():
            mix = self.mix()
        self.fabric.backward(self.loss(batch, mix, self.state.train))

    def both_gradients(self, batch: Batch) -> list[Tensor]:
        mix = self.mix()
        self.fabric.backward(self.loss(batch, mix, self.state.train) + self.penalty(mix))
        arch = self.state.arch
        gradients = [torch.zeros_like(tensor) if tensor.grad is None else tensor.grad for tensor in arch]
        for tensor in arch:
            tensor.grad = None
        return gradients

    def move_alpha(self, gradients: Sequence[Tensor]) -> None:
        if not self.frozen:
            update.move(self.state.alpha_optimizer, self.state.arch, gradients, self.state.keep)

    def move_weights(self) -> None:
        if self.settings.clip:
            torch.nn.utils.clip_grad_norm_(self.state.supernet.parameters(), self.settings.clip)
        self.state.weight_optimizer.step()
        self.state.weight_optimizer.zero_grad()

    # The parts of a step.

    @property
    def frozen(self) -> bool:
        """Whether alpha is warming up."""
        return self.state.epoch < self.settings.alpha_warmup

    def moment(self) -> Moment:
        state = self.state
        return Moment(
            epoch=state.epoch,
            step=state.step,
            epochs=self.settings.epochs,
            steps=self.steps,
            generator=self.generator("mix"),
        )

    def generator(self, purpose: str) -> torch.Generator:
        place = (purpose, self.state.epoch, self.state.step)
        return seeds.generator(self.settings.seed, *place, device=self.fabric.device)

    def prepare(self, batch: Batch, purpose: str) -> Batch:
        data = self.data
        pictures = augment(batch[0], data.augmentation, data.mean, data.std, self.generator(purpose))
        return pictures, batch[1]

    def draw_held_out(self) -> Batch:
        """An independent random batch of the held-out half, as DARTS' code draws it."""
        place = ("held-out order", self.state.epoch, self.state.step)
        order = torch.randperm(len(self.held_out_indices), generator=seeds.generator(self.settings.seed, *place))
        pictures, labels = self.split.take(self.held_out_indices[order[: self.settings.batch]])
        return pictures.to(self.fabric.device), labels.to(self.fabric.device)

    def mix(self) -> Tensor:
        return self.state.weighting(self.state.alpha, self.state.keep, self.now)

    def loss(self, batch: Batch, mix: Tensor, totals: Totals) -> Tensor:
        logits = self.net(batch[0], mix)
        loss = functional.cross_entropy(logits, batch[1])
        totals.add(loss.detach(), logits.detach(), batch[1])
        return loss

    def penalty(self, mix: Tensor) -> Tensor | float:
        if not self.method.regularizers:
            return 0.0
        return torch.stack([rule(mix, self.state.keep, self.now) for rule in self.method.regularizers]).sum()

    @torch.no_grad()
    def final_mix(self) -> Tensor:
        """The mixing weights in float64 and without sampling: what decisions are made on."""
        quiet = replace(self.moment(), generator=None)
        return self.state.weighting(self.state.alpha.double(), self.state.keep, quiet)

    def prune(self) -> None:
        state = self.state
        if self.method.pruning is None or self.frozen or state.epoch < self.settings.prune_warmup:
            return
        keep = self.method.pruning(self.final_mix(), state.keep, replace(self.moment(), generator=None))
        if bool((state.keep & ~keep).any()):
            state.prune_(keep)
            self.macs = 0

    def measure_macs(self) -> None:
        """Multiply-adds of the supernet for one picture; measured again only after something left it."""
        if not self.macs:
            mix = torch.zeros(self.state.keep.shape, device=self.fabric.device)
            net = _Fixed(self.state.supernet, mix)
            self.macs = count_macs(net, (self.data.channels, *self.data.size))

    # What is written down.

    def line(self) -> tuple[Genotype, dict[str, Any]]:
        """The cells as they would be read off now, and the epoch's line in the trace."""
        state = self.state
        self.measure_macs()
        mix = self.final_mix().cpu()
        keep = state.keep.cpu()
        found = self.method.discretize(mix, keep, self.space)
        (group,) = state.weight_optimizer.param_groups
        held_out = self.method.level.data == "halves"
        return found, {
            "epoch": state.epoch,
            "train_loss": state.train.loss,
            "train_accuracy": state.train.accuracy,
            "held_out_loss": state.held_out.loss if held_out else None,
            "held_out_accuracy": state.held_out.accuracy if held_out else None,
            "lr": group["lr"],
            "seconds": state.seconds,
            "parameters": parameter_count(state.supernet),
            "macs": self.macs,
            "peak_memory": peak_memory(self.fabric.device),
            "indicators": indicators.measure(mix, keep, found, self.space),
            "genotype": json.loads(to_json(found)),
            "alpha": state.alpha.detach().cpu().tolist(),
            "mix": mix.tolist(),
            "keep": keep.tolist(),
        }

    def result(self, stopped: str | None) -> SearchResult:
        # From the trace, not read off again: a schedule may have moved on since the last epoch ended.
        last = self.trace[-1]
        found = from_json(json.dumps(last["genotype"]))
        mix, keep = torch.tensor(last["mix"], dtype=torch.float64), torch.tensor(last["keep"])
        if self.folder:
            save(found, self.folder.path / GENOTYPE)
        return SearchResult(
            genotype=found,
            problems=found.problems(),
            trace=self.trace,
            stopped=stopped,
            discarded=tuple(discretize.discarded(mix, keep).tolist()),
            folder=self.folder.path if self.folder else None,
        )


class _Fixed(torch.nn.Module):
    """A supernet with its mixing weights held, so that it maps pictures alone."""

    def __init__(self, supernet: Supernet, mix: Tensor) -> None:
        super().__init__()
        self.supernet, self.mix = supernet, mix

    def forward(self, x: Tensor) -> Tensor:
        """Logits, ``(B, classes)``."""
        logits: Tensor = self.supernet(x, self.mix)
        return logits
