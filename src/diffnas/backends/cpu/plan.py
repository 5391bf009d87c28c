"""The steps of a cell that :mod:`diffnas.backends.cpu.cell_function` computes.

A *slot* is a tensor inside the cell that mixes read: the value of a node, the result of a pool, of a chain of
convolutions or of an operation that has no kernel, and the tensors that make up input nodes. PyTorch computes the
operations that have no kernel, between *ranges* of nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from torch import Tensor, nn

from diffnas.backends.cpu.conv_group import ChainGroup, Chains
from diffnas.backends.cpu.kernels.pool import AVERAGE, MAX
from diffnas.backends.schedule import Chain, Place, Pool, Schedule, by_key, is_fixed
from diffnas.nets.cell import Cell
from diffnas.nets.links import ChainKey, Link, chain_key


@dataclass(frozen=True, kw_only=True)
class PoolGroup:
    """Pools of one node and stride.

    Attributes:
        kinds: what the kernels call them.
        stride: 1 or 2.
        slots: the slots of their results.
        targets: the target nodes of each pool.
    """

    kinds: Any
    stride: int
    slots: list[int]
    targets: list[list[int]]


@dataclass(kw_only=True)
class Node:
    """What leads into a node, and what is computed from it.

    Attributes:
        slots: the slots that are mixed into it.
        places: the places of their mixing weights.
        normed: for each slot, whether it goes through a batch norm first.
        chains: its convolutions.
        pools: its pools.
        skips: the nodes into which it is itself mixed.
    """

    slots: list[int] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    normed: list[bool] = field(default_factory=list)
    chains: list[ChainGroup] = field(default_factory=list)
    pools: list[PoolGroup] = field(default_factory=list)
    skips: set[int] = field(default_factory=set)

    def feed(self, slot: int, place: Place, normed: bool) -> None:
        """Mix a slot into the node, through a batch norm if ``normed``; ``place`` is that of its mixing weight."""
        self.slots.append(slot)
        self.places.append(place)
        self.normed.append(normed)


@dataclass(frozen=True, kw_only=True)
class Norms:
    """Batch norms of one width and momentum, whose running averages follow slots.

    Attributes:
        norms: the batch norms, which have running averages and a momentum.
        channels: how many each has.
        slots: the slot that each follows.
        pixels: of one picture of each slot, ``(norms,)``.
        biases: the bias of the convolution before a batch norm, by the batch norm's place.
    """

    norms: list[Any]
    channels: int
    slots: list[int]
    pixels: Any
    biases: dict[int, Tensor]


@dataclass(frozen=True, kw_only=True)
class Bypass:
    """The channels of a node that bypass the operations which read it.

    The node's own slot has the channels that these operations read. As a target, it is the sum of operations.

    Attributes:
        whole: the slot with all channels.
        slot: the slot of the channels that bypass; as a target, it is their sum.
        stride: 2 if these channels go through max pooling, else 1.
        sum: the terms of their sum, and the targets of this slot.
    """

    whole: int
    slot: int
    stride: int
    sum: Node


@dataclass(frozen=True, kw_only=True)
class Other:
    """An operation that has no kernel.

    Attributes:
        name: its name in the space.
        op: the operation.
        source: the node that it reads.
        slot: the slot of its result.
    """

    name: str
    op: nn.Module
    source: int
    slot: int


@dataclass(kw_only=True)
class Range:
    """Nodes that are computed without PyTorch between them, up to the first node of the next range.

    Attributes:
        first: the first node.
        weights: the place of their weights among those of the cell.
        others: the operations that PyTorch computes before this range.
        read: the nodes that PyTorch reads after this range.
    """

    first: int
    weights: slice
    others: list[Other] = field(default_factory=list)
    read: list[int] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The steps of a cell for inputs of certain sizes.

    Attributes:
        prepare: how input nodes are made; None takes the input. The target is the whole node.
        nodes: all nodes.
        bypass: the channels of each node that bypass the operations; None if all go through them.
        one_in: ``1 / one_in`` of the channels go through the operations.
        ranges: the ranges of nodes, in their order.
        sizes: channels, rows and columns of every slot; None for a node that nothing feeds.
        weights: the weights of all convolutions.
        norms: the batch norms whose running averages follow a slot.
        gains: by slot, the place of its batch norm's weight among the weights; the bias has the next place.
        drops: whether the results of edges have shares, which are 0 where drop-path drops them.
        programs: the programs of this plan, by size of batch and number of mixing weights of an edge.
    """

    prepare: list[ChainGroup | None]
    nodes: list[Node]
    bypass: list[Bypass | None]
    one_in: int
    ranges: list[Range]
    sizes: list[tuple[int, ...] | None]
    weights: list[Tensor]
    norms: list[Norms]
    gains: dict[int, int]
    drops: bool
    programs: dict[Any, Any] = field(default_factory=dict)

    def fed(self, node: int) -> bool:
        """Whether a node has a value."""
        return self.sizes[node] is not None

    def whole(self, node: int) -> int:
        """The slot of all channels of a node."""
        bypass = self.bypass[node]
        return node if bypass is None else bypass.whole

    def is_given(self, node: int) -> bool:
        """Whether the node is an input of the cell that operations read as it is."""
        return _is_given(node, self.prepare, self.bypass)

    def size(self, slot: int) -> tuple[int, ...]:
        """Channels, rows and columns of what is in a slot, which must have a value."""
        size = self.sizes[slot]
        assert size is not None
        return size


def _kinds_of(modules: Sequence[nn.Module]) -> Any:
    """What the kernels call these pools."""
    return np.array([MAX if isinstance(module, nn.MaxPool2d) else AVERAGE for module in modules])


def _is_given(node: int, prepare: Sequence[ChainGroup | None], bypass: Sequence[Bypass | None]) -> bool:
    return node < len(prepare) and prepare[node] is None and bypass[node] is None


class _Planner:
    """Builds a plan, node by node."""

    def __init__(self, cell: Cell, sizes: Sequence[tuple[int, ...]]) -> None:
        self.cell, graph = cell, cell.graph
        self.nodes = [Node() for _ in range(graph.nodes)]
        self.sizes: list[tuple[int, ...] | None] = [*sizes, *[None] * (graph.nodes - len(sizes))]
        self.prepare: list[ChainGroup | None] = []
        self.bypass: list[Bypass | None] = [None] * graph.nodes
        self.ranges = [Range(first=0, weights=slice(0, 0))]
        self.weights: list[Tensor] = []
        self.norms: list[tuple[nn.BatchNorm2d, int, Tensor | None]] = []
        self.gains: dict[int, int] = {}

    def slot(self, size: tuple[int, ...]) -> int:
        self.sizes.append(size)
        return len(self.sizes) - 1

    def size(self, slot: int) -> tuple[int, ...]:
        size = self.sizes[slot]
        assert size is not None
        return size

    def group(self, chains: Sequence[tuple[Link, ...]], targets: list[int], common: ChainKey) -> ChainGroup:
        """Chains that are computed together."""
        first = len(self.weights)
        self.weights += [weight for links in chains for link in links for weight in link.weights]
        weights = slice(first, len(self.weights))
        made = Chains([tuple(each.pattern for each in links) for links in chains])
        inner = [[self.slot(size) for _ in own] for size, own in zip(common.sizes, made.members[1:], strict=False)]
        slots = [self.slot(common.result) for _ in chains]
        for place, (own, results) in enumerate(zip(made.members[1:], inner, strict=True)):
            for n, slot in zip(own, results, strict=True):
                self.norm(chains[n][place], slot)
        for links, slot in zip(chains, slots, strict=True):
            self.norm(links[-1], slot)
        return ChainGroup(chains=made, slots=slots, inner=inner, targets=targets, weights=weights)

    def norm(self, link: Link, slot: int) -> None:
        """Add the batch norm of a link whose result is in this slot, if it has one."""
        if link.after is None:
            return
        self.norms.append((link.norm, slot, link.bias))
        if link.norm.affine:
            self.gains[slot] = len(self.weights)
            self.weights += [link.norm.weight, link.norm.bias]

    def alike(self) -> list[Norms]:
        """The batch norms, those of one width and momentum together."""
        rows: dict[Any, list[tuple[nn.BatchNorm2d, int, Tensor | None]]] = {}
        for row in self.norms:
            rows.setdefault((row[0].momentum, row[0].num_features), []).append(row)
        return [
            Norms(
                norms=[norm for norm, _, _ in group],
                channels=channels,
                slots=[slot for _, slot, _ in group],
                pixels=np.array([prod(self.size(slot)[1:]) for _, slot, _ in group]),
                biases={place: bias for place, (_, _, bias) in enumerate(group) if bias is not None},
            )
            for (_, channels), group in rows.items()
        ]

    def input(self, node: int, links: tuple[Link, ...] | None) -> None:
        """Add an input node and set its size, in place of which ``sizes`` has had the size of the cell's input."""
        common = None if links is None else chain_key(links, self.size(node))
        size = self.size(node) if common is None else common.result
        self.sizes[node], target = size, node
        if self.cell.partial is not None:
            target = self.split(node, size, 2 if self.cell.partial.halves else 1).whole
        self.prepare.append(None if links is None or common is None else self.group([links], [target], common))

    def split(self, node: int, size: tuple[int, ...], stride: int) -> Bypass:
        """Split a node of this size into the channels that operations read and those that bypass them."""
        assert self.cell.partial is not None
        C, H, W = size
        read, rows, columns = C // self.cell.partial.one_in, (H - 1) // stride + 1, (W - 1) // stride + 1
        rest = self.slot((C - read, rows, columns))
        self.sizes[node] = read, H, W
        found = self.bypass[node] = Bypass(whole=self.slot(size), slot=rest, stride=stride, sum=Node())
        return found

    def value(self, node: int, others: Sequence[tuple[int, Place, nn.Module]]) -> None:
        """Add the operations without a kernel that lead into a node, and set the node's size from all its terms."""
        fed = [each for each in others if self.sizes[each[0]] is not None]
        if any(self.is_made_now(source) for source, _, _ in fed):
            self.ranges.append(Range(first=node, weights=slice(len(self.weights), len(self.weights))))
        for source, place, op in fed:
            self.other(source, node, place, op)
        sizes = [self.size(slot) for slot in self.nodes[node].slots]
        if self.cell.partial is not None:
            sizes.append(self.bypassed(node))
        if any(size != sizes[0] for size in sizes):
            raise ValueError(f"what is added up must have one shape and dtype, got maps of {sizes}.")
        self.sizes[node] = sizes[0] if sizes else self.zeros()

    def zeros(self) -> tuple[int, ...] | None:
        """The size of the zeros of a node that nothing feeds; None if such a node has no value."""
        if not self.cell.fills:
            return None
        _, H, W = self.size(0)
        return self.cell.out, (H - 1) // self.cell.stride + 1, (W - 1) // self.cell.stride + 1

    def is_made_now(self, node: int) -> bool:
        """Whether the last range computes a node."""
        return node >= self.ranges[-1].first and not _is_given(node, self.prepare, self.bypass)

    def other(self, source: int, target: int, place: Place, op: nn.Module) -> None:
        """Add an operation that has no kernel, between two nodes."""
        stride, (_, H, W) = self.cell.stride if source < self.cell.graph.inputs else 1, self.size(source)
        out = self.cell.out // (1 if self.cell.partial is None else self.cell.partial.one_in)
        slot = self.slot((out, (H - 1) // stride + 1, (W - 1) // stride + 1))
        self.ranges[-1].others.append(Other(name=self.cell.ops[place[1]], op=op, source=source, slot=slot))
        self.nodes[target].feed(slot, place, False)
        if not _is_given(source, self.prepare, self.bypass):
            read = next(each for each in reversed(self.ranges) if each.first <= source).read
            if source not in read:
                read.append(source)

    def bypassed(self, node: int) -> tuple[int, ...]:
        """Sum up the channels that bypass the operations into a node; the size that the operations must give."""
        edges, partial = self.cell.graph.edges, self.cell.partial
        terms = [(row, self.bypass[edges[row].source]) for row in self.cell.graph.incoming(node)]
        fed = [(row, source) for row, source in terms if source is not None]
        assert partial is not None
        C, H, W = self.size(fed[0][1].slot)
        own = self.split(node, (C + C // (partial.one_in - 1), H, W), 1)
        for row, source in fed:
            own.sum.feed(source.slot, (row, -1), False)
            source.sum.skips.add(own.slot)
        return self.size(node)

    def pool(self, node: int, kinds: Sequence[Pool]) -> None:
        size, modules, pools = self.size(node), [], []
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
        group = PoolGroup(kinds=_kinds_of(modules), stride=stride, slots=slots, targets=targets)
        self.nodes[node].pools.append(group)
        for slot, pool in zip(slots, pools, strict=True):
            for target, place in pool.places.items():
                self.nodes[target].feed(slot, place, bool(pool.norms))
            self.norms += [(norm, slot, None) for norm in pool.norms]

    def convolve(self, node: int, chains: Sequence[Chain]) -> None:
        size = self.size(node)
        for common, places in by_key([chain.links for chain in chains], size).items():
            group = [chains[place] for place in places]
            made = self.group([chain.links for chain in group], [chain.target for chain in group], common)
            self.nodes[node].chains.append(made)
            for slot, chain in zip(made.slots, group, strict=True):
                self.nodes[chain.target].feed(slot, chain.place, True)


def plan(cell: Cell, sizes: Sequence[tuple[int, ...]], scheduled: Schedule) -> Plan:
    """The steps of a cell.

    Args:
        cell: the cell.
        sizes: channels, rows and columns of its inputs. If PyTorch prepares an input, because no kernel
            can, this is its size after that.
        scheduled: its operations.

    Raises:
        ValueError: if operations that lead into one node have results of several shapes.
    """
    planner, graph = _Planner(cell, sizes), cell.graph
    for node, (_, links) in enumerate(scheduled.prepare):
        planner.input(node, links)
    for node in range(graph.nodes):
        if node >= graph.inputs:
            planner.value(node, scheduled.others.get(node, ()))
        if planner.sizes[node] is not None:
            for kinds in scheduled.pools.get(node, ()):
                planner.pool(node, kinds)
            planner.convolve(node, scheduled.chains.get(node, ()))
        own = planner.ranges[-1]
        own.weights = slice(own.weights.start, len(planner.weights))
    return Plan(
        prepare=planner.prepare,
        nodes=planner.nodes,
        bypass=planner.bypass,
        one_in=1 if cell.partial is None else cell.partial.one_in,
        ranges=planner.ranges,
        sizes=planner.sizes,
        weights=planner.weights,
        norms=planner.alike(),
        gains=planner.gains,
        drops=is_fixed(cell),
    )
