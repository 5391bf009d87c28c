"""The controller that steers a search to its targets, by a penalty on the expected cost and a guard on pruning.

For each target T it adds ``multiplier * (E / T - 1)`` to the loss that moves alpha, with the expected cost E. Every few
steps the multiplier moves by ``rate * (signal / T - 1)``, and stays at 0 or above. This is dual ascent, as in LightNAS
(Luo et al., 2022). The signal is E at first. Once the choices are sharp, it is the cost of the cells that would be read
off. Whenever the signal crosses the target, the rate is halved.

A multiplier begins at 1, at another number, or by balance: where the penalty pulls at the mixing weights as hard as the
loss does while alpha warms up. A target that tightens falls from the highest possible cost to its value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from diffnas.components.relaxation import Relaxation
from diffnas.engine.costing import Costing, Interval, Reach
from diffnas.engine.target import Target
from diffnas.genotype import Genotype
from diffnas.nets.sized import is_network

START, RATE = 1.0, 1.0
"""Multiplier and rate at the start. With a smaller multiplier, cheap operations would die before the penalty acts."""

SLOWEST = RATE / 16
BALANCED_RATE = 1 / 4
"""The rate of a multiplier that begins by balance, in that multiplier; with 1, the first epoch went far too low."""

FAINTEST = 1e-3
"""The least multiplier by balance, so that it can move."""

EASY, LATE = 0.4, 2 / 3
"""The shares of a search from which on targets tighten, and networks that are read off are measured."""

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
        slowest: the least rate.
    """

    multiplier: float = START
    rate: float = RATE
    side: int = 0
    slowest: float = SLOWEST

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
            self.rate = max(self.rate / 2, self.slowest)
        self.side = side or self.side
        self.multiplier = max(0.0, self.multiplier + self.rate * above)


_PLAIN = ("held", "holding", "held_now", "progress")


class Controller:
    """Steers a search to its targets.

    Args:
        targets: the targets.
        reaches: for each target, the values that its cost can have, by the name of the cost.
        warn: called with each warning for the user.
        start: the multipliers at the start; None chooses them by balance.
        tightens: whether the targets fall from the highest possible cost to their values.

    Attributes:
        duals: the multipliers, by the cost of their target.
        progress: how much of the search is over, from 0 to 1.
        ratios: by the cost of each target, how hard the loss pulled against a penalty of multiplier 1, while the
            multipliers are to begin by balance; else None.
        held: how many successive epochs have held pruning back.
        holding: whether pruning was held back since the multipliers last moved.
        held_now: whether pruning was held back in the running epoch.
    """

    def __init__(
        self,
        targets: tuple[Target, ...],
        reaches: Mapping[str, Reach],
        warn: Callable[[str], None],
        *,
        start: float | None = START,
        tightens: bool = False,
    ) -> None:
        self.targets, self.reaches, self.warn, self.tightens = targets, dict(reaches), warn, tightens
        self.duals = {target.cost: Dual(multiplier=START if start is None else start) for target in targets}
        self.ratios: dict[str, list[float]] | None = {cost: [] for cost in self.duals} if start is None else None
        self.progress = 0.0
        self.held, self.holding, self.held_now = 0, False, False
        space = next(iter(reaches.values())).sized.space
        everything = torch.tensor(space.offered)
        whole = {target.cost: reaches[target.cost].interval(everything) for target in targets}
        # A chain keeps its width, so pruning must leave cells that cost as much as the target or the dearest cells.
        self.least = {
            target.cost: min(target.value, whole[target.cost].high)
            for target in targets
            if reaches[target.cost].separate and not target.ceiling
        }
        for target in targets:
            if target.ceiling and whole[target.cost].high <= target.value:
                self.duals[target.cost].multiplier = 0.0  # every network keeps it
        self._highest = {cost: interval.high for cost, interval in whole.items()}
        # A target below the interval is met by a smaller width after the search.
        self.most = {target.cost: max(target.value, whole[target.cost].low) for target in targets}
        self._read: tuple[Genotype | None, dict[str, float | None]] = (None, {})
        self._intervals: tuple[list[list[bool]], dict[str, Interval]] = ([], {})

    def state_dict(self) -> dict[str, Any]:
        """What changes during a search, as plain data."""
        return {
            "duals": {name: vars(dual).copy() for name, dual in self.duals.items()},
            **{name: getattr(self, name) for name in _PLAIN},
            "ratios": None if self.ratios is None else {name: [*found] for name, found in self.ratios.items()},
            "costings": {cost: reach.costing.record() for cost, reach in self.reaches.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a state that ``state_dict`` gave."""
        self.duals = {name: Dual(**dual) for name, dual in state["duals"].items()}
        self.ratios = state.get("ratios")
        # Earlier checkpoints lack some of them.
        for name in _PLAIN:
            setattr(self, name, state.get(name, getattr(self, name)))
        for cost, record in state.get("costings", {}).items():
            self._take(cost, self.reaches[cost].costing.recalled(record))

    def wanted(self, target: Target) -> Target:
        """A target with its value of this moment, which is still too high while the target tightens.

        It falls from the highest cost that cells can have to the user's value, by the same share in every step.
        """
        if not self.tightens:
            return target
        done = min(1.0, max(0.0, (self.progress - EASY) / (1 - EASY)))
        easy = max(target.value, self._highest[target.cost])
        return replace(target, value=easy ** (1 - done) * target.value**done)

    def penalty(self, at: Relaxation) -> Tensor:
        """The sum of the penalties of all targets, 0-d, through which gradients reach the mixing weights."""
        parts = [
            self.duals[target.cost].multiplier * (self.expected(target.cost, at) / self.wanted(target).value - 1)
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
    def weigh(self, at: Relaxation, gradient: Tensor) -> None:
        """Note how hard the loss pulls at the mixing weights against the penalty, by its gradient, ``(edges, ops)``.

        Both pulls are compared within an edge, so the mean of each edge's gradients is subtracted.
        """
        assert self.ratios is not None
        for target in self.targets:
            reach = self.reaches[target.cost]
            penalty = reach.line[0] * reach.share * reach.additive.ops.to(gradient) / self.wanted(target).value
            pull = _spread(penalty, at.keep)
            self.ratios[target.cost].append(_spread(gradient, at.keep) / pull if pull else START)

    def balance(self) -> None:
        """Begin with the multipliers that were weighed."""
        assert self.ratios is not None
        for cost, ratios in self.ratios.items():
            if not self.duals[cost].multiplier:
                continue  # every network meets this target
            start = max(FAINTEST, fmean(ratios))
            rate = BALANCED_RATE * start
            self.duals[cost] = Dual(multiplier=start, rate=rate, slowest=rate * SLOWEST / RATE)
        self.ratios = None

    @torch.no_grad()
    def ascend(self, at: Relaxation, found: Genotype) -> None:
        """Move the multipliers, from the relaxation at rest and the cells that would be read off from it."""
        largest_E = at.open.masked_fill(~at.keep, 0.0).amax(dim=1)
        sharp = float(largest_E.mean()) > SHARP
        for target in self.targets:
            dual, read = self.duals[target.cost], self.read_off(target.cost, found) if sharp else None
            dual.ascend(self.wanted(target).miss(float(self.expected(target.cost, at)) if read is None else read))
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

    def learn(self, found: Genotype, keep: Tensor) -> None:
        """Let measured costs learn from the network of the cells ``found``, and renew the bounds for ``keep``."""
        if not is_network(found):
            return
        for cost, reach in self.reaches.items():
            self._take(cost, reach.costing.learned(reach.sized, found))
        # The guard must not ask for a cost that the operations in play cannot reach by now.
        for target in self.targets:
            low, high = self.intervals(keep)[target.cost]
            self.most[target.cost] = max(target.value, low)
            if target.cost in self.least:
                self.least[target.cost] = min(target.value, high)

    def _take(self, cost: str, costing: Costing) -> None:
        """Use this costing for a cost from now on."""
        if costing is not self.reaches[cost].costing:
            self.reaches[cost] = replace(self.reaches[cost], costing=costing)
            self._read, self._intervals = (None, {}), ([], {})

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

        If even the cheapest cells that are left cost too much, no cells can meet the target. If even the dearest cost
        too little, another width can meet it. But if edges are chosen one by one, the width stays, so operations must
        stay that make the cells dear enough.

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
        if not self._cheap_enough(after):
            self.holding = self.held_now = True
        return keep

    def _reachable(self, keep: Tensor) -> bool:
        return self._cheap_enough(keep) and self._dear_enough(keep)

    def _cheap_enough(self, keep: Tensor) -> bool:
        return all(interval.low <= self.most[cost] * (1 + 1e-9) for cost, interval in self.intervals(keep).items())

    def _dear_enough(self, keep: Tensor) -> bool:
        return all(self.intervals(keep)[cost].high >= least * (1 - 1e-9) for cost, least in self.least.items())

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
        if self.progress > LATE:
            self.learn(found, at.keep)
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


def _spread(values: Tensor, keep: Tensor) -> float:
    """The root mean square deviation of the kept values, ``(edges, ops)``, from the mean of their edge."""
    kept = keep.to(values)
    mean = (values * kept).sum(dim=1, keepdim=True) / kept.sum(dim=1, keepdim=True).clamp_min(1)
    return float((((values - mean) * kept).square().sum() / kept.sum().clamp_min(1)).sqrt())
