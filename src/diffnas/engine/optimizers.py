"""The optimizer of the weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from diffnas.engine.settings import EvaluateSettings, SearchSettings
from diffnas.nets.ops.attention import Table


def optimizer_of(module: nn.Module, settings: SearchSettings | EvaluateSettings) -> torch.optim.Optimizer:
    """The optimizer of a module's weights, with the settings of a run.

    It is fused: one call moves all weights of a group. On a CPU the fused call assumes that a gradient has the strides
    of its weight, and the gradients that ``backward`` leaves have them.
    """
    common: dict[str, Any] = {"lr": settings.lr, "weight_decay": settings.weight_decay, "fused": True}
    groups = _groups(module, settings.decay)
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=settings.momentum, nesterov=settings.nesterov, **common)
    kind = torch.optim.Adam if settings.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, betas=(settings.momentum, 0.999), **common)


def _groups(module: nn.Module, decay: Literal["all", "matrices"]) -> list[dict[str, Any]]:
    """All weights in one group; or two, of which the second has those that do not decay.

    These are the weights of norms, biases and tables of positions.
    """
    parameters = list(module.parameters())
    if decay == "all":
        return [{"params": parameters}]
    tables = {weight for part in module.modules() if isinstance(part, Table) for weight in part.parameters()}
    decays = [each.ndim > 1 and each not in tables for each in parameters]
    return [
        {"params": [each for each, does in zip(parameters, decays, strict=True) if does]},
        {"params": [each for each, does in zip(parameters, decays, strict=True) if not does], "weight_decay": 0.0},
    ]


def weights_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """The weights that an optimizer moves, group by group."""
    return [weight for group in optimizer.param_groups for weight in group["params"]]


def follow_(optimizer: torch.optim.Optimizer, module: nn.Module) -> None:
    """Make an optimizer of ``optimizer_of`` move the weights that its module has now, and forget all others."""
    groups = optimizer.param_groups
    now = _groups(module, "all" if len(groups) == 1 else "matrices")
    alive = {weight for group in now for weight in group["params"]}
    for weight in set(weights_of(optimizer)) - alive:
        optimizer.state.pop(weight, None)
    for group, each in zip(groups, now, strict=True):
        group["params"] = each["params"]


def begin_momentum(optimizer: torch.optim.Optimizer) -> None:
    """Give a momentum of zero, with which SGD begins, to each weight that has none yet. Adam does so by itself.

    This is for steps in which some weights are new or have no gradient. The fused call of SGD fails if only some of the
    weights with a gradient have a momentum.
    """
    weights = weights_of(optimizer)
    if (
        isinstance(optimizer, torch.optim.SGD)
        and optimizer.defaults["momentum"]
        and len(optimizer.state) < len(weights)
    ):
        for weight in weights:
            if weight not in optimizer.state:
                optimizer.state[weight] = {"momentum_buffer": torch.zeros_like(weight)}


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = rate


@contextmanager
def weights_fixed(weights: Iterable[Tensor]) -> Iterator[None]:
    """A context in which the weights get no gradients, which saves the time to compute them."""
    weights = [weight for weight in weights if weight.requires_grad]
    for weight in weights:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(True)


def parameter_count(module: nn.Module) -> int:
    """How many weights a module has."""
    return sum(parameter.numel() for parameter in module.parameters())
