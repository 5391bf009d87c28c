"""The state of a search: what changes while it runs, and how it begins."""

from __future__ import annotations

import copy
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from diffnas.components import edges, update, weighting
from diffnas.components.stages import Stage
from diffnas.components.traits import traits_of
from diffnas.components.weighting import Weighting
from diffnas.data import DataSet
from diffnas.engine import contract, seeds
from diffnas.engine.controller import Controller
from diffnas.engine.initialization import initialize
from diffnas.engine.optimizers import follow_, optimizer_of
from diffnas.engine.passes import inputs_of
from diffnas.engine.pretraining import Pretraining, pretraining
from diffnas.engine.seeds import fixed_random
from diffnas.engine.settings import SearchSettings
from diffnas.engine.totals import Totals
from diffnas.method import Method
from diffnas.nets.carried import carried, restore
from diffnas.nets.supernet import Supernet
from diffnas.nets.trained import renamed
from diffnas.space import SearchSpace
from diffnas.task import Task, classification

# Attributes that are plain data, and say where a search stands.
_PLACE = ("built", "stage", "first", "epoch", "step", "seconds", "events")


@dataclass(kw_only=True)
class SearchState:
    """What changes during a search, and exactly what a checkpoint holds.

    Attributes:
        supernet: the supernet with its weights.
        alpha: architecture parameters, ``(edges, ops)``, in the dtype of the weights.
        keep: operations still in play, ``(edges, ops)``, bool.
        weighting: the method's weighting, with its own parameters if it has any.
        beta: the parameters of the strengths of edges, ``(nodes, sources)``; None if the method has no strengths.
        weight_optimizer: moves the weights.
        alpha_optimizer: moves alpha, beta and the weighting's parameters.
        build: builds the initial state of the stage with a given number.
        draw: draws the initial alpha of the stage with a given number, and all that moves with alpha.
        built: the number of the stage that built the supernet.
        stage, first: the number of the running stage, and its first epoch.
        epoch, step: the epoch and the number of the next step; both count from 0.
        train, held_out: the running epoch's totals over the batches that move the weights, and that move alpha.
        seconds: time that the steps of the running epoch took.
        events: plain data that the stage has noted for the next line of the trace.
        controller: steers the search to its targets; None if it has none.
        initialize: gives the supernet its initial weights, and notes them for the next line of the trace.
        start: plain data about the initial weights, for the next line of the trace; empty in other epochs.
        pretraining: the pretext while the supernet learns it; None before and afterwards.
    """

    supernet: Supernet
    alpha: Tensor
    keep: Tensor
    weighting: Weighting
    beta: Tensor | None
    weight_optimizer: torch.optim.Optimizer
    alpha_optimizer: torch.optim.Optimizer
    build: Callable[[int], SearchState]
    draw: Callable[[int], Architecture]
    train: Totals
    held_out: Totals
    built: int = 0
    stage: int = 0
    first: int = 0
    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    events: list[dict[str, Any]] = field(default_factory=list)
    controller: Controller | None = None
    initialize: Callable[[SearchState], None] = lambda state: None
    start: dict[str, Any] = field(default_factory=dict)
    pretraining: Pretraining | None = None

    @property
    def task(self) -> Task:
        """What is learned."""
        return self.train.task

    @property
    def net(self) -> nn.Module:
        """The net that has the weights."""
        return self.supernet if self.pretraining is None else nn.ModuleList([self.supernet, self.pretraining.head])

    @property
    def totals(self) -> tuple[Totals, ...]:
        """All totals of the running epoch."""
        return self.train, self.held_out

    def advance(self) -> None:
        """Begin the next epoch."""
        self.epoch, self.step, self.seconds = self.epoch + 1, 0, 0.0
        self.train, self.held_out, self.events, self.start = Totals(self.task), Totals(self.task), [], {}

    def tell_start(self, tell: Callable[[str], None]) -> None:
        """Tell the sentences about the initial weights and the initial alpha, if there are any."""
        for said in (self.start.get("initial"), self.start.get("alpha")):
            if said:
                tell(said)

    def begin_pretext_(self, pretraining: Pretraining) -> None:
        """Make the optimizer and the totals those of a pretext."""
        self.pretraining = pretraining
        self.weight_optimizer = optimizer_of(self.net, pretraining.settings)
        self.train, self.held_out = Totals(pretraining.pretext.task), Totals(pretraining.pretext.task)

    def end_pretext_(self) -> None:
        """Throw the pretext's head away: the search begins, with the classifier and a new optimizer."""
        assert self.pretraining is not None
        task, settings = self.pretraining.task, self.pretraining.settings
        self.pretraining = None
        self.weight_optimizer = optimizer_of(self.net, settings)
        self.train, self.held_out = Totals(task), Totals(task)

    def become_(self, other: SearchState) -> None:
        """Take over the supernet, alpha, keep, the weighting and the optimizers of another state.

        Where the search stands, such as its epoch and step, stays.
        """
        owned = ("supernet", "alpha", "keep", "weighting", "beta", "weight_optimizer", "alpha_optimizer")
        for name in (*owned, "built", "initialize"):
            setattr(self, name, getattr(other, name))

    def renew_alpha_(self) -> None:
        """Draw alpha, and all that moves with it, anew for the running stage."""
        self.alpha, self.weighting, self.beta, self.alpha_optimizer = self.draw(self.stage)
        update.forget(self.alpha_optimizer, self.alpha, ~self.movable)

    @property
    def arch(self) -> list[Tensor]:
        """Everything that the update moves: alpha first."""
        return [self.alpha, *weighting.parameters(self.weighting), *([] if self.beta is None else [self.beta])]

    @property
    def movable(self) -> Tensor:
        """The entries of alpha that a step may change, ``(edges, ops)``, bool."""
        return update.movable(self.keep, competing=traits_of(self.weighting).competes)

    def prune_(self, keep: Tensor) -> None:
        """Remove all operations that are not in ``keep``, for good, and free their modules at once."""
        self.decide_(keep)
        self.free_(self.keep)

    def decide_(self, keep: Tensor) -> None:
        """Remove all operations that are not in ``keep``, for good, but leave their modules for ``free_``.

        The host reads nothing from the device, and so need not wait for it.
        """
        self.keep = self.keep & keep
        update.forget(self.alpha_optimizer, self.alpha, ~self.movable)

    def free_(self, keep: Tensor) -> None:
        """Free the modules of operations that are not in ``keep``, and all that the optimizer remembers of them."""
        self.supernet.prune_(keep)
        follow_(self.weight_optimizer, self.net)

    def replace_(self, keep: Tensor, parents: Mapping[tuple[int, int], int] | None = None) -> None:
        """Change the operations in play to those in ``keep``, also if it has operations that were removed.

        An operation that stays keeps its weights and what the optimizer remembers of them. Others are new, and inherit
        the weights of their parent if they have one: see ``Supernet.replace_``.
        """
        self.keep = keep
        update.forget(self.alpha_optimizer, self.alpha, ~self.movable)
        self.supernet.replace_(keep, parents or {})
        follow_(self.weight_optimizer, self.net)

    def state_dict(self) -> dict[str, Any]:
        """The state as tensors and plain data. Modules of removed operations are freed first."""
        self.free_(self.keep)
        return {
            "supernet": self.supernet.state_dict(),
            "alpha": self.alpha.detach(),
            "keep": self.keep,
            "weighting": [parameter.detach() for parameter in weighting.parameters(self.weighting)],
            "beta": None if self.beta is None else self.beta.detach(),
            "weight_optimizer": self.weight_optimizer.state_dict(),
            "alpha_optimizer": self.alpha_optimizer.state_dict(),
            **{name: getattr(self, name) for name in _PLACE},
            "train": self.train.sums,
            "held_out": self.held_out.sums,
            "carried": carried(self.supernet),
            "controller": self.controller.state_dict() if self.controller else None,
            "start": self.start,
            "pretext": self.pretraining.head.state_dict() if self.pretraining else None,
        }

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a state that ``state_dict`` gave in a search with the same space, method and settings."""
        if self.pretraining is not None:
            head = state["pretext"]
            self.end_pretext_() if head is None else self.pretraining.head.load_state_dict(head)
        if state["built"] != self.built:
            self.become_(self.build(state["built"]))
        self.replace_(state["keep"].to(self.keep.device))
        self.supernet.load_state_dict(renamed(state["supernet"]))
        beta = [] if state["beta"] is None else [state["beta"]]
        for tensor, saved in zip(self.arch, [state["alpha"], *state["weighting"], *beta], strict=True):
            tensor.copy_(saved)
        self.weight_optimizer.load_state_dict(state["weight_optimizer"])
        self.alpha_optimizer.load_state_dict(state["alpha_optimizer"])
        restore(self.supernet, state.get("carried", {}))  # checkpoints from before there were texts have none
        for name in _PLACE:
            setattr(self, name, state[name])
        self.start = state.get("start", {})
        self.train, self.held_out = (Totals(self.task, state[name].clone()) for name in ("train", "held_out"))
        if self.controller:
            self.controller.load_state_dict(state["controller"])


class Architecture(NamedTuple):
    """Alpha and all that moves with it; see ``SearchState``."""

    alpha: Tensor
    weighting: Weighting
    beta: Tensor | None
    optimizer: torch.optim.Optimizer


def begin(
    data: DataSet,
    space: SearchSpace,
    method: Method,
    settings: SearchSettings,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    task: Task = classification,
) -> SearchState:
    """The state before the first step. Its tensors have ``dtype``, and the seed decides all of it."""
    beginning = _Beginning(
        data=data, space=space, method=method, settings=settings, device=device, dtype=dtype, task=task
    )
    return beginning.state(0)


@dataclass(frozen=True, kw_only=True)
class _Beginning:
    """Everything that decides the initial state of each stage."""

    data: DataSet
    space: SearchSpace
    method: Method
    settings: SearchSettings
    device: torch.device
    dtype: torch.dtype
    task: Task

    def state(self, stage: int) -> SearchState:
        """The initial state of a stage, with everything new."""
        begun, own, place = self._staged(stage)
        with fixed_random(seeds.derive(self.settings.seed_for("weights"), "weights", *place)):
            supernet = self._supernet(own, begun.ops)
        alpha, weigh, beta, alpha_optimizer = self.architecture(stage)
        keep = torch.tensor(self.space.offered, device=self.device)
        if begun.ops is not None:
            keep &= torch.tensor([op in begun.ops for op in self.space.ops], device=self.device)
        state = SearchState(
            supernet=supernet,
            alpha=alpha,
            keep=keep,
            weighting=weigh,
            beta=beta,
            weight_optimizer=optimizer_of(supernet, own),
            alpha_optimizer=alpha_optimizer,
            train=Totals(self.task),
            held_out=Totals(self.task),
            build=self.state,
            draw=self.architecture,
            built=stage,
            initialize=partial(
                initialize,
                data=self.data,
                indices=parts(self.data, self.method, self.settings)[0],
                method=self.method,
                settings=own,
                stage=place[0] if place else 0,
            ),
        )
        if begun.pretext is not None:
            channels = self.data.channels
            state.begin_pretext_(pretraining(supernet, begun.pretext, channels=channels, task=self.task, settings=own))
        # Alpha of operations that are not in play from the start must not move.
        update.forget(state.alpha_optimizer, alpha, ~state.movable)
        return state

    def architecture(self, stage: int) -> Architecture:
        """Alpha and all that moves with it, drawn anew for a stage."""
        _, own, place = self._staged(stage)
        space, method = self.space, self.method
        shape = len(space.edges), len(space.ops)
        drawn = torch.randn(shape, generator=seeds.generator(self.settings.seed_for("alpha"), "alpha", *place))
        alpha = (own.alpha_init * drawn).to(self.device, self.dtype).requires_grad_()
        beta = None if method.edges is None else _beta(space, own, like=alpha, place=place)
        weigh = copy.deepcopy(method.weighting)
        if isinstance(weigh, torch.nn.Module):
            weigh.to(self.device, self.dtype)
        optimizer = _alpha_optimizer(method, own, alpha, beta, weighting.parameters(weigh))
        if beta is not None:
            update.forget(optimizer, beta, ~beta.new_tensor(edges.inputs(space)).bool())
        return Architecture(alpha, weigh, beta, optimizer)

    def _staged(self, number: int) -> tuple[Stage, SearchSettings, tuple[int, ...]]:
        """A stage, its settings, and the part of its seeds that differs from stage to stage.

        The first stage has the seeds of a search without stages, and so has the pretext before it.
        """
        stages = contract.stages_of(self.method, self.space, self.settings)
        own = number - pretexts_in(stages)
        return stages[number], staged(self.settings, stages[number], self.space), (own,) if own > 0 else ()

    def _supernet(self, settings: SearchSettings, among: Container[str] | None) -> Supernet:
        """A new supernet, drawn from torch's global random numbers."""
        supernet = Supernet(
            self.space,
            classes=len(self.data.classes),
            in_channels=self.data.channels,
            **settings.sizes,
            recompute=settings.recompute,
            options=self.method.supernet,
            auxiliary=settings.auxiliary > 0,
            among=among,
            **inputs_of(self.data, settings),
        )
        return supernet.to(self.device, self.dtype, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _beta(space: SearchSpace, settings: SearchSettings, *, like: Tensor, place: tuple[int, ...]) -> Tensor:
    """The initial beta: around 0, with the spread and the dtype of alpha."""
    offered = torch.tensor(edges.inputs(space))
    drawn = torch.randn(offered.shape, generator=seeds.generator(settings.seed_for("beta"), "beta", *place))
    return (settings.alpha_init * drawn * offered).to(like.device, like.dtype).requires_grad_()


def _alpha_optimizer(
    method: Method, settings: SearchSettings, alpha: Tensor, beta: Tensor | None, learned: list[torch.nn.Parameter]
) -> torch.optim.Optimizer:
    # A weighting's own parameters do not decay: for them, zero is a value like any other.
    also: list[dict[str, Any]] = [{"params": learned, "weight_decay": 0.0}] if learned else []
    also += [] if beta is None else [{"params": [beta]}]
    if settings.alpha_lr is None and settings.alpha_speed == 1:
        return contract.optimizer(method.update, [{"params": [alpha]}, *also])
    rate = settings.alpha_lr or update.rate(method.update, times=settings.alpha_speed)
    return contract.optimizer(method.update, [{"params": [alpha]}, *also], lr=rate)


def staged(settings: SearchSettings, stage: Stage, space: SearchSpace) -> SearchSettings:
    """The settings of a search in one of its stages."""
    own = replace(settings, **{**stage.settings, "epochs": stage.epochs})
    return own if stage.deeper == 1 else replace(own, depth=round(stage.deeper * (own.depth or space.depth)))


def pretexts_in(stages: tuple[Stage, ...]) -> int:
    """How many stages of a pretext come before those of the method: 1 or 0."""
    return int(stages[0].pretext is not None)


def parts(data: DataSet, method: Method, settings: SearchSettings) -> tuple[Tensor, Tensor]:
    """Two sets of indices: the first pictures move the weights, and only alpha sees the second."""
    if method.level.data == "halves":
        return halves(len(data.train), settings, in_order=data.in_order)
    return torch.arange(len(data.train)), torch.arange(0)


def halves(count: int, settings: SearchSettings, *, in_order: bool = False) -> tuple[Tensor, Tensor]:
    """The two halves of ``count`` indices: the first pictures move the weights, and the second move alpha.

    Streams are ``in_order``: each half is a contiguous part.
    """
    if in_order or settings.split == "ordered":
        order = torch.arange(count)
    else:
        order = torch.randperm(count, generator=seeds.generator(settings.seed_for("halves"), "halves"))
    return order[: count // 2], order[count // 2 :]
