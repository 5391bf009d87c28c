"""The search: one loop for every method."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn import functional

from diffnas.components import discretize, indicators, schedule, update, weighting
from diffnas.components.changes import weave
from diffnas.components.level import Batch
from diffnas.components.relaxation import Relaxation, relax
from diffnas.data import DataSet
from diffnas.data.augment import augment
from diffnas.engine import seeds
from diffnas.engine.common import (
    Totals,
    by_kernels,
    computing_on,
    fixed_random,
    make_fabric,
    parameter_count,
    peak_memory,
    rounding_products,
    weights_fixed,
)
from diffnas.engine.drive import Drive
from diffnas.engine.graphed import Graphed, refuse_graph
from diffnas.engine.later import Later
from diffnas.engine.listen import Listener, Silent, interruptions
from diffnas.engine.probe import buffers_kept, descent, moved
from diffnas.engine.request import check, describe, laid_out
from diffnas.engine.run import RunFolder, enter
from diffnas.engine.search_state import SearchState, begin, halves
from diffnas.engine.settings import SearchSettings
from diffnas.genotype import Genotype, from_json, save, to_json
from diffnas.method import Method
from diffnas.nets.network import Network, parameters_of
from diffnas.nets.ops import count_macs, draw_noise_from, drop_skips
from diffnas.nets.supernet import Supernet
from diffnas.space import SearchSpace

GENOTYPE = "genotype.json"


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
        precision: Fabric's word for it, such as "32-true", "bf16-mixed" or "64-true"; alpha stays in float32.
        notes: plain data to keep in ``run.json``: what is needed to load the data again, say.
        threads: how many CPU threads compute; None leaves torch's number as it is.

    Raises:
        ValueError: for settings that cannot work, or a folder that holds something else; nothing is touched.
        Interrupted: on SIGINT or SIGTERM, after a checkpoint was written.
        NotFinite: if the loss leaves the numbers.
    """
    listener = listener or Silent()
    space = laid_out(space, settings)
    check(space, method, settings, data)
    record = describe(data, space, method, settings, precision, notes or {})
    fabric = make_fabric(device, precision)
    with fixed_random(seeds.derive(settings.seed, "weights")):
        state = begin(data, space, method, settings, fabric.device)
    if settings.cuda_graph:
        refuse_graph(state.supernet, fabric.device, precision, recompute=settings.recompute)
    rounding = rounding_products(fabric.device, tf32=settings.tf32)
    kernels = by_kernels(settings.forward_by, fabric.device, precision)
    with computing_on(threads, kernels=kernels), rounding, interruptions() as heard, fixed_random(settings.seed):
        folder, trace = enter(out, record, state, resume=resume, device=fabric.device)
        under_way = _Search(data, space, method, settings, state, fabric, folder, listener, trace)
        return under_way.run(heard)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """The beginning of a search that leads nowhere, for measuring what a step costs.

    Attributes:
        state: what a step changes.
        macs: multiply-adds of the supernet for one picture.
        step: takes a step on the first pictures.
    """

    state: SearchState
    macs: int
    step: Callable[[], None]


def trial(
    data: DataSet,
    *,
    space: SearchSpace,
    method: Method,
    settings: SearchSettings,
    device: str = "auto",
    precision: str = "32-true",
    keep: Tensor | None = None,
) -> Trial:
    """Begin a search that leads nowhere; ``keep``, ``(edges, ops)``, says which operations are left, all if None."""
    space = laid_out(space, settings)
    fabric = make_fabric(device, precision)
    with fixed_random(seeds.derive(settings.seed, "weights")):
        state = begin(data, space, method, settings, fabric.device)
    if keep is not None:
        state.prune_(keep.to(fabric.device))
    under_way = _Search(data, space, method, settings, state, fabric, None, Silent(), [])
    pictures, labels = data.train.take(torch.arange(settings.batch))
    batch = pictures.to(fabric.device), labels.to(fabric.device)
    return Trial(state=state, macs=under_way.macs, step=partial(under_way.take_step, batch))


class Mix(NamedTuple):
    """The mixing weights of a pass.

    Attributes:
        ops: those of the operations, ``(edges, ops)``.
        whole: what the supernet takes, ``(edges, columns)``.
    """

    ops: Tensor
    whole: Tensor


class _Search:
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
        self.state, self.fabric = state, fabric
        self.net: Any = fabric.setup_module(state.supernet, move_to_device=False)
        if settings.cuda_graph:
            self.net = Graphed(state.supernet)
        everything = torch.arange(len(data.train)), torch.arange(0)
        in_halves = method.level.data == "halves"
        train_indices, self.held_out_indices = halves(len(data.train), settings) if in_halves else everything
        self.drive = Drive("search", data, train_indices, settings, state, fabric, folder, listener, trace)
        self.told: set[str] = set()
        # Where a decision is read at once, a GPU waits for it in every step.
        on_gpu = fabric.device.type == "cuda"
        self.frees_later = settings.free == "later" or (settings.free == "auto" and on_gpu)
        self.later = Later()
        self.live = int(state.keep.sum())
        self.macs = 0
        self.measure_macs()

    def run(self, heard: Sequence[int]) -> SearchResult:
        """Run to the end, or to a reason to stop."""
        return self.result(self.drive.run(heard, self.take_step, self.line, self.reason_to_stop))

    def take_step(self, batch: Batch) -> None:
        """One step of alpha and the weights, as the level has it."""
        state = self.state
        self.now = self.drive.moment()
        self.train = self.prepare(batch, "train")
        if self.method.level.data == "halves" and not self.frozen:
            self.held_out = self.prepare(self.draw_held_out(), "held-out")
        self.noise = self.drive.generator("noise")
        draw_noise_from(state.supernet, self.noise)
        if self.method.supernet.dropout is not None:
            drop_skips(state.supernet, schedule.value(self.method.supernet.dropout, self.now))
        state.supernet.train()
        self.method.level.step(self)
        if self.settings.prune_every == "step":
            self.prune()

    def reason_to_stop(self) -> str | None:
        """The first reason that a stopping rule has, if any has one."""
        trace = self.drive.trace
        reasons = (rule(trace, self.space) for rule in self.method.stopping) if trace else iter(())
        return next((reason for reason in reasons if reason), None)

    # What a level works with; see ``components.level.Step``.

    def alpha_gradient(self, batch: Batch) -> list[Tensor]:
        with weights_fixed(self.state.supernet):
            mix = self.mix()
            loss = self.loss(batch, mix, self.state.held_out) + self.penalty(mix)
            if not loss.requires_grad:
                return [torch.zeros_like(tensor) for tensor in self.state.arch]
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
            competing = weighting.competes(self.state.weighting)
            update.move(self.state.alpha_optimizer, self.state.arch, gradients, self.state.keep, competing=competing)

    def move_weights(self) -> None:
        if self.settings.clip:
            (group,) = self.state.weight_optimizer.param_groups
            torch.nn.utils.clip_grad_norm_(group["params"], self.settings.clip)
        self.state.weight_optimizer.step()
        self.state.weight_optimizer.zero_grad()

    @property
    def rate(self) -> float:
        (group,) = self.state.weight_optimizer.param_groups
        return float(group["lr"])

    @property
    def weights(self) -> list[Tensor]:
        """What the weights' optimizer moves."""
        (group,) = self.state.weight_optimizer.param_groups
        return list(group["params"])

    def gradients(self, batch: Batch) -> tuple[list[Tensor], list[Tensor]]:
        mix = self.mix()
        loss = self.loss(batch, mix, self.state.held_out) + self.penalty(mix)
        arch = self.state.arch
        found = self.gradients_of(loss, [*arch, *self.weights])
        return found[: len(arch)], found[len(arch) :]

    def probe_alpha(self, batch: Batch) -> list[Tensor]:
        with self.probing():
            return self.gradients_of(self.loss(batch, self.mix(), Totals()), self.state.arch)

    def probe_weights(self, batch: Batch) -> list[Tensor]:
        with self.probing():
            with torch.no_grad():
                mix = self.mix()
            return self.gradients_of(self.loss(batch, mix, Totals()), self.weights)

    def descent(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        return descent(self.state.weight_optimizer, gradients)

    def elsewhere(self, away: Sequence[Tensor]) -> AbstractContextManager[None]:
        return moved(self.weights, away)

    # The parts of a step.

    @staticmethod
    def gradients_of(loss: Tensor, tensors: Sequence[Tensor]) -> list[Tensor]:
        found = torch.autograd.grad(loss, tensors, materialize_grads=True)
        # The next pass may use the memory again that these lie in: a replayed graph does.
        return [gradient.clone() for gradient in found]

    @contextmanager
    def probing(self) -> Iterator[None]:
        """Inside, passes leave no trace, and draw the same random numbers every time in this step."""
        drive, net, now = self.drive, self.state.supernet, self.now
        self.now = replace(now, generator=drive.generator("probe mix"))
        draw_noise_from(net, drive.generator("probe noise"))
        place = seeds.derive(self.settings.seed, "probe", self.state.epoch, self.state.step)
        try:
            with buffers_kept(net), fixed_random(place):
                yield
        finally:
            self.now = now
            draw_noise_from(net, self.noise)

    @property
    def frozen(self) -> bool:
        """Whether alpha is warming up."""
        return self.settings.warming_up(self.state.epoch)

    def prepare(self, batch: Batch, purpose: str) -> Batch:
        data = self.data
        pictures = augment(batch[0], data.augmentation, data.mean, data.std, self.drive.generator(purpose))
        return pictures, batch[1]

    def draw_held_out(self) -> Batch:
        """An independent random batch of the held-out half, as DARTS' code draws it."""
        drawn = torch.randperm(len(self.held_out_indices), generator=self.drive.generator("held-out order", "cpu"))
        pictures, labels = self.drive.split.take(self.held_out_indices[drawn[: self.settings.batch]])
        return pictures.to(self.fabric.device), labels.to(self.fabric.device)

    def mix(self) -> Mix:
        return self.woven(self.state.weighting(self.state.alpha, self.state.keep, self.now))

    def woven(self, mix: Tensor) -> Mix:
        """Weights of operations, ``(edges, ops)``, with all else that the supernet takes."""
        return Mix(mix, weave(mix, self.method.supernet, self.now))

    def loss(self, batch: Batch, mix: Mix, totals: Totals) -> Tensor:
        logits = self.net(batch[0], mix.whole)
        loss = functional.cross_entropy(logits, batch[1])
        totals.add(loss.detach(), logits.detach(), batch[1])
        return loss

    def penalty(self, mix: Mix) -> Tensor | float:
        if not self.method.regularizers:
            return 0.0
        state = self.state
        at = relax(state.weighting, state.alpha, state.keep, self.now, self.space, mix=mix.ops)
        return torch.stack([rule(at) for rule in self.method.regularizers]).sum()

    @torch.no_grad()
    def at_rest(self) -> Relaxation:
        """The relaxation in float64 and without sampling: what decisions are made on."""
        quiet = replace(self.drive.moment(), generator=None)
        return relax(self.state.weighting, self.state.alpha.double(), self.state.keep, quiet, self.space)

    def prune(self) -> None:
        state = self.state
        if self.method.pruning is None or self.frozen or state.epoch < self.settings.prune_warmup:
            return
        keep = self.method.pruning(self.at_rest())
        if not self.frees_later:
            if bool((state.keep & ~keep).any()):
                state.prune_(keep)
                self.forget()
            return
        state.decide_(keep)
        arrived = self.later.exchange(state.keep)
        if arrived is not None:
            self.free(arrived)

    def free(self, keep: Tensor) -> None:
        """Free what was decided against; ``keep`` is on the host."""
        live = int(keep.sum())
        if live != self.live:
            self.state.free_(keep)
            self.live = live
            self.forget()

    def forget(self) -> None:
        """Forget what was true of the supernet before something left it."""
        self.macs = 0
        if isinstance(self.net, Graphed):
            self.net.forget()

    def measure_macs(self) -> None:
        """Multiply-adds of the supernet for one picture; measured again only after something left it."""
        if not self.macs:
            mix = torch.zeros(len(self.state.keep), self.state.supernet.columns, device=self.fabric.device)
            net = _Fixed(self.state.supernet, mix)
            self.macs = count_macs(net, (self.data.channels, *self.data.size))

    # What is written down.

    def line(self) -> dict[str, Any]:
        """What the trace says of the epoch that is over, the cells as they would be read off now among it."""
        state = self.state
        if self.settings.prune_every == "epoch":
            self.prune()
        self.free(state.keep.cpu())
        self.measure_macs()
        at = self.at_rest()
        mix, keep = at.mix.cpu(), at.keep.cpu()
        found = self.method.discretize(at.open.cpu(), keep, self.space)
        measured = indicators.measure(mix, keep, found, self.space)
        self.warn(indicators.warnings(measured, found))
        held_out = self.method.level.data == "halves"
        return {
            "held_out_loss": state.held_out.loss if held_out else None,
            "held_out_accuracy": state.held_out.accuracy if held_out else None,
            "parameters": parameter_count(state.supernet),
            "found_parameters": self.size_of(found),
            "macs": self.macs,
            "peak_memory": peak_memory(self.fabric.device),
            "indicators": measured,
            "genotype": json.loads(to_json(found)),
            "alpha": state.alpha.detach().cpu().tolist(),
            "mix": mix.tolist(),
            "keep": keep.tolist(),
        }

    def size_of(self, found: Genotype) -> int | None:
        """Parameters of the network of a genotype at its published size; None if it passes nothing on."""
        classes, channels = len(self.data.classes), self.data.channels
        try:
            with torch.device("meta"):  # nothing is computed, and no random number drawn
                factories = self.space.factories
                return parameters_of(Network(found, classes=classes, in_channels=channels, factories=factories))
        except ValueError:
            return None

    def warn(self, warnings: Sequence[str]) -> None:
        """Tell what was not told before."""
        for warning in warnings:
            if warning not in self.told:
                self.told.add(warning)
                self.drive.listener.warn(f"epoch {self.state.epoch + 1}: {warning}")

    def result(self, stopped: str | None) -> SearchResult:
        # From the trace, not read off again: a schedule may have moved on since the last epoch ended.
        chosen = self.drive.trace[self.method.pick(self.drive.trace, self.space)]
        found = from_json(json.dumps(chosen["genotype"]))
        mix, keep = torch.tensor(chosen["mix"], dtype=torch.float64), torch.tensor(chosen["keep"])
        folder = self.drive.folder
        if folder:
            save(found, folder.path / GENOTYPE)
        return SearchResult(
            genotype=found,
            problems=found.problems(),
            trace=self.drive.trace,
            stopped=stopped,
            discarded=tuple(discretize.discarded(mix, keep).tolist()),
            folder=folder.path if folder else None,
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
