"""A search while it runs: what its steps, its pauses and its trace share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from diffnas.backends.gpu.graphs import Graphed, uses_graph
from diffnas.backends.gpu.host_copy import HostCopy
from diffnas.components import edges
from diffnas.components.edge_weights import EdgeWeights, edge_weights
from diffnas.components.level import Batch
from diffnas.components.relaxation import Relaxation, relax
from diffnas.components.schedule import Moment
from diffnas.components.stages import Stage
from diffnas.data import DataSet
from diffnas.engine import contract
from diffnas.engine.devices import in_training
from diffnas.engine.passes import reading_of
from diffnas.engine.search_state import SearchState
from diffnas.engine.settings import SearchSettings
from diffnas.engine.sync_norm import choose_in
from diffnas.engine.training_loop import TrainingLoop
from diffnas.genotype import Genotype
from diffnas.method import Method
from diffnas.nets.auxiliary import Output
from diffnas.nets.costs import operation_macs
from diffnas.nets.masks import Masks
from diffnas.nets.ops import Noise, count_macs, draw_noise_from, drawing
from diffnas.nets.supernet import Supernet
from diffnas.space import SearchSpace

STEERED_EVERY = 10
"""The least number of steps from one move of the targets' multipliers to the next."""


class RunningSearch:
    """A search while it runs: its state, its training loop, and its supernet as training calls it.

    Attributes:
        stages: the stages of the search; ``state.stage`` says which one runs, and ``settings`` are its settings.
        held_out_indices: the pictures that the weights never see.
        live: how many operations have modules in the supernet.
        net: the supernet as training calls it, under Fabric's precision or replayed from graphs.
        macs: multiply-adds of the supernet for one picture; 0 if operations have left it since the last count.
    """

    def __init__(
        self,
        data: DataSet,
        space: SearchSpace,
        method: Method,
        stages: tuple[Stage, ...],
        state: SearchState,
        fabric: Fabric,
        loop: TrainingLoop,
        held_out_indices: Tensor,
    ) -> None:
        self.data, self.space, self.method, self.stages = data, space, method, stages
        self.state, self.fabric, self.loop = state, fabric, loop
        self.held_out_indices = held_out_indices
        self.adopt()

    @property
    def settings(self) -> SearchSettings:
        """The settings of the running stage."""
        settings = self.loop.settings
        assert isinstance(settings, SearchSettings)
        return settings

    @property
    def stage(self) -> Stage:
        """The running stage."""
        return self.stages[self.state.stage]

    @property
    def epoch(self) -> int:
        """The running epoch, counted from 0 within the running stage."""
        return self.state.epoch - self.state.first

    @property
    def frozen(self) -> bool:
        """Whether alpha stands still, because it is warming up or the weights learn a pretext."""
        return self.state.pretraining is not None or self.settings.warming_up(self.epoch)

    @property
    def holds_out(self) -> bool:
        """Whether there are pictures that the weights never see."""
        return self.method.level.data == "halves"

    @property
    def history(self) -> list[dict[str, Any]]:
        """The trace of the search itself, without the epochs of a pretext."""
        before = self.stages[0]
        return self.loop.trace[before.epochs :] if before.pretext is not None else self.loop.trace

    def adopt(self) -> None:
        """Call the supernet that the state has now; call this after the state got a new one."""
        supernet = self.state.supernet
        self.net: Any = in_training(self.fabric, supernet)
        settings, device = self.settings, self.fabric.device
        precision = self.fabric.strategy.precision.precision
        graph = uses_graph(settings.cuda_graph, supernet, device, recompute=settings.recompute)
        ranks, backend = self.loop.ranks, settings.backend
        graph = graph and self.state.pretraining is None  # a pretext has batches of other sizes
        self.choice = choose_in(ranks, settings, backend, device, precision, graph=graph)
        supernet.backend = self.choice.backend
        if graph:
            self.net = Graphed(
                supernet,
                batch=len(self.loop.ranks.part(self.loop.indices[: settings.batch])),
                warmup_steps=0 if self.frees_later else 3,
                autocast=torch.bfloat16 if precision == "bf16-mixed" else None,
            )
        self._costs: Tensor | None = None
        self._drawing: list[Noise | Masks] | None = None
        self.rescan()

    def rescan(self) -> None:
        """Recompute what depends on ``keep``; call this after operations came or went."""
        self.live = int(self.state.keep.sum())
        self.host_copy = HostCopy()
        self.forget()

    @property
    def costs(self) -> Tensor:
        """Millions of multiply-adds of every offered operation, for one picture, ``(edges, ops)``, float64."""
        if self._costs is None:
            self._costs = millions(self.data, self.space, self.method, self.settings).to(self.fabric.device)
        return self._costs

    def outputs(self, pictures: Tensor, weights: EdgeWeights, *, flow: bool = False) -> Output:
        """The supernet's outputs for pictures in training, under the weights of its edges.

        ``flow`` says whether ``torch.autograd.grad`` will compute the gradients of the weights.
        """
        if isinstance(self.net, Graphed):
            return self.net(pictures, weights, flow=flow)
        found = self.net(pictures, weights)
        return found if isinstance(found, Output) else Output(found, None)

    def prepare(self, batch: Batch, generator: torch.Generator) -> Batch:
        """A batch as training needs it: augmented and normalized."""
        settings = self.settings
        return self.data.prepare(batch[0], generator, cutout=settings.cutout, flip=settings.flip), batch[1]

    @torch.no_grad()
    def at_rest(self) -> Relaxation:
        """The relaxation in float64 and without sampling, from which decisions are made."""
        return self.relaxed(self.state.alpha.double(), self.quiet())

    def relaxed(self, alpha: Tensor, now: Moment, mix: Tensor | None = None) -> Relaxation:
        """The relaxation of alpha at a moment. ``mix`` are its mixing weights if a pass has drawn them already."""
        state = self.state
        costs = self.costs.to(alpha.dtype)
        return relax(state.weighting, alpha, state.keep, now, self.space, mix=mix, costs=costs, history=self.history)

    def quiet(self) -> Moment:
        """Where the stage stands, without a generator, so that nothing is sampled."""
        return replace(self.loop.moment(), generator=None)

    def strengths(self, moment: Moment) -> Tensor | None:
        """The strengths of the edges, ``(edges,)``; None if the method has none."""
        make, beta = self.method.edges, self.state.beta
        return None if make is None or beta is None else edges.strengths(make, beta, moment, self.space)

    def edge_weights(self, mix: Tensor, moment: Moment) -> EdgeWeights:
        """The weights of the supernet's edges, for the mixing weights of operations, ``(edges, ops)``."""
        return edge_weights(mix, self.method.supernet, moment, self.strengths(moment))

    @torch.no_grad()
    def read_off(self, at: Relaxation) -> Genotype:
        """The cells that the method reads off. Where the edges into a node compete, their strengths count too."""
        scores, strengths = at.open, self.strengths(at.moment)
        if strengths is not None and self.space.in_degree is not None:
            scores = scores * strengths.unsqueeze(1)
        return contract.read_off(self.method.discretize, scores.cpu(), at.keep.cpu(), self.space)

    def prune(self) -> None:
        """Remove the operations that the method's pruning rule gives up now."""
        rule, state = self.method.pruning, self.state
        if rule is None or self.frozen or self.epoch < self.settings.prune_warmup:
            return
        at = self.at_rest()
        keep = contract.kept(rule, at)
        if state.controller and bool((state.keep & ~keep).any()):
            keep = state.controller.guarded(state.keep, state.keep & keep, at)
        if not self.frees_later:
            if bool((state.keep & ~keep).any()):
                self.remove(keep)
            return
        state.decide_(keep)
        if isinstance(self.net, Graphed) or self.loop.ranks.several:
            # Modules are freed between epochs: a new graph takes as long as many steps, and the copy of a decision does
            # not reach all ranks at the same step.
            return
        arrived = self.host_copy.exchange(state.keep)
        if arrived is not None:
            self.free(arrived)

    @property
    def steers(self) -> bool:
        """Whether multipliers move now: in every tenth of an epoch, or every ten steps if that is longer."""
        steps = self.loop.steps
        return (self.epoch * steps + self.state.step + 1) % max(STEERED_EVERY, round(steps / 10)) == 0

    def steer(self) -> None:
        """Move the multipliers of the targets, if it is time for that."""
        controller = self.state.controller
        if controller is None:
            return
        controller.progress = (self.state.epoch + (self.state.step + 1) / self.loop.steps) / self.loop.epochs
        if self.frozen or not self.steers:
            return
        at = self.at_rest()
        controller.ascend(at, self.read_off(at))

    @property
    def frees_later(self) -> bool:
        """Whether modules are freed some steps after a decision, so that a GPU need not wait for the host."""
        free = self.settings.free
        return free == "later" or (free == "auto" and self.fabric.device.type == "cuda")

    def remove(self, keep: Tensor) -> None:
        """Remove all operations that are not in ``keep``, for good and at once."""
        self.state.prune_(keep)
        self.live = int(self.state.keep.sum())
        self.forget()

    def free(self, keep: Tensor) -> None:
        """Free the modules of operations that are not in ``keep``, which is on the host."""
        live = int(keep.sum())
        if live != self.live:
            self.state.free_(keep)
            self.live = live
            self.forget()

    def forget(self) -> None:
        """Forget the count and the graphs of the supernet; call this after operations left it."""
        self.macs = 0
        self._drawing = None
        if isinstance(self.net, Graphed):
            self.net.forget()

    def draw_noise_from(self, generator: torch.Generator) -> None:
        """Let what draws random numbers in the supernet draw from ``generator``.

        It is listed once, because a walk over the modules of a supernet takes as long as a step on a fast GPU.
        """
        if self._drawing is None:
            self._drawing = drawing(self.state.supernet)
        draw_noise_from(self._drawing, generator)

    def measure_macs(self) -> int:
        """Multiply-adds of the supernet for one picture; counted again only after operations left it."""
        if not self.macs:
            nothing = torch.zeros_like(self.state.keep, dtype=torch.float32)
            net = _Fixed(self.state.supernet, self.edge_weights(nothing, self.quiet()))
            self.macs = count_macs(net, self.data.shape)
        return self.macs


def millions(data: DataSet, space: SearchSpace, method: Method, settings: SearchSettings) -> Tensor:
    """Millions of multiply-adds of every offered operation, for one picture, ``(edges, ops)``, float64."""
    counted = operation_macs(
        space,
        data.shape,
        inputs=data.channels,
        **settings.sizes,
        one_in=method.supernet.one_in,
        **reading_of(data, settings),
    )
    return torch.tensor(counted, dtype=torch.float64) / 1e6


class _Fixed(nn.Module):
    """A supernet with fixed weights of its edges, so that pictures are its only input."""

    def __init__(self, supernet: Supernet, weights: EdgeWeights) -> None:
        super().__init__()
        self.supernet, self.weights = supernet, weights

    def forward(self, x: Tensor) -> Tensor:
        """Logits, ``(B, classes)``."""
        logits: Tensor = self.supernet(x, self.weights)
        return logits
