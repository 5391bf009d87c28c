"""Gates: mixing weights of operations that do not compete. Each operation has a gate, which ignores the other gates.

A kind of gates is a weighting: called with ``(alpha, keep, moment)``, it returns the gates as mixing weights. Unlike
other weightings it also tells the probability that each gate is open. Penalties act on this probability, pruning and
reading off decide by it, and it has a gradient where a sample has none.
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
"""The temperature in the released search script of Zhou et al. (2020): linearly from 1 to 0.1, epoch by epoch."""


@traits(competes=False)
class Gates(ABC):
    """A weighting under which the operations of an edge do not compete, so that its weights need not sum to one."""

    @abstractmethod
    def __call__(self, alpha: Tensor, keep: Tensor, moment: Moment) -> Tensor:
        """The gates, ``(edges, ops)``, 0 where pruned.

        They are a sample from ``moment.generator``, or the gates at rest if that is None.
        """

    @abstractmethod
    def open(self, alpha: Tensor, keep: Tensor, moment: Moment) -> Tensor:
        """The probability that each gate is open, ``(edges, ops)``, 0 where pruned; differentiable in alpha."""


@dataclass(frozen=True, kw_only=True)
class Sigmoid(Gates):
    """Gates that are the sigmoid of alpha: FairDARTS (Chu et al., 2020). Nothing is drawn.

    >>> alpha, moment = torch.tensor([[-1.0, 0.0, 1.0]]), Moment(epoch=0, step=0, epochs=1, steps=1)
    >>> Sigmoid()(alpha, torch.tensor([[True, True, False]]), moment)
    tensor([[0.2689, 0.5000, 0.0000]])
    """

    def __call__(self, alpha: Tensor, keep: Tensor, moment: Moment) -> Tensor:
        """The gates, ``(edges, ops)``, from 0 to 1, and 0 where pruned."""
        return alpha.sigmoid() * keep

    def open(self, alpha: Tensor, keep: Tensor, moment: Moment) -> Tensor:
        """The gates themselves, ``(edges, ops)``, which FairDARTS takes as probabilities."""
        return self(alpha, keep, moment)


@dataclass(frozen=True, kw_only=True)
class HardConcrete(Gates):
    """Hard-concrete gates (Louizos et al., 2018), one for each operation, as Zhou et al. (2020) use them.

    A gate is ``clip(low + (high - low) sigmoid((alpha + ln u - ln(1 - u)) / temperature), 0, 1)`` with u uniform.
    It is shut (exactly 0) or fully open (exactly 1) with positive probability; between 0 and 1, alpha gets a gradient.
    Each forward pass draws anew, independently for each operation and kind of cell. All cells of a kind share a sample.

    At rest nothing is drawn, and u is 1/2. This gives the median of the gate, which is exactly 0 if and only if the
    gate is more likely shut than open.

    Attributes:
        temperature: at lower temperatures, samples are closer to 0 or 1; may be a schedule.
        low, high: the sigmoid is stretched to this interval before it is clipped.

    Raises:
        ValueError: unless ``low < 0 < 1 < high``, because a gate could not be exactly 0 or 1; or if the temperature
            is not greater than 0.

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

        With the default ``low`` and ``high`` it is ``sigmoid(alpha + 2.398 temperature)``. At temperatures above about
        5 it is almost exactly 1 for the initial alpha. Then penalties on it have almost no gradient.
        """
        shift = value(self.temperature, moment) * math.log(-self.low / self.high)
        return (alpha - shift).sigmoid() * keep


@dataclass(frozen=True, kw_only=True)
class StrongestGates(Gates):
    """Weight exactly 1 for the ``count`` strongest gates of each edge and 0 for the others, as in the released code.

    The gates of ``HardConcrete`` are drawn. With probability ``exclude``, 1 is subtracted from an operation's gate.
    Then the strongest win, and chance breaks ties. The gradient is straight-through (Bengio et al., 2013): it is that
    of the winners' gates, and zero where these are clipped. A winner has weight 1 even if its gate is shut.

    At rest, the operations that are most likely open win; of equals, the one that is listed first.

    Attributes:
        gates: the gates that are drawn.
        count: how many operations of an edge have weight 1; fewer if the edge keeps fewer.
        exclude: the probability that 1 is subtracted from a gate.

    Raises:
        ValueError: if ``count`` is below 1, or ``exclude`` is not in [0, 1).

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
        """P(gate > 0), ``(edges, ops)``, of ``gates``; not the probability of winning."""
        return self.gates.open(alpha, keep, moment)

    def _drawn(self, gates: Tensor, generator: torch.Generator) -> Tensor:
        return gates.detach() - (_uniform(gates, generator) < self.exclude).to(gates.dtype)


def _uniform(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(like.shape, generator=generator, device=like.device, dtype=like.dtype)


def _logistic(like: Tensor, generator: torch.Generator) -> Tensor:
    """Samples of ``ln u - ln(1 - u)``; u is kept inside (0, 1), where the samples are finite."""
    return torch.logit(_uniform(like, generator), eps=1e-7)


def _strongest(score_EO: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """Whether each entry is among the ``count`` highest of its row, bool.

    Ties are broken by the generator; without a generator, the first column wins.
    """
    order_EO = torch.arange(score_EO.shape[1], device=score_EO.device).expand_as(score_EO)
    if generator is not None:
        order_EO = _uniform(score_EO, generator).argsort(dim=1)
    ranking = score_EO.gather(1, order_EO).argsort(dim=1, descending=True, stable=True)
    winners = order_EO.gather(1, ranking)[:, :count]
    return torch.zeros_like(score_EO, dtype=torch.bool).scatter(1, winners, True)
