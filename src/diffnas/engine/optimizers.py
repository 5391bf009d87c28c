"""The optimizer of the weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from diffnas.engine.settings import EvaluateSettings, SearchSettings


def sgd(
    module: nn.Module, settings: SearchSettings | EvaluateSettings, *, decay: Literal["all", "matrices"] = "all"
) -> torch.optim.Optimizer:
    """The SGD of a module's weights, with the settings of a run.

    It is fused: one call moves all weights of a group. On a CPU the fused call assumes that a gradient has the strides
    of its weight, and the gradients that ``backward`` leaves have them.
    """
    return torch.optim.SGD(
        module.parameters() if decay == "all" else _groups(module),
        lr=settings.lr,
        momentum=settings.momentum,
        nesterov=settings.nesterov,
        weight_decay=settings.weight_decay,
        fused=True,
    )


def _groups(module: nn.Module) -> list[dict[str, Any]]:
    """Two groups: weights that decay as the optimizer says, then those of norms and biases, which do not decay."""
    parameters = list(module.parameters())
    return [
        {"params": [each for each in parameters if each.ndim > 1]},
        {"params": [each for each in parameters if each.ndim <= 1], "weight_decay": 0.0},
    ]


def begin_momentum(optimizer: torch.optim.Optimizer) -> None:
    """Give a momentum of zero, with which SGD begins, to each weight that has none yet.

    This is for steps in which some weights are new or have no gradient. The fused call fails if only some of the
    weights with a gradient have a momentum.
    """
    (group,) = optimizer.param_groups
    if group["momentum"] and len(optimizer.state) < len(group["params"]):
        for weight in group["params"]:
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
