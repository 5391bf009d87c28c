"""What a target is about: costs of networks, how each follows from the operations, and between what they lie."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from diffnas.components.discretize import Discretize
from diffnas.engine import contract
from diffnas.engine.memory import Watch, tensors
from diffnas.genotype import Genotype
from diffnas.nets.own import unseen
from diffnas.nets.sized import Additive, Count, SizedSpace, is_network


class Costing(Protocol):
    """A cost of networks."""

    def additive(self, sized: SizedSpace) -> Additive:
        """A sum that follows it, for gradients and for an order of the operations."""

    def of(self, sized: SizedSpace, genotype: Genotype) -> float:
        """That of a network, counted or predicted: asked often.

        Raises:
            ValueError: if the cells pass nothing on.
        """

    def exact(self, sized: SizedSpace, genotype: Genotype) -> float:
        """That of a network, counted or measured: what is promised."""

    def line(self, reach: Reach) -> tuple[float, float]:
        """Slope and offset of the line that leads from the sum to the cost."""

    @property
    def adds_up(self) -> bool:
        """Whether it is the sum itself where every node is fed."""

    @property
    def measured(self) -> bool:
        """Whether it takes a clock, so that asking for it exactly takes time."""

    def learned(self, sized: SizedSpace, genotype: Genotype) -> Costing:
        """The same after the network of some cells was measured, if it predicts any better then; else itself."""

    def record(self) -> dict[str, Any]:
        """What a run folder keeps of it, as plain data."""

    def recalled(self, record: Mapping[str, Any]) -> Costing:
        """The same as it was when it gave this record."""


@dataclass(frozen=True)
class Counting:
    """Multiply-adds or parameters: sums by themselves."""

    count: Count
    measured: bool = False
    adds_up: bool = True

    def additive(self, sized: SizedSpace) -> Additive:
        """The sum that it is."""
        return sized.additive(self.count)

    def of(self, sized: SizedSpace, genotype: Genotype) -> float:
        """Counted."""
        return float(sized.cost(genotype, self.count))

    def exact(self, sized: SizedSpace, genotype: Genotype) -> float:
        """Counted too."""
        return self.of(sized, genotype)

    def line(self, reach: Reach) -> tuple[float, float]:
        """The sum is the cost."""
        return 1.0, 0.0

    def learned(self, sized: SizedSpace, genotype: Genotype) -> Costing:
        """Itself: nothing is predicted."""
        return self

    def record(self) -> dict[str, Any]:
        """Nothing: it follows from the rest."""
        return {}

    def recalled(self, record: Mapping[str, Any]) -> Costing:
        """Itself."""
        return self


@dataclass(frozen=True)
class PeakMemory:
    """The most bytes of activations that are alive at once while a network looks at one picture.

    It is no sum: what is written and freed early does not count. The bytes that operations write give the direction.
    """

    measured: bool = False
    adds_up: bool = False

    def additive(self, sized: SizedSpace) -> Additive:
        """The bytes that layers write."""
        return sized.additive("written")

    def of(self, sized: SizedSpace, genotype: Genotype) -> float:
        """Watched in one pass forward, on real numbers: without them PyTorch takes batch norms apart."""
        with unseen(own=True), torch.no_grad():
            network = sized.network(genotype)
            watch = Watch(held := tensors(network.state_dict()))
            with watch:
                network(torch.zeros(1, *sized.picture))
        return float(max(watch.curve) - sum(each.untyped_storage().nbytes() for each in held))

    def exact(self, sized: SizedSpace, genotype: Genotype) -> float:
        """The same."""
        return self.of(sized, genotype)

    def line(self, reach: Reach) -> tuple[float, float]:
        """Through the cheapest and the dearest cells."""
        ends = [
            (reach.additive.of(reach.sized.space, cells), self.of(reach.sized, cells))
            for cells in reach.extremes(torch.tensor(reach.sized.space.offered))
        ]
        (first, low), (last, high) = ends[0], ends[-1]
        slope = (high - low) / (last - first) if last > first and high > low else 0.0
        # Where operations do not matter, the sum points the way all the same.
        return (slope, low - slope * first) if slope else (high / last, 0.0)

    def learned(self, sized: SizedSpace, genotype: Genotype) -> Costing:
        """Itself: nothing is predicted."""
        return self

    def record(self) -> dict[str, Any]:
        """Nothing: it follows from the rest."""
        return {}

    def recalled(self, record: Mapping[str, Any]) -> Costing:
        """Itself."""
        return self


COUNTED: Mapping[str, Costing] = {
    "macs": Counting("macs"),
    "params": Counting("params"),
    "memory": PeakMemory(),
}
"""The costs that need no clock."""


class Interval(NamedTuple):
    """Between what the costs of networks lie."""

    low: float
    high: float

    def __contains__(self, cost: object) -> bool:
        return isinstance(cost, float | int) and self.low <= cost <= self.high


@dataclass(frozen=True)
class Reach:
    """What networks of a space can cost, at one size and as a method reads cells off.

    Attributes:
        costing: the cost.
        sized: the space and the size.
        rule: how cells are read off.
        prunes: whether operations leave for good, so that a rule that reads all that is left finds fewer of them.
        separate: whether each edge has one operation, whatever the others have: then every choice is a network.
    """

    costing: Costing
    sized: SizedSpace
    rule: Discretize
    prunes: bool = True
    separate: bool = False

    @cached_property
    def additive(self) -> Additive:
        """What its parts cost."""
        return self.costing.additive(self.sized)

    def interval(self, keep: Tensor) -> Interval:
        """The least and the most that can be read off of ``keep``, ``(edges, ops)``, bool, on the host.

        The rule itself is asked, with scores by which the cheapest operations win, and then the dearest: exact for
        every rule that looks at the order of scores alone. Cells that pass nothing on are no network.
        """
        if self.separate and self.costing.adds_up and bool(keep.any(dim=1).all()):
            base, costs = self.additive.base, self.additive.ops
            low = costs.masked_fill(~keep, torch.inf).amin(dim=1)
            high = costs.masked_fill(~keep, -torch.inf).amax(dim=1)
            return Interval(base + float(low.sum()), base + float(high.sum()))
        found = [self.costing.of(self.sized, cells) for cells in self.extremes(keep)]
        if not found:
            return Interval(self.additive.base, self.additive.base)
        return Interval(min(found), max(found))

    @cached_property
    def line(self) -> tuple[float, float]:
        """Slope and offset of the line from the sum to the cost."""
        return self.costing.line(self)

    @cached_property
    def share(self) -> float:
        """How many operations a network has for each edge, on average: 8 for 14 edges in the cells of DARTS."""
        found = list(self.extremes(torch.tensor(self.sized.space.offered)))
        read = max((sum(len(cell.connections) for cell in cells.cells.values()) for cells in found), default=1)
        return min(1.0, read / len(self.sized.space.edges))

    def extremes(self, keep: Tensor) -> Iterator[Genotype]:
        """The cheapest and the dearest cells that can be read off of ``keep``; those that are a network."""
        # Of a rule that reads all that is left, what pruning may leave at the least counts.
        least = self._cheapest(keep) if self.prunes and self._reads_all else keep
        cheap, dear = self._read(least, dear=False), self._read(keep, dear=True)
        yield from (cells for cells in (cheap, dear) if cells is not None)

    @cached_property
    def _reads_all(self) -> bool:
        """Whether the rule does not look at scores."""
        offered = torch.tensor(self.sized.space.offered)
        chooses = bool((offered.sum(dim=1) > 1).any())
        return chooses and self._read(offered, dear=False) == self._read(offered, dear=True)

    def _read(self, keep: Tensor, *, dear: bool) -> Genotype | None:
        """The cells of the cheapest or of the dearest operations; None if they pass nothing on."""
        # Where several cost the same, "none" is the last, so that nodes stay alive; then it may win if that leaves any.
        for last in (1e-9, 2.0):
            scores = self._scores(keep, dear=dear, none=last)
            cells = contract.read_off(self.rule, scores, keep, self.sized.space)
            if is_network(cells):
                return cells
        return None

    def _scores(self, keep: Tensor, *, dear: bool, none: float) -> Tensor:
        """Probabilities that order the operations, all so high that none is left out for being unlikely."""
        costs = self.additive.ops.clone()
        top = float(costs[keep].max()) if bool(keep.any()) else 0.0
        share = costs / top if top else costs
        column = self.sized.space.column("none")
        if column is not None:
            share[:, column] = -none if dear else none
        place = (share if dear else -share).clamp(-2, 2)
        return (0.95 + 0.02 * place).masked_fill(~keep, 0.0)

    def _cheapest(self, keep: Tensor) -> Tensor:
        """One operation for each node, the cheapest that is no ``none``."""
        space, found = self.sized.space, torch.zeros_like(keep)
        none = space.column("none")
        costs = self.additive.ops.masked_fill(~keep, torch.inf)
        if none is not None:
            costs[:, none] = torch.inf
        into: dict[tuple[str, int], list[int]] = {}
        for row, (kind, edge) in enumerate(space.edges):
            into.setdefault((kind, edge.target), []).append(row)
        for rows in into.values():
            row = min(rows, key=lambda row: float(costs[row].min()))
            if bool(costs[row].isfinite().any()):
                found[row, int(costs[row].argmin())] = True
        return found
