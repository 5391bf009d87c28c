"""The state of a search: what changes while it runs, and how it begins."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from diffnas.components import update, weighting
from diffnas.components.weighting import Weighting
from diffnas.data import DataSet
from diffnas.engine import seeds
from diffnas.engine.common import Totals, sgd
from diffnas.engine.settings import SearchSettings
from diffnas.method import Method
from diffnas.nets.supernet import Supernet
from diffnas.space import SearchSpace


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

    def advance(self) -> None:
        """Begin the next epoch."""
        self.epoch, self.step, self.seconds = self.epoch + 1, 0, 0.0
        self.train, self.held_out = Totals(), Totals()

    @property
    def arch(self) -> list[Tensor]:
        """Everything that the update moves: alpha first."""
        return [self.alpha, *weighting.parameters(self.weighting)]

    @property
    def movable(self) -> Tensor:
        """The entries of alpha that a step may change, ``(edges, ops)``, bool."""
        return update.movable(self.keep, competing=weighting.competes(self.weighting))

    def prune_(self, keep: Tensor) -> None:
        """Keep only what ``keep`` says, for good: modules, parameters and all that optimisers remember of them."""
        self.decide_(keep)
        self.free_(self.keep)

    def decide_(self, keep: Tensor) -> None:
        """Keep only what ``keep`` says, for good; nothing is read back from the device, and modules stay for now."""
        self.keep = self.keep & keep
        update.forget(self.alpha_optimizer, self.alpha, ~self.movable)

    def free_(self, keep: Tensor) -> None:
        """Free the modules and parameters of what was decided against, and all that the optimiser remembers of them."""
        assert bool(keep.any(dim=1).all()), "an edge may never lose its last operation"
        self.supernet.prune_(keep)
        alive = set(self.supernet.parameters())
        (group,) = self.weight_optimizer.param_groups
        for parameter in [parameter for parameter in group["params"] if parameter not in alive]:
            self.weight_optimizer.state.pop(parameter, None)
        group["params"] = [parameter for parameter in group["params"] if parameter in alive]

    def state_dict(self) -> dict[str, Any]:
        """The state as tensors and plain data; what was decided against is freed first."""
        self.free_(self.keep)
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
        forward_by=settings.forward_by,
        recompute=settings.recompute,
        changes=method.supernet,
    ).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    keep = torch.tensor(space.offered, device=device)
    drawn = torch.randn(keep.shape, generator=seeds.generator(settings.seed, "alpha"))
    alpha = (settings.alpha_init * drawn).to(device).requires_grad_()
    own = copy.deepcopy(method.weighting)
    if isinstance(own, torch.nn.Module):
        own.to(device)
    # What a weighting learns is not decayed: zero means nothing to it.
    learned = [{"params": weighting.parameters(own), "weight_decay": 0.0}] if weighting.parameters(own) else []
    chosen = method.update if settings.alpha_lr is None else partial(method.update, lr=settings.alpha_lr)
    state = SearchState(
        supernet=supernet,
        alpha=alpha,
        keep=keep,
        weighting=own,
        weight_optimizer=sgd(supernet, settings),
        alpha_optimizer=chosen([{"params": [alpha]}, *learned]),
    )
    # What the space does not offer is out of play from the start.
    update.forget(state.alpha_optimizer, alpha, ~state.movable)
    return state


def halves(count: int, settings: SearchSettings) -> tuple[Tensor, Tensor]:
    """The pictures that move the weights and those that move alpha, as indices: disjoint halves."""
    if settings.split == "ordered":
        order = torch.arange(count)
    else:
        order = torch.randperm(count, generator=seeds.generator(settings.seed, "halves"))
    return order[: count // 2], order[count // 2 :]
