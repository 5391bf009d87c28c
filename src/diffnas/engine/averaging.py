"""The average of a network's weights over the last steps of its training (NT-ASGD; Merity et al., 2018).

The average is ours, beside plain SGD. PyTorch's ASGD would follow a change of the learning rate one step late.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

_PATIENCE = 5


class Averaging:
    """The mean of the weights after each step since the validation loss stopped falling.

    Attributes:
        losses: the validation losses so far, one for each epoch.
        steps: how many steps the averages have.
        averages: the averages, in the order of the network's weights; empty before averaging begins.

    >>> weights = nn.Linear(1, 1, bias=False)
    >>> averaging = Averaging()
    >>> for loss in (5.0, 4.0, 4.0, 4.0, 4.0, 4.0, 5.5):
    ...     averaging.judge(loss, weights)
    >>> for value in (1.0, 4.0):
    ...     _ = nn.init.constant_(weights.weight, value)
    ...     averaging.add(weights)
    >>> with averaging.taken(weights):
    ...     weights.weight.item()
    2.5
    """

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.steps = 0
        self.averages: list[Tensor] = []

    def judge(self, loss: float, net: nn.Module) -> None:
        """Note the validation loss of an epoch. Averaging begins if it is above the least one before the last five."""
        if not self.averages and len(self.losses) > _PATIENCE and loss > min(self.losses[:-_PATIENCE]):
            self.averages = [torch.zeros_like(weight) for weight in net.parameters()]
        self.losses.append(loss)

    @torch.no_grad()
    def add(self, net: nn.Module) -> None:
        """Add the weights after a step, if averaging has begun."""
        if self.averages:
            self.steps += 1
            for average, weight in zip(self.averages, net.parameters(), strict=True):
                average += (weight - average) / self.steps

    @contextmanager
    def taken(self, net: nn.Module) -> Iterator[None]:
        """A context in which a network has the averages as its weights, if there are any."""
        if not self.steps:
            yield
            return
        kept = [weight.detach().clone() for weight in net.parameters()]
        self.take(net)
        try:
            yield
        finally:
            _set(net, kept)

    def take(self, net: nn.Module) -> None:
        """Give a network the averages as its weights, if there are any."""
        if self.steps:
            _set(net, self.averages)

    def state_dict(self) -> dict[str, Any]:
        """The state as tensors and plain data."""
        return {"losses": list(self.losses), "steps": self.steps, "averages": self.averages}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to what ``state_dict`` gave."""
        self.losses, self.steps = list(state["losses"]), state["steps"]
        self.averages = [average.clone() for average in state["averages"]]


@torch.no_grad()
def _set(net: nn.Module, values: list[Tensor]) -> None:
    for weight, value in zip(net.parameters(), values, strict=True):
        weight.copy_(value)
