"""The costs of networks that a target may name: their values, their sums of operations, and the range of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from diffnas.components.discretize import Discretize
from diffnas.engine import contract
from diffnas.engine.memory import Watch
from diffnas.genotype import Genotype
from diffnas.nets.sites import unseen
from diffnas.nets.sized import Additive, Count, SizedSpace, is_network


class Costing(Protocol):
    """A kind of cost, such as latency: how it is computed exactly, fast, and roughly as a sum over operations."""

    def additive(self, sized: SizedSpace) -> Additive:
        """A sum over operations that approximates the cost. It gives gradients, and an order of the operations."""

    def of(self, sized: SizedSpace, genotype: Genotype) -> float:
        """The cost of a genotype's network, counted or predicted. It is computed often, so it must be fast.

        Raises:
            ValueError: if the cells pass nothing on.
        """

    def exact(self, sized: SizedSpace, genotype: Genotype) -> float:
        """The cost of a genotype's network, counted or measured, as it is reported to the user."""
        return self.of(sized, genotype)

    def line(self, reach: Reach) -> tuple[float, float]:
        """Slope and offset of the line from the sum to the cost."""

    @property
    def measured(self) -> bool:
        """Whether ``exact`` measures with a clock, which takes time."""
        return False

    @property
    def adds_up(self) -> bool:
        """Whether the sum of ``additive`` is the cost itself, for cells in which every node has an input."""
        return False

    def learned(self, sized: SizedSpace, genotype: Genotype) -> Costing:
        """The cost after a genotype's network was measured, if it predicts better then; else the same."""
        return self

    def record(self) -> dict[str, Any]:
        """What a run folder needs of this cost, as plain data."""
        return {}

    def recalled(self, record: Mapping[str, Any]) -> Costing:
        """The cost as it was when ``record`` gave this record."""
        return self


@dataclass(frozen=True)
class Counting(Costing):
    """Multiply-adds or parameters, which are sums over operations."""

    count: Count

    @property
    def adds_up(self) -> bool:
        """Yes."""
        return True

    def additive(self, sized: SizedSpace) -> Additive:
        """The cost itself, as a sum."""
        return sized.additive(self.count)

    def of(self, sized: SizedSpace, genotype: Genotype) -> float:
        """The cost, counted."""
        return float(sized.cost(genotype, self.count))

    def line(self, reach: Reach) -> tuple[float, float]:
        """Slope 1 and offset 0, because the sum is the cost. If operations share parameters: ``through_ends``."""
        return through_ends(self, reach) if self.count == "params" and reach.sized.skeleton.gated else (1.0, 0.0)


@dataclass(frozen=True)
class PeakMemory(Costing):
    """The most bytes of activations that are alive at once while a network classifies one picture.

    Batch norms are folded into the convolutions before them, and ReLUs behind those work in place, as runtimes deploy a
    network. It is not a sum, because activations that are freed before the peak do not count. The bytes that operations
    write are the sum that approximates it.
    """

    def additive(self, sized: SizedSpace) -> Additive:
        """The bytes that operations write."""
        return sized.additive("written")

    def of(self, sized: SizedSpace, genotype: Genotype) -> float:
        """The peak in one real forward pass. Device "meta" would not do: there PyTorch splits up batch norms."""
        with unseen(own=True), torch.no_grad():
            network = sized.network(genotype)
            _fold(network)
            # Not ``state_dict()``: it has a weight that operations share several times, under several names.
            watch = Watch(held := [*network.parameters(), *network.buffers()])
            with watch:
                network(torch.zeros(1, *sized.picture))
        return float(max(watch.curve) - sum(each.untyped_storage().nbytes() for each in held))

    def line(self, reach: Reach) -> tuple[float, float]:
        """The line through the cheapest and the dearest cells."""
        return through_ends(self, reach)


def through_ends(costing: Costing, reach: Reach) -> tuple[float, float]:
    """The line from the sum to the cost through the cheapest and the dearest cells."""
    ends = [
        (reach.additive.of(reach.sized.space, cells), costing.of(reach.sized, cells))
        for cells in reach.extremes(torch.tensor(reach.sized.space.offered))
    ]
    (first, low), (last, high) = ends[0], ends[-1]
    slope = (high - low) / (last - first) if last > first and high > low else 0.0
    # If the operations do not change the cost, the sum still gives a direction.
    return (slope, low - slope * first) if slope else (high / last, 0.0)


def _fold(network: nn.Module) -> None:
    """Leave out the batch norms that a runtime folds into convolutions, and let the ReLUs behind these work in place.

    The network then computes wrong numbers, but tensors of the right sizes: use it only to count their bytes.
    """
    for parent in network.modules():
        for (before, _, _), (layer, owner, name) in pairwise(_in_a_row(parent)):
            if isinstance(before, _NOT_FOLDED):
                continue
            if isinstance(layer, nn.BatchNorm2d):
                setattr(owner, name, nn.Identity())
            elif isinstance(layer, nn.ReLU):
                layer.inplace = True


_NOT_FOLDED = nn.MaxPool2d | nn.AvgPool2d | nn.Sequential | nn.ModuleList


def _in_a_row(parent: nn.Module) -> Iterator[tuple[nn.Module, nn.Module, str]]:
    """The layers of a module in order, each with its owner and its name. Sequences in a sequence are one row."""
    for name, layer in list(parent.named_children()):
        if isinstance(parent, nn.Sequential) and isinstance(layer, nn.Sequential):
            yield from _in_a_row(layer)
        else:
            yield layer, parent, name


COUNTED: Mapping[str, Costing] = {
    "macs": Counting("macs"),
    "params": Counting("params"),
    "memory": PeakMemory(),
}
"""The costs that are counted, not measured with a clock."""


class Interval(NamedTuple):
    """The range of a cost over networks."""

    low: float
    high: float

    def __contains__(self, cost: object) -> bool:
        return isinstance(cost, float | int) and self.low <= cost <= self.high


@dataclass(frozen=True)
class Reach:
    """The values that one cost can have, over all networks that a method can read off in a space at one size.

    Attributes:
        costing: the cost.
        sized: the space and the size.
        rule: how cells are read off.
        prunes: whether the method removes operations. Then a rule that reads all that are left finds fewer of them.
        separate: whether each edge has one operation, whatever the others have: then every choice is a network.
    """

    costing: Costing
    sized: SizedSpace
    rule: Discretize
    prunes: bool = True
    separate: bool = False

    @cached_property
    def additive(self) -> Additive:
        """The sum that approximates the cost."""
        return self.costing.additive(self.sized)

    def interval(self, keep: Tensor) -> Interval:
        """The lowest and the highest cost of networks that can be read off from ``keep``.

        The rule reads off twice: with scores by which the cheapest operations win, then with scores for the dearest.
        This is exact for every rule that depends only on the order of scores. Cells that pass nothing on do not count.

        Args:
            keep: operations in play, ``(edges, ops)``, bool, on the host.
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
        """How many operations a network has, divided by the edges of the space: 8 by 14 in the cells of DARTS."""
        found = list(self.extremes(torch.tensor(self.sized.space.offered)))
        read = max((sum(len(cell.connections) for cell in cells.cells.values()) for cells in found), default=1)
        return min(1.0, read / len(self.sized.space.edges))

    def extremes(self, keep: Tensor) -> Iterator[Genotype]:
        """The cheapest and the dearest cells that can be read off from ``keep``, as far as they are networks."""
        # If the rule reads off all operations, the cheapest cells are those after as much pruning as possible.
        least = self._cheapest(keep) if self.prunes and self._reads_all else keep
        cheap, dear = self._read(least, dear=False), self._read(keep, dear=True)
        yield from (cells for cells in (cheap, dear) if cells is not None)

    @cached_property
    def _reads_all(self) -> bool:
        """Whether the rule ignores scores, and so reads off all operations that are left."""
        offered = torch.tensor(self.sized.space.offered)
        chooses = bool((offered.sum(dim=1) > 1).any())
        return chooses and self._read(offered, dear=False) == self._read(offered, dear=True)

    def _read(self, keep: Tensor, *, dear: bool) -> Genotype | None:
        """The cells of the cheapest or of the dearest operations; None if they pass nothing on."""
        # Try until the cells pass something on. At first "none" loses against operations of equal cost, so that nodes
        # stay alive. For the cheapest cells, a single edge must then have another operation: the first edge, or the
        # second, and so on. At last all edges must.
        rows: list[int | None] = [] if dear else list(range(len(keep)))
        column = self.sized.space.column("none")
        for last, row in [(1e-9, None), *((1e-9, row) for row in rows), (2.0, None)]:
            scores = self._scores(keep, dear=dear, none=last)
            if row is not None and column is not None:
                scores[row, column] = 0.0
            cells = contract.read_off(self.rule, scores, keep, self.sized.space)
            if is_network(cells):
                return cells
        return None

    def _scores(self, keep: Tensor, *, dear: bool, none: float) -> Tensor:
        """Probabilities that order the operations by cost. All are so high that no rule drops one as unlikely."""
        costs = self.additive.ops.clone()
        top = float(costs[keep].max()) if bool(keep.any()) else 0.0
        share = costs / top if top else costs
        column = self.sized.space.column("none")
        if column is not None:
            share[:, column] = -none if dear else none
        place = (share if dear else -share).clamp(-2, 2)
        return (0.95 + 0.02 * place).masked_fill(~keep, 0.0)

    def _cheapest(self, keep: Tensor) -> Tensor:
        """One operation for each node, the cheapest one that is not ``none``, ``(edges, ops)``, bool."""
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
