"""The controller that steers a search to its targets, by a penalty on the expected cost and a guard on pruning.

For each target T it adds ``multiplier * (E / T - 1)`` to the loss that moves alpha, with the expected cost E. Every few
steps the multiplier moves by ``rate * (signal / T - 1)``, and stays at 0 or above. This is dual ascent, as in LightNAS
(Luo et al., 2022). The signal is E at first. Once the choices are sharp, it is the cost of the cells that would be read
off. Whenever the signal crosses the target, the rate is halved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diffnas.components.relaxation import Relaxation
from diffnas.engine.costing import Interval, Reach
from diffnas.engine.target import Target
from diffnas.genotype import Genotype

START, RATE = 1.0, 1.0
"""Multiplier and rate at the start. With a smaller multiplier, cheap operations would die before the penalty acts."""

SLOWEST = RATE / 16
SHARP = 0.5
"""The mean of the edges' largest weights above which the signal is the cost of the cells that would be read off."""

TOO_STRONG = 20.0
PATIENCE = 3
"""The number of successive epochs with held-back pruning after which the user is told."""


@dataclass(kw_only=True)
class Dual:
    """The multiplier of one target, and how it moves.

    Attributes:
        multiplier: the factor of the penalty: nats for a cost that is 100 % above the target.
        rate: how far the multiplier moves if the signal is 100 % above the target.
        side: 1 if the last signal was above the target, -1 if it was below, 0 before the first.
    """

    multiplier: float = START
    rate: float = RATE
    side: int = 0

    def ascend(self, above: float) -> None:
        """Move the multiplier. ``above`` is how far the signal is above the target, as a share of the target.

        >>> dual = Dual()
        >>> for _ in range(2):
        ...     dual.ascend(0.1)
        >>> round(dual.multiplier, 6)
        1.2
        >>> dual.ascend(-0.1)
        >>> round(dual.multiplier, 6), dual.rate
        (1.15, 0.5)
        """
        side = (above > 0) - (above < 0)
        if side * self.side < 0:
            self.rate = max(self.rate / 2, SLOWEST)
        self.side = side or self.side
        self.multiplier = max(0.0, self.multiplier + self.rate * above)


class Controller:
    """Steers a search to its targets.

    Args:
        targets: the targets.
        reaches: for each target, the values that its cost can have, by the name of the cost.
        warn: called with each warning for the user.

    Attributes:
        duals: the multipliers, by the cost of their target.
        held: in how many successive epochs pruning was held back.
        holding: whether pruning was held back since the multipliers last moved.
        held_now: whether pruning was held back in the running epoch.
    """

    def __init__(self, targets: tuple[Target, ...], reaches: Mapping[str, Reach], warn: Callable[[str], None]) -> None:
        self.targets, self.reaches, self.warn = targets, reaches, warn
        self.duals = {target.cost: Dual() for target in targets}
        self.held, self.holding, self.held_now = 0, False, False
        space = next(iter(reaches.values())).sized.space
        everything = torch.tensor(space.offered)
        whole = {target.cost: reaches[target.cost].interval(everything) for target in targets}
        # A target below the interval is met by a smaller width after the search.
        self.most = {target.cost: max(target.value, whole[target.cost].low) for target in targets}
        self._read: tuple[Genotype | None, dict[str, float | None]] = (None, {})
        self._intervals: tuple[list[list[bool]], dict[str, Interval]] = ([], {})

    def state_dict(self) -> dict[str, Any]:
        """What changes during a search, as plain data."""
        duals = {name: vars(dual).copy() for name, dual in self.duals.items()}
        return {"duals": duals, "held": self.held, "holding": self.holding, "held_now": self.held_now}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a state that ``state_dict`` gave."""
        self.duals = {name: Dual(**dual) for name, dual in state["duals"].items()}
        self.held, self.holding, self.held_now = state["held"], state["holding"], state["held_now"]

    def penalty(self, at: Relaxation) -> Tensor:
        """The penalties of all targets together, 0-d; their gradient is that of the expected costs."""
        parts = [
            self.duals[target.cost].multiplier * (self.expected(target.cost, at) / target.value - 1)
            for target in self.targets
        ]
        return torch.stack(parts).sum()

    def expected(self, cost: str, at: Relaxation) -> Tensor:
        """The expected cost of the cells, 0-d. ``at.open`` has the probability of each operation."""
        reach = self.reaches[cost]
        slope, offset = reach.line
        ops = reach.additive.ops.to(at.open)
        return slope * (reach.additive.base + reach.share * (at.open * ops).sum()) + offset

    @torch.no_grad()
    def ascend(self, at: Relaxation, found: Genotype) -> None:
        """Move the multipliers, from the relaxation at rest and the cells that would be read off from it."""
        largest_E = at.open.masked_fill(~at.keep, 0.0).amax(dim=1)
        sharp = float(largest_E.mean()) > SHARP
        for target in self.targets:
            dual, read = self.duals[target.cost], self.read_off(target.cost, found) if sharp else None
            dual.ascend(target.miss(float(self.expected(target.cost, at)) if read is None else read))
            if self.holding:
                dual.multiplier *= 1.1
            if dual.multiplier > TOO_STRONG:
                self.warn(
                    f"the target {target} leaves no choice: its multiplier is above {TOO_STRONG:g}, so only the cost "
                    "decides. A larger target, or a larger network (evaluate.channels), leaves more choice."
                )
        self.holding = False

    def read_off(self, cost: str, found: Genotype) -> float | None:
        """The cost of the network of the cells ``found``; None if they pass nothing on."""
        if self._read[0] != found:
            self._read = (found, {})
        known = self._read[1]
        if cost not in known:
            reach = self.reaches[cost]
            try:
                known[cost] = reach.costing.of(reach.sized, found)
            except ValueError:
                known[cost] = None
        return known[cost]

    def intervals(self, keep: Tensor) -> dict[str, Interval]:
        """The interval of each cost if the operations in ``keep``, ``(edges, ops)``, bool, are in play."""
        kept = keep.tolist()
        if self._intervals[0] != kept:
            on_host = keep.cpu()
            found = {cost: reach.interval(on_host) for cost, reach in self.reaches.items()}
            self._intervals = (kept, found)
        return self._intervals[1]

    def guarded(self, before: Tensor, after: Tensor, at: Relaxation) -> Tensor:
        """The operations to keep, so that pruning does not put a target out of reach.

        Args:
            before: the operations in play, ``(edges, ops)``, bool.
            after: those of them that the pruning rule keeps.
            at: the relaxation at rest.

        Returns:
            ``(edges, ops)``, bool: ``after``, and the operations that must stay for now.
        """
        if self._reachable(after):
            return after
        # They are removed one by one, the least likely first.
        gone = sorted((before & ~after).nonzero().tolist(), key=lambda place: float(at.open[tuple(place)]))
        keep = before.clone()
        for row, column in gone:
            keep[row, column] = False
            if not self._reachable(keep):
                keep[row, column] = True
        self.holding = self.held_now = True
        return keep

    def _reachable(self, keep: Tensor) -> bool:
        return all(interval.low <= self.most[cost] * (1 + 1e-9) for cost, interval in self.intervals(keep).items())

    def end_epoch(self) -> None:
        """Count the epoch if pruning was held back in it, and warn after several such epochs."""
        self.held = self.held + 1 if self.held_now else 0
        self.held_now = False
        if self.held >= PATIENCE:
            self.warn(
                f"pruning is too fast for the target: for {self.held} epochs, operations that the search gave up were "
                "kept, because the target needs them. Let pruning begin later: --prune-warmup with more epochs."
            )

    def close(self, at: Relaxation, found: Genotype) -> dict[str, dict[str, float | None]]:
        """The entry of an epoch in the trace, for each cost. It ends the epoch."""
        self.end_epoch()
        return {
            target.cost: {
                "target": target.value,
                "expected": float(self.expected(target.cost, at)),
                "read_off": self.read_off(target.cost, found),
                "lo": self.intervals(at.keep)[target.cost].low,
                "hi": self.intervals(at.keep)[target.cost].high,
                "multiplier": self.duals[target.cost].multiplier,
            }
            for target in self.targets
        }
