"""What moves the weights."""

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
    """What moves the weights of a module, as the settings have it: all that ``decay`` alike in one call.

    On a CPU that call takes a gradient for one whose strides are the weight's: true of what ``backward`` leaves.
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
    """Weights that decay as the optimizer says, then those that do not decay: of norms, and biases."""
    parameters = list(module.parameters())
    return [
        {"params": [each for each in parameters if each.ndim > 1]},
        {"params": [each for each in parameters if each.ndim <= 1], "weight_decay": 0.0},
    ]


def begin_momentum(optimizer: torch.optim.Optimizer) -> None:
    """Give every weight that has none yet a momentum of zero, which is what SGD begins with.

    For steps in which not all weights have a gradient, or some are new: one call for all of them fails if some of
    those with a gradient have a momentum and others have not.
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
    """Inside, the weights get no gradients, which spares the time that these would take."""
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
