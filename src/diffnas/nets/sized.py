"""A space at the size of its deployed networks, and their costs, which are counted: nothing is trained.

A cost is additive if it is a sum: the cost of the parts that all networks of the space share (``Additive.base``), and
the cost of each operation. Multiply-adds and parameters are exactly additive if all nodes of a cell are fed. A node
that nothing feeds narrows the cell's output, so ``SizedSpace.cost`` counts the real network of a genotype.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.utils.flop_counter import FlopCounterMode

from diffnas.genotype import Genotype
from diffnas.nets import ops
from diffnas.nets.costs import Counted, around, by_operation, of_op
from diffnas.nets.frames import Reading, Sizes
from diffnas.nets.network import Network, parameters_of
from diffnas.nets.ops import count_macs
from diffnas.nets.sites import Seen, Site, Spot, chosen, offered, sites, unseen
from diffnas.nets.sizes import size_of, sizes_of_space, widths_of
from diffnas.nets.slot import OpFactory
from diffnas.skeleton import Skeleton, StemKind, skeleton_of
from diffnas.space import SearchSpace

Count = Literal["macs", "params", "written"]


class Size(NamedTuple):
    """The size of a network: channels of its first cells, number of cells, and stem."""

    channels: int
    depth: int
    stem: StemKind = "cifar"

    def __str__(self) -> str:
        return f"{self.channels} channels and {self.depth} cells" + ("" if self.stem == "cifar" else f" ({self.stem})")


@dataclass(frozen=True, kw_only=True)
class Additive:
    """A cost that is a sum.

    Attributes:
        base: the cost of the parts that all networks share, with any operations.
        ops: the cost that each operation adds, summed over all cells of its kind, ``(edges, ops)``, float64. It is 0
            where an edge does not offer the operation.
    """

    base: float
    ops: Tensor

    def of(self, space: SearchSpace, genotype: Genotype) -> float:
        """The sum for the cells of a genotype, as if all nodes were fed."""
        places = {(kind, *edge): row for row, (kind, edge) in enumerate(space.edges)}
        chosen = [
            self.ops[places[kind, source, target], space.ops.index(op)]
            for kind, cell in genotype.cells.items()
            for op, source, target in cell.connections
        ]
        return self.base + float(sum(chosen))


@dataclass(frozen=True, kw_only=True)
class SizedSpace:
    """A space at the size of its deployed networks.

    Attributes:
        space: the space.
        picture: channels, height and width of a picture; or the steps of a sequence that are read at once, ``(steps,)``
            for tokens or ``(steps, features)`` for vectors. One step is read at once by nets with a state.
        classes: number of logits.
        size: the size of the networks.
        sequences: how networks read sequences, as for ``Network``.
    """

    space: SearchSpace
    picture: tuple[int, ...]
    classes: int
    size: Size
    sequences: Reading = field(default_factory=lambda: Reading())

    _around: dict[tuple[int, ...], tuple[Counted, list[Seen]]] = field(
        init=False, default_factory=dict, compare=False, repr=False
    )

    @property
    def skeleton(self) -> Skeleton:
        """The skeleton of the networks."""
        return skeleton_of(self.space.skeleton)

    @property
    def step(self) -> int:
        """The number that must divide the channels, so that all operations of the space can have them."""
        return self.skeleton.width_step(self.space.ops)

    def additive(self, count: Count) -> Additive:
        """A cost of each operation, and of all other parts of a network whose nodes are all fed.

        >>> from diffnas.space import s2
        >>> small = SizedSpace(space=s2, picture=(3, 8, 8), classes=10, size=Size(4, 3))
        >>> macs = small.additive("macs")
        >>> macs.base, macs.ops[0].tolist()
        (54144.0, [0.0, 6656.0])
        """
        around = float(getattr(self._counted_around(self._widths)[0], count))
        return self.summed(lambda site: float(getattr(self._counted(site), count)), base=around)

    def summed(self, cost: Callable[[Site], float], *, base: float = 0.0) -> Additive:
        """The additive cost whose operations cost ``cost(site)`` each, summed over all cells of a kind."""
        summed = by_operation(self.space, self._sites(), cost)
        return Additive(base=base, ops=torch.tensor(summed, dtype=torch.float64))

    def spots(self) -> list[Spot]:
        """The spots of the operations in the networks of the space, each different spot once."""
        return list(dict.fromkeys(site.spot for site in self._sites()))

    def _sites(self) -> list[Site]:
        return sites(self._sizes(self._widths), offered(self.space), self.picture)

    def cost(self, genotype: Genotype, count: Count) -> int:
        """The cost of a genotype's network without an auxiliary head.

        Raises:
            ValueError: if the cells pass nothing on.
        """
        widths = widths_of(genotype)
        if count == "params" and self.skeleton.gated:
            return self._shared_params(genotype)
        total, cells = self._counted_around(widths)
        listed = chosen(genotype)
        for cell in cells:
            for site in cell.sites(listed[cell.place.kind], affine=True):
                total += self._counted(site)
        return int(getattr(total, count))

    def _shared_params(self, genotype: Genotype) -> int:
        """The parameters of a network whose operations share some."""
        with unseen(own=bool(self.space.factories)):
            return parameters_of(self.network(genotype))

    def network(self, genotype: Genotype) -> Network:
        """The network of a genotype, in evaluation mode."""
        channels, depth, stem = self.size
        return Network(
            genotype,
            classes=self.classes,
            in_channels=self._inputs,
            channels=channels,
            depth=depth,
            stem=stem,
            picture=size_of(self.picture),
            **self.space.own,
            **self.sequences,
        ).eval()

    def uncountable(self) -> str | None:
        """Why the multiply-adds of one of the user's own operations cannot be counted; None if all can."""
        own = {(spot.op, spot.slot.stride): spot for spot in self.spots() if spot.op in self.space.factories}
        said = (_hidden(spot, self.space.factories) for spot in own.values())
        return next((each for each in said if each), None)

    @property
    def _inputs(self) -> int:
        """Channels of the pictures, features of the vectors, or the size of the vocabulary."""
        if self.sequences.get("tokens"):
            return self.classes
        return self.picture[0 if len(self.picture) == 3 else -1]

    @property
    def _widths(self) -> dict[str, int]:
        """How many nodes the output of each kind of cell joins if all nodes are fed."""
        return {kind: len(graph.output) for kind, graph in self.space.cells.items()}

    def _sizes(self, widths: Mapping[str, int]) -> Sizes:
        channels, depth, stem = self.size
        whole = sizes_of_space(
            self.space,
            self.classes,
            self._inputs,
            channels=channels,
            depth=depth,
            stem=stem,
            picture=size_of(self.picture),
            **self.sequences,
        )
        joined = {kind: self.skeleton.widths(nodes) for kind, nodes in widths.items()}
        return replace(whole, joined=joined, affine=True)

    def _counted(self, site: Site) -> Counted:
        found = of_op(*site.spot, self.space.factories.get(site.spot.op))
        return found._replace(params=0) if site.again else found

    def _counted_around(self, widths: Mapping[str, int]) -> tuple[Counted, list[Seen]]:
        """The cost of all but the operations (stem, inputs of cells, fixed blocks, head), and the runs of cells."""
        key = tuple(widths.values())
        if key not in self._around:
            self._around[key] = around(self._sizes(widths), self.picture)
        return self._around[key]


def is_network(genotype: Genotype) -> bool:
    """Whether a network can be built from the cells, which must pass something on."""
    return all(genotype.built(kind)[1] for kind in genotype.cells)


def _hidden(spot: Spot, factories: Mapping[str, OpFactory]) -> str | None:
    """Why the multiply-adds of a user's own operation cannot be counted; None if they can."""
    op, slot, size = spot
    shape = (slot.width, *size)
    with unseen(own=True):
        module = ops.build(op, slot, factories=factories).eval()
        with FlopCounterMode(display=False) as flops:
            found = module(torch.zeros(1, *shape, requires_grad=True))
        if _strange(found):
            return f"operation {op!r} computes in an autograd function of its own"
        if flops.get_total_flops() > 2 * count_macs(module, shape):
            return f"operation {op!r} multiplies outside of Conv2d and Linear layers"
    return None


def _forward_of(node: Any) -> type:
    function: type = node._forward_cls
    return function


def _strange(found: Tensor) -> bool:
    """Whether a tensor was made by an autograd function that is neither PyTorch's nor ours."""
    waiting, seen = [found.grad_fn], set[Any]()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        # Each autograd function has its own class of nodes, which refers to the function.
        if isinstance(node, BackwardCFunction) and not _forward_of(node).__module__.startswith("diffnas."):
            return True
        waiting += [each for each, _ in node.next_functions]
    return False
