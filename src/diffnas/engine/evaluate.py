"""The evaluation, which trains a genotype's network from scratch and tests it once, at the end."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from diffnas.backends import choose
from diffnas.components.level import Batch
from diffnas.data import DataSet, Split
from diffnas.engine import passes, seeds
from diffnas.engine.averaging import Averaging
from diffnas.engine.devices import (
    computing_on,
    dtype_of,
    in_training,
    make_fabric,
    peak_memory,
    picture_on,
    rounding_products,
)
from diffnas.engine.entry import open_or_resume
from diffnas.engine.evaluate_state import EvaluateState
from diffnas.engine.launch import here
from diffnas.engine.learned import check_kind, check_task
from diffnas.engine.listen import Listener, Silent, interruptions
from diffnas.engine.memory import refuse_hopeless, within_memory
from diffnas.engine.optimizers import optimizer_of, set_rate
from diffnas.engine.penalties import output_penalty
from diffnas.engine.pictures_record import describe_data
from diffnas.engine.ranks import ALONE, Ranks
from diffnas.engine.seeds import fixed_random
from diffnas.engine.settings import EvaluateSettings, as_dict
from diffnas.engine.sync_norm import choose_in, synchronized
from diffnas.engine.tested import test
from diffnas.engine.totals import Totals
from diffnas.engine.trained import save_trained
from diffnas.engine.training_loop import TrainingLoop
from diffnas.files import seal, write_checked
from diffnas.genotype import Genotype, to_json
from diffnas.nets import own
from diffnas.nets.auxiliary import Output
from diffnas.nets.carried import reading
from diffnas.nets.frames import FrameFactory, Sizes
from diffnas.nets.least import least
from diffnas.nets.network import Network, parameters_of
from diffnas.nets.ops import count_macs, draw_noise_from, drawing
from diffnas.nets.sites import Listed, chosen
from diffnas.nets.sizes import published_shape, sizes_of_genotype, sizes_of_space
from diffnas.nets.slot import OpFactory
from diffnas.nets.trained import Trained
from diffnas.parallel import for_pytorch
from diffnas.run_folder import RunFolder, as_json
from diffnas.skeleton import skeleton_of
from diffnas.space import SearchSpace
from diffnas.task import Task, classification


@dataclass(frozen=True, kw_only=True)
class EvaluateResult:
    """What an evaluation measured.

    Attributes:
        network: the trained network, in evaluation mode.
        test: the loss and the metrics of the task on the test pictures, by name, after the last epoch.
        parameters: number of weights, without the auxiliary head.
        macs: multiply-adds for one picture.
        seconds: time of all training steps.
        trace: one entry for each epoch, as in the run folder.
        folder: the run folder, if there is one.
    """

    network: Network
    test: Mapping[str, float]
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
    frame: FrameFactory | None = None,
    task: Task = classification,
) -> EvaluateResult:
    """The network of ``genotype``, trained on all training pictures and tested after the last epoch.

    The test split is read once, at the end, so nothing is chosen by a score on the test pictures.

    Args:
        genotype: the cells of the network.
        data: pictures and labels.
        settings: epochs, learning rate, sizes and the seed.
        out: the run folder; None leaves nothing behind.
        resume: go on from the last checkpoint in ``out``; on a CPU with the same number of threads the result is bit
            for bit that of an evaluation that was never interrupted.
        listener: is told how the evaluation goes.
        device: "auto", "cpu" or "cuda".
        precision: "32-true", "bf16-mixed" or "64-true", as Lightning Fabric names them.
        notes: plain data to keep in ``run.json``.
        threads: how many CPU threads compute; None leaves torch's number as it is.
        factories: what builds the user's own operations of the genotype, by name.
        frame: what builds the user's own frame of the genotype.
        task: what is learned.

    Raises:
        ValueError: for a genotype or settings that cannot work, or a folder that holds another run.
        Interrupted: on SIGINT or SIGTERM, after a checkpoint was written.
        NotFinite: if the loss becomes infinite or nan.
        OutOfMemory: if memory runs out.
    """
    ranks = here()
    listener = listener if listener and ranks.first else Silent()
    check_task(task, data)
    data = passes.as_read(data, skeleton_of(genotype.skeleton), settings.window)
    with within_memory(settings, out):
        fabric = make_fabric(device, precision, ranks)
        _check_network(genotype, data, settings, factories, frame, fabric.device, precision)
        with fixed_random(seeds.derive(settings.seed_for("weights"), "weights")):
            state = begin(genotype, data, settings, fabric.device, factories, frame, dtype_of(precision), task)
        choice = choose_in(ranks, settings, "auto", fabric.device, precision)
        state.network.backend = choice.backend
        picture = picture_on(fabric.device, precision, data)
        computed = (*choose.describe(state.network, choice, picture), *ranks.told)
        record = describe(genotype, data, settings, precision, notes or {}, computed, state.task)
        begun = open_or_resume(out, record, state, resume=resume, device=fabric.device, listener=listener)
        with (
            computing_on(threads, choose.wholly_by(state.network, choice, picture)),
            rounding_products(fabric.device, tf32=settings.tf32),
            interruptions() as heard,
            fixed_random(settings.seed),
            begun as (folder, trace),
            synchronized(ranks, settings),
        ):
            return _Evaluation(genotype, data, settings, state, fabric, folder, listener, trace, ranks).run(heard)


def _check_network(
    genotype: Genotype,
    data: DataSet,
    settings: EvaluateSettings,
    factories: Mapping[str, OpFactory] | None,
    frame: FrameFactory | None,
    place: torch.device,
    precision: str,
) -> None:
    """Refuse a network that does not suit the data, has too little memory, or has parts that do not work."""
    here().check_batch(settings.batch, len(data.train))
    check_kind(
        skeleton_of(genotype.skeleton), data, "this network", "one for sequences, such as lstm or deit-like", "another"
    )
    passes.check_stream(data.train, torch.arange(len(data.train)), settings, data.name, skeleton_of(genotype.skeleton))
    inputs = passes.inputs_of(data, settings)
    sizes = sizes_of_genotype(genotype, len(data.classes), data.channels, **settings.sizes, **inputs, frame=frame)
    _refuse_hopeless(sizes, chosen(genotype), data, settings, place, precision)
    own.try_parts(sizes, chosen(genotype), factories, data.shape)


def require_later(
    space: SearchSpace, data: DataSet, *, settings: EvaluateSettings, device: str = "auto", precision: str = "32-true"
) -> None:
    """Refuse an evaluation that has too little memory for any cells that a search in ``space`` can find.

    It is called before the search.

    Raises:
        ValueError: with the least memory that the evaluation takes, and the memory that is available.
    """
    channels, depth = published_shape(space.skeleton, settings.stem)
    data = passes.as_read(data, skeleton_of(space.skeleton), settings.window)
    largest = sizes_of_space(
        space,
        len(data.classes),
        data.channels,
        channels=settings.channels or channels,
        depth=space.own_depth or settings.depth or depth,
        stem=settings.stem,
        **passes.inputs_of(data, settings),
    )
    # Any cells join one node or more, and may have no operation that learns.
    sizes, nothing = replace(largest, joined=dict.fromkeys(space.cells, 1), affine=True), dict.fromkeys(space.cells, ())
    _refuse_hopeless(sizes, nothing, data, settings, make_fabric(device, precision).device, precision)


def _refuse_hopeless(
    sizes: Sizes, listed: Listed, data: DataSet, settings: EvaluateSettings, place: torch.device, precision: str
) -> None:
    refuse_hopeless(
        "evaluation",
        least(sizes, listed, data.shape),
        here().batch_on(min(settings.batch, len(data.train)), place.type),
        place,
        remembered=settings.remembered,
        inside=not settings.recompute,
        half=precision == "bf16-mixed",
    )


def describe(
    genotype: Genotype,
    data: DataSet,
    settings: EvaluateSettings,
    precision: str,
    notes: Mapping[str, Any],
    computed: Sequence[str],
    task: Task,
) -> dict[str, Any]:
    """The record of an evaluation, as plain data.

    It holds everything that decides the result, and beside that the notes and how the evaluation is computed.
    """
    return {
        "phase": "evaluate",
        "task": task.record(),
        "genotype": json.loads(to_json(genotype)),
        "settings": as_dict(settings),
        "data": describe_data(data),
        "precision": precision,
        "notes": dict(notes),
        "computed": list(computed),
    }


def begin(
    genotype: Genotype,
    data: DataSet,
    settings: EvaluateSettings,
    device: torch.device,
    factories: Mapping[str, OpFactory] | None = None,
    frame: FrameFactory | None = None,
    dtype: torch.dtype = torch.float32,
    task: Task = classification,
) -> EvaluateState:
    """The state before the first step. Weights are drawn from torch's global random numbers and have ``dtype``."""
    network = Network(
        genotype,
        classes=len(data.classes),
        in_channels=data.channels,
        **settings.sizes,
        auxiliary=settings.auxiliary > 0 and skeleton_of(genotype.skeleton).auxiliary,
        factories=factories,
        frame=frame,
        recompute=settings.recompute,
        **passes.inputs_of(data, settings),
    ).to(device, dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return EvaluateState(
        network=network,
        weight_optimizer=optimizer_of(network, settings),
        train=Totals(task),
        averaging=Averaging() if settings.averaging and data.valid is not None else None,
    )


class _Evaluation:
    """Runs an evaluation."""

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
        ranks: Ranks = ALONE,
    ) -> None:
        self.genotype, self.data, self.settings = genotype, data, settings
        self.state, self.fabric = state, fabric
        self.net = in_training(fabric, state.network)
        # Listed once: a walk over the modules takes a twentieth of a small network's step.
        self.weights, self.drawing = list(state.network.parameters()), drawing(state.network)
        self.loss = state.task.training_loss(settings.label_smoothing)
        indices = torch.arange(len(data.train))
        self.loop = TrainingLoop("evaluate", data, indices, settings, state, fabric, folder, listener, trace, ranks)

    def run(self, heard: Sequence[int]) -> EvaluateResult:
        """The result, after training to the last epoch and the test."""
        self.loop.run(heard, self.take_step, self.line)
        return self.result()

    def line(self) -> dict[str, Any]:
        """The evaluation's own part of a line of the trace, with the validation of a stream."""
        valid, averaging = self.data.valid, self.state.averaging
        line = {"peak_memory": peak_memory(self.fabric.device)}
        if valid is None:
            return line
        network = self.state.network
        with averaging.taken(network) if averaging else nullcontext():
            found = self.measured(valid.to(self.fabric.device))
        if averaging:
            averaging.judge(found.loss, network)
        return {**line, "held_out": found.line()}

    def measured(self, split: Split) -> Totals:
        """Loss and metrics of the network on a split."""
        device, ranks = self.fabric.device, self.loop.ranks
        with for_pytorch():
            return test(self.state.network, split, self.data, self.state.task, batch=256, device=device, ranks=ranks)

    def take_step(self, batch: Batch) -> None:
        """Take one step of the weights."""
        state, settings, data = self.state, self.settings, self.data
        pictures, labels = batch
        if not state.network.training:
            state.network.train()
        if settings.warmup:
            step = state.epoch * self.loop.steps + state.step
            set_rate(state.weight_optimizer, self.loop.rate() * settings.warmed(step, self.loop.steps))
        x = data.prepare(pictures, self.loop.own_generator("train"), cutout=settings.cutout, flip=settings.flip)
        draw_noise_from(self.drawing, self.loop.own_generator("noise"))
        # DARTS: the probability of dropping a path rises linearly with the epoch.
        drop_path = settings.drop_path * state.epoch / settings.epochs
        with reading(state.network, passes.TRAIN) if data.in_order else nullcontext():
            output: Output = self.net(x, drop_path, self.loop.own_generator("drop-path"))
        loss = self.loss(output.logits, labels)
        state.train.add(loss.detach(), output.logits.detach(), labels)
        if output.auxiliary is not None:
            loss = loss + settings.auxiliary * self.loss(output.auxiliary, labels)
        loss = loss + output_penalty(state.network.frame, settings)
        self.fabric.backward(loss)
        self.loop.ranks.mean_gradients_(self.weights, len(labels))
        if settings.clip:
            torch.nn.utils.clip_grad_norm_(self.weights, settings.clip)
        state.weight_optimizer.step()
        state.weight_optimizer.zero_grad()
        if state.averaging:
            state.averaging.add(state.network)

    def result(self) -> EvaluateResult:
        """The result of the test. The network and the numbers are written to the folder."""
        data, network = self.data, self.state.network
        if self.state.averaging:
            self.state.averaging.take(network)
        tested = self.measured(data.test.to(self.fabric.device))
        result = EvaluateResult(
            network=network,
            test=tested.line() or {},
            parameters=parameters_of(network),
            macs=count_macs(network, data.shape),
            seconds=sum(line["seconds"] for line in self.loop.trace),
            trace=self.loop.trace,
            folder=self.loop.folder.path if self.loop.folder else None,
        )
        if self.loop.folder:
            save_trained(self.loop.folder.path, self._trained(network))
            numbers = {name: getattr(result, name) for name in ("test", "parameters", "macs", "seconds")}
            write_checked(self.loop.folder.result_file, as_json({"test_pictures": len(data.test), **numbers}))
            seal(self.loop.folder.trace_file)
        return result

    def _trained(self, network: Network) -> Trained:
        data, settings = self.data, self.settings
        return Trained(
            network=network,
            genotype=self.genotype,
            classes=data.classes,
            several=data.several,
            channels=data.channels,
            size=data.size,
            mean=data.mean,
            std=data.std,
            levels=data.levels,
            built=settings.sizes,
            tokens=data.tokens,
            kind=data.kind,
        )
