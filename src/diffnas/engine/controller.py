"""What steers a search to its targets: a penalty on the expected cost, and a guard on pruning.

To the loss that moves alpha it adds, for each target T, ``multiplier * (E / T - 1)`` with the expected cost E. Every
few steps the multiplier moves by ``rate * (signal / T - 1)`` and stays at 0 or above: dual ascent, as in LightNAS (Luo
et al., 2022). The signal is E at first, and the cost of the cells as they would be read off once the choices are sharp:
E gives the direction, they give the amount. The rate is halved whenever the signal crosses the target.
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
"""Multiplier and rate at the start: late penalties find the cheap operations dead already."""

SLOWEST = RATE / 16
SHARP = 0.5
"""The mean of the edges' largest weights from which on the cells that would be read off are the signal."""

TOO_STRONG = 20.0
PATIENCE = 3
"""Epochs in which pruning may be held back before that is said."""


@dataclass(kw_only=True)
class Dual:
    """The multiplier of one target, and how it moves.

    Attributes:
        multiplier: what the penalty is multiplied by, in nats for 100 % of the target.
        rate: how far the multiplier moves for a signal of 100 % above the target.
        side: 1 if the last signal was above the target, -1 if it was below, 0 before the first.
    """

    multiplier: float = START
    rate: float = RATE
    side: int = 0

    def ascend(self, above: float) -> None:
        """Move by a signal that lies so far above the target, as a share of it.

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
        reaches: what the networks can cost, for the cost of each target.
        warn: told what the user should know.

    Attributes:
        duals: the multipliers, by the cost of their target.
        held: in how many epochs in a row pruning was held back.
        holding, held_now: whether it was since the multipliers last moved, and in the running epoch.
    """

    def __init__(self, targets: tuple[Target, ...], reaches: Mapping[str, Reach], warn: Callable[[str], None]) -> None:
        self.targets, self.reaches, self.warn = targets, reaches, warn
        self.duals = {target.cost: Dual() for target in targets}
        self.held, self.holding, self.held_now = 0, False, False
        space = next(iter(reaches.values())).sized.space
        everything = torch.tensor(space.offered)
        whole = {target.cost: reaches[target.cost].interval(everything) for target in targets}
        # A target a little below the interval is left to the width.
        self.most = {target.cost: max(target.value, whole[target.cost].low) for target in targets}
        self._read: tuple[Genotype | None, dict[str, float | None]] = (None, {})
        self._intervals: tuple[list[list[bool]], dict[str, Interval]] = ([], {})

    def state_dict(self) -> dict[str, Any]:
        """What changes, as plain data."""
        duals = {name: vars(dual).copy() for name, dual in self.duals.items()}
        return {"duals": duals, "held": self.held, "holding": self.holding, "held_now": self.held_now}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to what ``state_dict`` gave."""
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
        """The expected cost of the cells, 0-d: what every network has, and each operation as likely as it is open."""
        reach = self.reaches[cost]
        slope, offset = reach.line
        ops = reach.additive.ops.to(at.open)
        return slope * (reach.additive.base + reach.share * (at.open * ops).sum()) + offset

    @torch.no_grad()
    def ascend(self, at: Relaxation, found: Genotype) -> None:
        """Move the multipliers, by the relaxation at rest and the cells that would be read off of it."""
        largest_E = at.open.masked_fill(~at.keep, 0.0).amax(dim=1)
        sharp = float(largest_E.mean()) > SHARP
        for target in self.targets:
            dual, read = self.duals[target.cost], self.read_off(target.cost, found) if sharp else None
            dual.ascend(target.miss(float(self.expected(target.cost, at)) if read is None else read))
            if self.holding:
                dual.multiplier *= 1.1
            if dual.multiplier > TOO_STRONG:
                self.warn(
                    f"the target {target} leaves no choice: its multiplier is above {TOO_STRONG:g}, and accuracy has "
                    "no say any more. A larger target, or a larger network (evaluate.channels), leaves more."
                )
        self.holding = False

    def read_off(self, cost: str, found: Genotype) -> float | None:
        """What the network of some cells costs; None if they pass nothing on."""
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
        """Between what each cost can lie with what is kept, ``(edges, ops)``, bool."""
        kept = keep.tolist()
        if self._intervals[0] != kept:
            on_host = keep.cpu()
            found = {cost: reach.interval(on_host) for cost, reach in self.reaches.items()}
            self._intervals = (kept, found)
        return self._intervals[1]

    def guarded(self, before: Tensor, after: Tensor, at: Relaxation) -> Tensor:
        """What may go of what a pruning rule gives up: nothing whose loss puts a target out of reach.

        Args:
            before: what was kept, ``(edges, ops)``, bool.
            after: what the rule keeps of it.
            at: the relaxation at rest.

        Returns:
            What to keep, ``(edges, ops)``, bool: ``after``, and what must not go now.
        """
        if self._reachable(after):
            return after
        # One by one, the least likely first.
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
        """Count the epoch if pruning was held back in it, and say so if that goes on."""
        self.held = self.held + 1 if self.held_now else 0
        self.held_now = False
        if self.held >= PATIENCE:
            self.warn(
                f"pruning ran ahead of the target: for {self.held} epochs operations have been kept that the target "
                "needs and the search gave up. A later start helps: --prune-warmup with more epochs."
            )

    def close(self, at: Relaxation, found: Genotype) -> dict[str, dict[str, float | None]]:
        """End an epoch; what the trace says of it, for each cost."""
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
