"""The steps of a mixed cell that is computed as a whole by :mod:`diffnas.backends.cpu.cell_function`.

A *slot* is a tensor inside the cell that mixes read: the value of a node, then the results of pools and of chains of
convolutions, and the tensors that make up input nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from diffnas.backends.cpu.conv_group import ChainGroup, Chains
from diffnas.backends.cpu.pools import kinds_of
from diffnas.backends.schedule import Chain, Place, Pool, Schedule, by_key
from diffnas.nets.links import ChainKey, Link, chain_key
from diffnas.nets.wiring import Wiring


@dataclass(frozen=True, kw_only=True)
class PoolGroup:
    """Pools of one node and stride.

    Attributes:
        kinds: what the kernels call them.
        stride: 1 or 2.
        slots: of their results.
        targets: where each leads.
    """

    kinds: Any
    stride: int
    slots: list[int]
    targets: list[list[int]]


@dataclass(kw_only=True)
class Node:
    """What leads into a node, and what is computed from it.

    Attributes:
        slots: what is mixed into it.
        places: with which weights.
        normed: which of these go through a batch norm first.
        chains: its convolutions.
        pools: its pools.
        skips: the nodes that it is itself mixed into.
    """

    slots: list[int] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    normed: list[bool] = field(default_factory=list)
    chains: list[ChainGroup] = field(default_factory=list)
    pools: list[PoolGroup] = field(default_factory=list)
    skips: set[int] = field(default_factory=set)

    def feed(self, slot: int, place: Place, normed: bool) -> None:
        """Mix a slot into the node."""
        self.slots.append(slot)
        self.places.append(place)
        self.normed.append(normed)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The steps of a cell for inputs of certain sizes.

    Attributes:
        prepare: how input nodes are made; None takes the input. The target is the node.
        nodes: all nodes.
        fed: which of them have a value.
        sizes: of every slot, channels, rows and columns; None for a node that nothing feeds.
        channels: of every node.
        weights: of all convolutions.
        norms: the batch norms whose running averages follow a slot, with the bias of the convolution before each.
        programs: what was made of it, by size of batch and number of operations on an edge.
    """

    prepare: list[ChainGroup | None]
    nodes: list[Node]
    fed: list[bool]
    sizes: list[tuple[int, ...] | None]
    channels: int
    weights: list[Tensor]
    norms: list[tuple[nn.BatchNorm2d, int, Tensor | None]]
    programs: dict[Any, Any] = field(default_factory=dict)

    @property
    def is_even(self) -> bool:
        """Whether all nodes that have a value have the same channels, as programs take it for granted."""
        nodes = self.sizes[: len(self.nodes)]
        return all(size is None or size[0] == self.channels for size in nodes)

    def size(self, slot: int) -> tuple[int, ...]:
        """Channels, rows and columns of a slot that is fed."""
        size = self.sizes[slot]
        assert size is not None
        return size


class _Planner:
    """Builds a plan, node by node."""

    def __init__(self, graph: Wiring, sizes: Sequence[tuple[int, ...]]) -> None:
        self.nodes = [Node() for _ in range(graph.nodes)]
        self.sizes: list[tuple[int, ...] | None] = [*sizes, *[None] * (graph.nodes - len(sizes))]
        self.prepare: list[ChainGroup | None] = []
        self.weights: list[Tensor] = []
        self.norms: list[tuple[nn.BatchNorm2d, int, Tensor | None]] = []

    def slot(self, size: tuple[int, ...]) -> int:
        self.sizes.append(size)
        return len(self.sizes) - 1

    def group(self, chains: Sequence[tuple[Link, ...]], targets: list[int], common: ChainKey) -> ChainGroup:
        """Chains that are computed together."""
        first = len(self.weights)
        self.weights += [weight for chain in chains for link in chain for weight in link.weights]
        links = [link for chain in chains for link in chain[:-1]]
        inner, slots = [self.slot(common.inner) for _ in links], [self.slot(common.result) for _ in chains]
        links += [chain[-1] for chain in chains]
        self.norms += [(link.norm, slot, link.bias) for link, slot in zip(links, [*inner, *slots], strict=True)]
        made = Chains([tuple(link.pattern for link in chain) for chain in chains])
        weights = slice(first, len(self.weights))
        return ChainGroup(chains=made, slots=slots, inner=inner, targets=targets, weights=weights)

    def input(self, node: int, links: tuple[Link, ...] | None, size: tuple[int, ...]) -> None:
        if links is None:
            self.prepare.append(None)
            return
        common = chain_key(links, size)
        self.sizes[node] = common.result
        self.prepare.append(self.group([links], [node], common))

    def value(self, node: int) -> None:
        """Settle the size of a node from what leads into it."""
        sizes = [self.sizes[slot] for slot in self.nodes[node].slots]
        if any(size != sizes[0] for size in sizes):
            raise ValueError(f"what is added up must have one shape and dtype, got maps of {sizes}.")
        self.sizes[node] = sizes[0] if sizes else None

    def pool(self, node: int, kinds: Sequence[Pool]) -> None:
        size = self.sizes[node]
        assert size is not None
        modules, pools = [], []
        for kind in kinds:
            if kind.module is None:
                for target, place in kind.places.items():
                    self.nodes[target].feed(node, place, False)
                    self.nodes[node].skips.add(target)
            else:
                modules.append(kind.module)
                pools.append(kind)
        if not pools:
            return
        stride: Any = modules[0].stride
        result = size[0], (size[1] - 1) // stride + 1, (size[2] - 1) // stride + 1
        slots = [self.slot(result) for _ in pools]
        targets = [list(pool.places) for pool in pools]
        group = PoolGroup(kinds=kinds_of(modules), stride=stride, slots=slots, targets=targets)
        self.nodes[node].pools.append(group)
        for slot, pool in zip(slots, pools, strict=True):
            for target, place in pool.places.items():
                self.nodes[target].feed(slot, place, bool(pool.norms))
            self.norms += [(norm, slot, None) for norm in pool.norms]

    def convolve(self, node: int, chains: Sequence[Chain]) -> None:
        size = self.sizes[node]
        assert size is not None
        for common, places in by_key([chain.links for chain in chains], size).items():
            group = [chains[place] for place in places]
            made = self.group([chain.links for chain in group], [chain.target for chain in group], common)
            self.nodes[node].chains.append(made)
            for slot, chain in zip(made.slots, group, strict=True):
                self.nodes[chain.target].feed(slot, chain.place, True)


def plan(
    graph: Wiring,
    sizes: Sequence[tuple[int, ...]],
    scheduled: Schedule,
) -> Plan:
    """The steps of a cell.

    Args:
        graph: the cell's graph.
        sizes: channels, rows and columns of the cell's inputs.
        scheduled: its operations, all of known make. An input without links is taken as it is.

    Raises:
        ValueError: if operations that lead into one node have results of several shapes.
    """
    planner = _Planner(graph, sizes)
    for node, (_, links) in enumerate(scheduled.prepare):
        planner.input(node, links, sizes[node])
    for node in range(graph.nodes):
        if node >= graph.inputs:
            planner.value(node)
        if planner.sizes[node] is not None:
            for kinds in scheduled.pools.get(node, ()):
                planner.pool(node, kinds)
            planner.convolve(node, scheduled.chains.get(node, ()))
    size = planner.sizes[0]
    assert size is not None
    return Plan(
        prepare=planner.prepare,
        nodes=planner.nodes,
        fed=[size is not None for size in planner.sizes[: graph.nodes]],
        sizes=planner.sizes,
        channels=size[0],
        weights=planner.weights,
        norms=planner.norms,
    )
