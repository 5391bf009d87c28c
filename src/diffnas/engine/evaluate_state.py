"""The state of an evaluation: what changes while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from diffnas.engine.averaging import Averaging
from diffnas.engine.totals import Totals
from diffnas.nets.carried import carried, restore
from diffnas.nets.network import Network
from diffnas.nets.trained import renamed
from diffnas.task import Task


@dataclass(kw_only=True)
class EvaluateState:
    """What changes during an evaluation, and exactly what a checkpoint holds."""

    network: Network
    weight_optimizer: torch.optim.Optimizer
    train: Totals
    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    averaging: Averaging | None = None

    @property
    def task(self) -> Task:
        """What is learned."""
        return self.train.task

    @property
    def net(self) -> nn.Module:
        """The net that has the weights."""
        return self.network

    @property
    def totals(self) -> tuple[Totals, ...]:
        """All totals of the running epoch."""
        return (self.train,)

    def advance(self) -> None:
        """Begin the next epoch."""
        self.epoch, self.step, self.seconds, self.train = self.epoch + 1, 0, 0.0, Totals(self.task)

    def state_dict(self) -> dict[str, Any]:
        """The state as tensors and plain data."""
        return {
            "network": self.network.state_dict(),
            "weight_optimizer": self.weight_optimizer.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "train": self.train.sums,
            "seconds": self.seconds,
            "carried": carried(self.network),
            "averaging": self.averaging.state_dict() if self.averaging else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a state that ``state_dict`` gave in an evaluation with the same genotype and settings."""
        self.network.load_state_dict(renamed(state["network"]))
        self.weight_optimizer.load_state_dict(state["weight_optimizer"])
        self.epoch, self.step, self.seconds = state["epoch"], state["step"], state["seconds"]
        self.train = Totals(self.task, state["train"].clone())
        restore(self.network, state.get("carried", {}))  # checkpoints from before there were texts have none
        if self.averaging:
            self.averaging.load_state_dict(state["averaging"])
