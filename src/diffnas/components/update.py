"""Updates: how the architecture parameters move.

An update is a function from a list of tensors to a torch optimizer. Options are bound with ``functools.partial``.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from diffnas.components.traits import traits

Update = Callable[..., Optimizer]

adam = partial(torch.optim.Adam, lr=3e-4, betas=(0.5, 0.999), weight_decay=1e-3)
"""Adam with the settings of DARTS (Liu et al., 2019), appendix A.1.1: L2 on alpha, little momentum."""


sgd = partial(torch.optim.SGD, lr=1.0, momentum=0.9)
"""SGD with the momentum and the learning rate of GOLD-NAS (Bi et al., 2020), whose logits begin at 0; no decay."""


@traits(on_simplex=True)
class ExponentiatedGradient(Optimizer):
    """An optimizer that multiplies each weight by ``exp(-lr gradient)``, then scales each edge to a sum of 1.

    GAEA (Li et al., 2021): ``u = theta exp(-lr g)``, ``u = max(u, floor)``, ``theta = u / sum(u)``. The parameters are
    logarithms of theta, ``(edges, ops)``, but the gradients are for theta itself, as ``weighting.simplex`` gives them.
    There is no momentum and no weight decay.

    The state of a parameter says which entries are in play. ``forget`` removes entries, and their edge then sums to 1
    without them.
    """

    def __init__(self, tensors: Iterable[Any], lr: float = 0.1, *, floor: float = 1e-5) -> None:
        super().__init__(tensors, {"lr": lr, "floor": floor})
        for group in self.param_groups:
            for logs in group["params"]:
                self.state[logs]["in_play"] = torch.ones_like(logs)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Move each parameter that has a gradient."""
        for group in self.param_groups:
            for logs in group["params"]:
                if logs.grad is not None:
                    in_play = self.state[logs]["in_play"] > 0
                    moved = self._normal(logs, in_play) - group["lr"] * logs.grad
                    floored = moved.clamp_min(math.log(group["floor"]))
                    logs.copy_(torch.where(in_play, self._normal(floored, in_play), logs))

    @staticmethod
    def _normal(logs: Tensor, in_play: Tensor) -> Tensor:
        """Logarithms of weights that sum to 1 over what is in play; NaN on an edge with nothing in play."""
        return logs.masked_fill(~in_play, -torch.inf).log_softmax(dim=-1)


exponentiated = partial(ExponentiatedGradient, lr=0.1)
"""Exponentiated gradient with the learning rate of GAEA (Li et al., 2021); only for ``weighting.simplex``."""


def rate(update: Update, *, times: float = 1.0) -> float:
    """The default learning rate of an update, times ``times``; rounded to 12 digits, so that 10 times 3e-4 is 0.003.

    Raises:
        ValueError: if the update has no default learning rate.

    >>> rate(adam), rate(exponentiated, times=10)
    (0.0003, 1.0)
    """
    option = inspect.signature(update).parameters.get("lr")
    if option is None or not isinstance(option.default, float | int):
        raise ValueError("the update has no learning rate of its own; say --alpha-lr.")
    own = float(option.default)
    return float(f"{times * own:.12g}")


def movable(keep: Tensor, *, competing: bool = True) -> Tensor:
    """The entries of alpha that a step may change, ``(edges, ops)``, bool.

    If operations compete, an edge with one operation left is decided, and does not move. A gate moves even if it is the
    last of its edge.

    >>> movable(torch.tensor([[True, True, False], [False, True, False]]))
    tensor([[ True,  True, False],
            [False, False, False]])
    """
    return keep & (keep.sum(dim=-1, keepdim=True) > 1) if competing else keep


@torch.no_grad()
def move(
    optimizer: Optimizer,
    tensors: Sequence[Tensor],
    gradients: Sequence[Tensor],
    keep: Tensor,
    *,
    competing: bool = True,
) -> None:
    """Move the architecture parameters by one step; ``tensors[0]`` is alpha, ``(edges, ops)``.

    Entries of alpha that are pruned or decided keep their value, and their optimizer state becomes 0. So neither weight
    decay nor old momentum moves them.
    """
    alpha = tensors[0]
    frozen = ~movable(keep, competing=competing)
    before = alpha.clone()
    for tensor, gradient in zip(tensors, gradients, strict=True):
        tensor.grad = gradient
    optimizer.step()
    alpha.copy_(torch.where(frozen, before, alpha))
    forget(optimizer, alpha, frozen)
    for tensor in tensors:
        tensor.grad = None


def forget(optimizer: Optimizer, alpha: Tensor, entries: Tensor) -> None:
    """Set the optimizer state of some entries of alpha to zero; ``entries`` is bool, of alpha's shape."""
    for remembered in optimizer.state.get(alpha, {}).values():
        if isinstance(remembered, Tensor) and remembered.shape == alpha.shape:
            remembered.masked_fill_(entries, 0.0)
