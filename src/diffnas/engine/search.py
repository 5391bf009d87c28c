"""The search: one loop for every method, stage by stage."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from diffnas.backends import choose
from diffnas.backends.gpu.graphs import uses_graph
from diffnas.components import discretize, stopping
from diffnas.components.stages import epochs_of
from diffnas.components.traits import traits_of
from diffnas.data import DataSet
from diffnas.engine import aim as aims
from diffnas.engine import contract
from diffnas.engine.aim import Aim
from diffnas.engine.checks import check, check_shared, describe, tell_doubts, with_cells_per_place
from diffnas.engine.controller import Controller
from diffnas.engine.devices import computing_on, dtype_of, make_fabric, picture_on, rounding_products
from diffnas.engine.entry import open_or_resume
from diffnas.engine.landing import Landing
from diffnas.engine.launch import here
from diffnas.engine.learned import check_task
from diffnas.engine.listen import Listener, Silent, interruptions
from diffnas.engine.memory import within_memory
from diffnas.engine.passes import as_read
from diffnas.engine.pause import SearchPause
from diffnas.engine.pretext_step import PretextStep
from diffnas.engine.projection import onto
from diffnas.engine.ranks import ALONE, Ranks
from diffnas.engine.rehearsal import rehearse
from diffnas.engine.reread import reread
from diffnas.engine.running_search import RunningSearch
from diffnas.engine.scaling import land
from diffnas.engine.search_state import SearchState, begin, parts, pretexts_in, staged
from diffnas.engine.search_step import SearchStep
from diffnas.engine.seeds import fixed_random
from diffnas.engine.settings import SearchSettings
from diffnas.engine.sizing import fitting_size
from diffnas.engine.sync_norm import choose_in, synchronized
from diffnas.engine.target import Target
from diffnas.engine.trace_lines import TraceLines
from diffnas.engine.training_loop import TrainingLoop
from diffnas.files import seal, write_checked
from diffnas.genotype import Genotype, from_json, to_json
from diffnas.method import Method
from diffnas.nets.sized import Size, is_network
from diffnas.run_files import FAMILY
from diffnas.run_folder import RunFolder, as_json
from diffnas.skeleton import skeleton_of
from diffnas.space import SearchSpace
from diffnas.task import Task, classification


@dataclass(frozen=True, kw_only=True)
class Member:
    """Cells that a search kept on the way to its result.

    Attributes:
        epoch: the epoch after which they were read off, counted from 0.
        genotype: the cells.
        macs: multiply-adds of the supernet after that epoch, for one picture.
        path: the file that holds them, if there is a run folder.
        landing: the size at which they meet a target, if they were read off for a target of their own.
    """

    epoch: int
    genotype: Genotype
    macs: int
    path: Path | None
    landing: Landing | None = None


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """What a search found.

    Attributes:
        genotype: the cells.
        problems: what is wrong with them, a sentence each; empty for a healthy result.
        trace: one entry for each epoch, as in the run folder.
        stopped: why the search, or its last stage, ended before its last epoch; None if it did not.
        discarded: for each edge, the share of its mixing weight that is lost if only the largest one is read off.
        family: other cells that were kept on the way, the earliest first; empty for most methods.
        folder: the run folder, if there is one.
        landing: the size at which the network of the cells is nearest to the targets; None without a target.
    """

    genotype: Genotype
    problems: tuple[str, ...]
    trace: list[dict[str, Any]]
    stopped: str | None
    discarded: tuple[float, ...]
    family: tuple[Member, ...]
    folder: Path | None
    landing: Landing | None = None


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
    aim: Aim | None = None,
    task: Task = classification,
) -> SearchResult:
    """Search the cells of ``space`` that suit ``data``. The test split is never touched.

    Args:
        data: pictures and labels.
        space: all cells that can be found.
        method: how to search.
        settings: epochs, learning rates, sizes and the seed.
        out: the run folder; None leaves nothing behind.
        resume: go on from the last checkpoint in ``out``; on a CPU with the same number of threads the result is
            bit for bit that of a search that was never interrupted.
        listener: is told how the search goes.
        device: "auto", "cpu" or "cuda".
        precision: "32-true", "bf16-mixed" or "64-true", as Lightning Fabric names them. Alpha is float64 in "64-true",
            else float32.
        notes: plain data to keep in ``run.json``, such as what is needed to load the data again.
        threads: how many CPU threads compute; None leaves torch's number as it is.
        aim: the wanted cost of the network that will be deployed; None if any cost will do.
        task: what is learned.

    Raises:
        ValueError: for settings that cannot work, targets that cannot be met, or a folder that holds another run.
            Nothing is changed.
        Interrupted: on SIGINT or SIGTERM, after a checkpoint was written.
        NotFinite: if the loss becomes infinite or nan.
        OutOfMemory: if memory runs out.
    """
    ranks = here()
    listener = listener if listener and ranks.first else Silent()
    space = with_cells_per_place(space, settings)
    check_task(task, data)
    data = as_read(data, skeleton_of(space.skeleton), settings.window)
    check(space, method, settings, data)
    tell_doubts(method, settings, data, listener)
    check_shared(ranks, data, space, method, settings, aim)
    if aim and not resume:
        aims.check(aim, space, data, method)
    with within_memory(settings, out):
        fabric = make_fabric(device, precision, ranks)
        state = begin(data, space, method, settings, fabric.device, dtype_of(precision), task)
        state.controller = _controller(aim, space, data, method, listener) if aim else None
        rounding = rounding_products(fabric.device, tf32=settings.tf32)
        choice, computed = _computed(state, data, settings, fabric, ranks, precision)
        record = describe(data, space, method, settings, precision, notes or {}, computed, task, aim)
        with computing_on(threads, choice.backend), rounding, interruptions() as heard, fixed_random(settings.seed):
            rehearse(data, space, method, settings, state)
            begun = _begun(out, record, state, resume=resume, device=fabric.device, listener=listener)
            with begun as (folder, trace), synchronized(ranks, settings):
                run = StagedSearch(data, space, method, settings, state, fabric, folder, listener, trace, aim, ranks)
                return run.run(heard)


def _controller(aim: Aim, space: SearchSpace, data: DataSet, method: Method, listener: Listener) -> Controller:
    reaches = aims.reaches(aim, space, data, method)
    return Controller(aim.targets, reaches, listener.warn, start=aim.start, tightens=aim.tightens)


def _computed(
    state: SearchState, data: DataSet, settings: SearchSettings, fabric: Fabric, ranks: Ranks, precision: str
) -> tuple[choose.Choice, tuple[str, ...]]:
    """The backend of a search, and sentences that say what computes which cells."""
    device = fabric.device
    # Called for its errors, which must come before anything is written.
    uses_graph(settings.cuda_graph, state.supernet, device, recompute=settings.recompute)
    choice = choose_in(ranks, settings, settings.backend, device, precision)
    told = choose.describe(state.supernet, choice, picture_on(device, precision, data))
    return choice, (*told, *ranks.told)


@contextmanager
def _begun(
    out: Path | None, record: Mapping[str, Any], state: SearchState, *, resume: bool, **how: Any
) -> Iterator[tuple[RunFolder | None, list[dict[str, Any]]]]:
    """A context with the run folder and the trace of a search, in the state of its beginning or last checkpoint."""
    if not resume:
        state.initialize(state)
    with open_or_resume(out, record, state, resume=resume, **how) as (folder, trace):
        if resume and (state.epoch, state.step) == (0, 0):  # it ended before its first checkpoint
            state.initialize(state)
        state.tell_start(how["listener"].note)
        yield folder, trace


class StagedSearch:
    """Runs a search, stage by stage."""

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
        aim: Aim | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        self.aim = aim
        self.space, self.method, self.settings, self.state = space, method, settings, state
        self.own_indices, held_out_indices = parts(data, method, settings)
        self.stages = contract.stages_of(method, space, settings)
        self.loop = TrainingLoop(
            "search", data, self.own_indices, settings, state, fabric, folder, listener, trace, ranks
        )
        self.running = RunningSearch(data, space, method, self.stages, state, fabric, self.loop, held_out_indices)
        step = SearchStep(self.running)
        self.take_step, self.take_pretext_step = step.take, PretextStep(step).take
        self.line = TraceLines(self.running).line

    def run(self, heard: Sequence[int]) -> SearchResult:
        """The result, after every stage ran to its last epoch or to a reason to stop."""
        pause = SearchPause(self.running, lambda: self.loop.heed(heard))
        reason = None
        for number in range(self.state.stage, len(self.stages)):
            self.begin_stage(number, pause)
            name, before = self.stages[number].name, self.stages[number].before_epoch
            act = partial(contract.act, name, before, pause) if before else lambda: None
            take_step = self.take_step if self.stages[number].pretext is None else self.take_pretext_step
            reason = self.loop.run(heard, take_step, self.line, self.reason_to_stop, act)
        return self.result(reason)

    def begin_stage(self, number: int, pause: SearchPause) -> None:
        """Begin a stage, or go on with it after a resume."""
        state, stage = self.state, self.stages[number]
        begins = number != state.stage or (state.epoch, state.step) == (state.first, 0)
        if begins:
            state.stage, state.first = number, state.epoch
            if stage.pretext is None and state.pretraining is not None:
                self._end_pretext()
        all_pictures = stage.pretext is not None and not self.settings.pretext_own
        self.loop.indices = torch.arange(len(self.running.data.train)) if all_pictures else self.own_indices
        name = "search" if len(self.stages) == 1 else f"search, {stage.name}"
        last = state.first + epochs_of(self.stages[number:])
        own = staged(self.settings, stage, self.space)
        self.loop.begin_stage(own, phase=name, number=number - pretexts_in(self.stages), first=state.first, epochs=last)
        if begins and stage.enter:
            contract.act(stage.name, stage.enter, pause)

    def _end_pretext(self) -> None:
        """Begin the search with the weights of the pretext, and tell what was learned."""
        learned = self.state.task
        self.state.end_pretext_()
        self.running.adopt()
        if self.loop.trace:
            line = self.loop.trace[-1]
            numbers = learned.written(line["train"]["loss"], line["train"])
            self.loop.listener.note(f"the pretext {line['pretext']} is over: {numbers}. Now the search begins.")

    def reason_to_stop(self) -> str | None:
        """The first reason of a stopping rule to end the running stage; None if no rule has one."""
        history = self.loop.trace[self.state.first :]
        if not history or not self.running.stage.may_stop:
            return None
        # With a target, a search may end once each edge has one operation: its cost is fixed. But gates and the
        # strengths of edges would still move.
        final = self.aim is not None and self.method.edges is None and traits_of(self.method.weighting).competes
        rules = (*self.method.stopping, stopping.all_decided) if final else self.method.stopping
        reasons = (contract.reason(rule, history, self.space) for rule in rules)
        return next((reason for reason in reasons if reason), None)

    def family(self) -> tuple[Member, ...]:
        """The cells that were kept on the way; they are written to the run folder too."""
        trace, folder = self.running.history, self.loop.folder
        members = []
        for position in contract.members(self.method.family, trace, self.space):
            line = trace[position]
            path = folder.path / FAMILY / f"epoch-{line['epoch']:04}.json" if folder else None
            member = Member(epoch=line["epoch"], genotype=_cells(line), macs=line["macs"], path=path)
            if path:
                _leave(member.genotype, path)
            members.append(member)
        return (*members, *self.of_targets())

    def of_targets(self) -> Iterator[Member]:
        """The cells for each target of a family; they are written to the run folder too."""
        if self.aim is None or not self.aim.family:
            return
        aim, trace, folder = self.aim, self.running.history, self.loop.folder
        data, method, controller = self.running.data, self.method, self.state.controller
        assert controller is not None

        def size_for(target: Target) -> Size:
            return fitting_size(replace(aim, targets=(target,)), self.space, data, method, stays=True)

        reach = controller.reaches[aim.family[0].cost]
        for found in reread(trace, aim, reach, size_for):
            name = str(found.landing.targets[0]).replace("=", "-").replace("<", "")
            path = folder.path / FAMILY / f"{name}.json" if folder else None
            if path:
                _leave(found.genotype, path)
                write_checked(path.with_suffix(".landing.json"), as_json(found.landing.record()))
            macs = trace[found.epoch]["macs"]
            yield Member(epoch=found.epoch, genotype=found.genotype, macs=macs, path=path, landing=found.landing)

    def result(self, stopped: str | None) -> SearchResult:
        """The result, which is written to the run folder too."""
        # The cells of the trace, not read off anew: a schedule may have moved on since the last epoch ended.
        history = self.running.history
        chosen = history[contract.picked(self.method.pick, history, self.space, self.state.task)]
        mix, keep = torch.tensor(chosen["mix"], dtype=torch.float64), torch.tensor(chosen["keep"])
        found = self.on_target(_cells(chosen), mix, keep)
        folder = self.loop.folder
        if folder:
            _leave(found, folder.genotype_file)
            seal(folder.trace_file)
        landing = self.landing(found)
        return SearchResult(
            genotype=found,
            problems=found.problems(),
            trace=self.loop.trace,
            stopped=stopped,
            discarded=tuple(discretize.discarded(mix, keep).tolist()),
            family=self.family(),
            folder=folder.path if folder else None,
            landing=landing,
        )

    def on_target(self, found: Genotype, mix: Tensor, keep: Tensor) -> Genotype:
        """The cells, or the likeliest that meet all targets if these miss one and edges are chosen one by one."""
        controller = self.state.controller
        if controller is None:
            return found
        cells = onto(found, mix, keep, controller.targets, controller.reaches)
        changed = sum(cells.cells[kind] != found.cells[kind] for kind in found.cells)
        if changed:
            self.loop.listener.note(
                f"read off under the target: {changed} of {len(found.cells)} layers have another operation than the "
                "one with the largest weight."
            )
        return cells

    def landing(self, found: Genotype) -> Landing | None:
        """The size at which the network of the cells is nearest to the targets; written to the run folder too.

        None if there is no target, or if the cells pass nothing on.
        """
        if self.aim is None or not is_network(found):
            return None
        landed = land(self.aim, aims.sized_for(self.aim, self.space, self.running.data), found)
        if self.loop.folder:
            write_checked(self.loop.folder.landing_file, as_json(landed.record()))
        return landed


def _cells(line: Mapping[str, Any]) -> Genotype:
    return from_json(json.dumps(line["genotype"]))


def _leave(cells: Genotype, path: Path) -> None:
    write_checked(path, f"{to_json(cells)}\n".encode())
