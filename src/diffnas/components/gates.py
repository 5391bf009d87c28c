"""Gates: weights of operations that do not compete. Each has a gate of its own, open or shut whatever the others do.

A kind of gates is a weighting: called with ``(alpha, keep, moment)``, it gives the gates as mixing weights. Unlike
other weightings it also knows how likely each gate is to be open, which is what penalties act on, what pruning and
reading off decide by, and what can be differentiated where a sample cannot.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from diffnas.components import schedule
from diffnas.components.schedule import Moment, Schedule, value
from diffnas.components.traits import traits

FALLING = partial(schedule.stairs, start=1.0, stop=0.1)
"""The temperature of the released search script of Zhou et al. (2020): from 1 to 0.1, a step an epoch."""


@traits(competes=False)
class Gates(ABC):
    """A weighting under which the operations of an edge do not compete, so that its weights need not sum to one."""

    @abstractmethod
    def __call__(self, alpha: Tensor, keep: Tensor, moment: Moment) -> Tensor:
        """The gates, ``(edges, ops)``, 0 where pruned: a sample from ``moment.generator``, or their rest if None."""

    @abstractmethod
    def open(self, alpha: Tensor, keep: Tensor, moment: Moment) -> Tensor:
        """The probability of every gate to be open, ``(edges, ops)``, 0 where pruned; differentiable by alpha."""


@dataclass(frozen=True, kw_only=True)
class Sigmoid(Gates):
    """Gates that are as far open as the sigmoid of alpha says: FairDARTS (Chu et al., 2020). Nothing is drawn.

    >>> alpha, moment = torch.tensor([[-1.0, 0.0, 1.0]]), Moment(epoch=0, step=0, epochs=1, steps=1)
    >>> Sigmoid()(alpha, torch.tensor([[True, True, False]]), moment)
    tensor([[0.2689, 0.5000, 0.0000]])
    """

    def __call__(self, alpha: Tensor, keep: Tensor, moment: Moment) -> Tensor:
        """The gates, ``(edges, ops)``, from 0 to 1, and 0 where pruned."""
        return alpha.sigmoid() * keep

    def open(self, alpha: Tensor, keep: Tensor, moment: Moment) -> Tensor:
        """The same, ``(edges, ops)``: what FairDARTS takes for how likely an operation is to belong to the cell."""
        return self(alpha, keep, moment)


@dataclass(frozen=True, kw_only=True)
class HardConcrete(Gates):
    """Hard-concrete gates (Louizos et al., 2018), one for each operation, as Zhou et al. (2020) use them.

    A gate is ``clip(low + (high - low) sigmoid((alpha + ln u - ln(1 - u)) / temperature), 0, 1)`` with u uniform:
    shut (exactly 0) and fully open (exactly 1) have positive probability, and in between alpha gets a gradient. Each
    forward pass draws anew, every operation and both kinds of cell on their own; all cells of a kind share a sample.

    At rest, where nothing is sampled, u is 1/2, which gives the median of the gate: exactly 0 if and only if it is
    more likely shut than open.

    Attributes:
        temperature: the lower, the closer every sample is to 0 or 1; may be a schedule.
        low, high: the sigmoid is stretched to this interval before it is clipped.

    Raises:
        ValueError: unless ``low < 0 < 1 < high``, for only then can a gate be exactly 0 and exactly 1.

    >>> gates, keep = HardConcrete(temperature=0.5), torch.tensor([[True, True, True, False]])
    >>> alpha, moment = torch.tensor([[-2.0, 0.0, 2.0, 2.0]]), Moment(epoch=0, step=0, epochs=1, steps=1)
    >>> gates(alpha, keep, moment)
    tensor([[0.0000, 0.5000, 1.0000, 0.0000]])
    >>> gates.open(alpha, keep, moment)
    tensor([[0.3098, 0.7683, 0.9608, 0.0000]])
    """

    temperature: float | Schedule = FALLING
    low: float = -0.1
    high: float = 1.1

    def __post_init__(self) -> None:
        if not self.low < 0 < 1 < self.high:
            raise ValueError(f"gates are stretched beyond 0 and 1, to -0.1 and 1.1 say; got {self.low}, {self.high}.")
        if not callable(self.temperature) and not self.temperature > 0:
            raise ValueError(f"the temperature of gates must be greater than 0, got {self.temperature}.")

    def __call__(self, alpha: Tensor, keep: Tensor, moment: Moment) -> Tensor:
        """The gates, ``(edges, ops)``, from 0 to 1, and 0 where pruned."""
        logits = alpha if moment.generator is None else alpha + _logistic(alpha, moment.generator)
        soft = (logits / value(self.temperature, moment)).sigmoid()
        return (self.low + (self.high - self.low) * soft).clamp(0.0, 1.0) * keep

    def open(self, alpha: Tensor, keep: Tensor, moment: Moment) -> Tensor:
        """P(gate > 0), ``(edges, ops)``: ``sigmoid(alpha - temperature ln(-low / high))``, 0 where pruned.

        At the usual stretch that is ``sigmoid(alpha + 2.398 temperature)``. With a temperature above about 5 it is 1
        to many digits wherever alpha begins, and then no penalty on it has a gradient worth the name.
        """
        shift = value(self.temperature, moment) * math.log(-self.low / self.high)
        return (alpha - shift).sigmoid() * keep


@dataclass(frozen=True, kw_only=True)
class StrongestGates(Gates):
    """The ``count`` strongest gates of every edge at weight exactly 1, all others at 0: the released code's form.

    The gates of ``HardConcrete`` are drawn, each operation is set back by 1 with probability ``exclude``, and the
    strongest win, ties falling by chance. The gradient goes straight through to the gates of the winners (Bengio et
    al., 2013), and is zero where these are clipped. A winner's gate may be shut; it takes part all the same.

    At rest the operations most likely open win, the one listed first if there is a tie.

    Attributes:
        gates: what is drawn.
        count: how many operations an edge has at a time; fewer where fewer are kept.
        exclude: how likely an operation is to be set back.

    >>> keep, moment = torch.tensor([[True, True, True, False]]), Moment(epoch=0, step=0, epochs=1, steps=1)
    >>> StrongestGates()(torch.tensor([[-0.1, 0.2, 0.1, 9.0]]), keep, moment)
    tensor([[0., 1., 1., 0.]])
    """

    gates: HardConcrete = HardConcrete()
    count: int = 2
    exclude: float = 0.4

    def __post_init__(self) -> None:
        if self.count < 1 or not 0 <= self.exclude < 1:
            raise ValueError(
                f"an edge needs at least 1 operation, excluded with a probability in [0, 1); got count {self.count} "
                f"and exclude {self.exclude}."
            )

    def __call__(self, alpha: Tensor, keep: Tensor, moment: Moment) -> Tensor:
        """The mixing weights, ``(edges, ops)``: 1 for the winners of an edge, else 0."""
        gates = self.gates(alpha, keep, moment)
        score = self.open(alpha, keep, moment) if moment.generator is None else self._drawn(gates, moment.generator)
        chosen = _strongest(score.detach().masked_fill(~keep, -torch.inf), self.count, moment.generator) & keep
        # 1 + (gate - gate) is exactly 1, and its gradient is the gate's.
        return chosen * (1 + (gates - gates.detach()))

    def open(self, alpha: Tensor, keep: Tensor, moment: Moment) -> Tensor:
        """P(gate > 0), ``(edges, ops)``, of the gates that are drawn from; not that of winning."""
        return self.gates.open(alpha, keep, moment)

    def _drawn(self, gates: Tensor, generator: torch.Generator) -> Tensor:
        return gates.detach() - (_uniform(gates, generator) < self.exclude).to(gates.dtype)


def _uniform(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(like.shape, generator=generator, device=like.device, dtype=like.dtype)


def _logistic(like: Tensor, generator: torch.Generator) -> Tensor:
    """Samples of ``ln u - ln(1 - u)``; u stays inside (0, 1), where that is finite."""
    return torch.logit(_uniform(like, generator), eps=1e-7)


def _strongest(score_EO: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """Whether each entry is among the ``count`` highest of its row, bool; ties in random or listed order."""
    order_EO = torch.arange(score_EO.shape[1], device=score_EO.device).expand_as(score_EO)
    if generator is not None:
        order_EO = _uniform(score_EO, generator).argsort(dim=1)
    ranking = score_EO.gather(1, order_EO).argsort(dim=1, descending=True, stable=True)
    winners = order_EO.gather(1, ranking)[:, :count]
    return torch.zeros_like(score_EO, dtype=torch.bool).scatter(1, winners, True)
