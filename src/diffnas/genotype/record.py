"""What a genotype is: connections and cells, and the ways in which cells can be degenerate."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from diffnas.genotype import collapse
from diffnas.skeleton import skeleton_of
from diffnas.space import WEIGHTLESS_OPS

OP_NAME = r"[^\s|~+'\"\\]+"  # the names that all text forms can hold
NODE_LIMIT = 1000  # so that a text cannot ask for a range of a billion nodes
SHALLOWEST = 3  # layers of a ResNet-8, the shallowest chain that anybody trains
MIXES_TOKENS, MIXES_CHANNELS = ("attn_", "window_", "sepconv_", "dwconv_", "pool_"), ("mlp_", "glu_")
CONNECTION_LIMIT = 10_000  # some methods of a cell take time proportional to nodes times connections


class Connection(NamedTuple):
    """An operation between two nodes of a cell. ``none`` is never one: it means that there is no connection."""

    op: str
    source: int
    target: int


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One kind of cell: its nodes, and the operations on the connections between them.

    A node may have any number of connections, also several from one other node.

    Attributes:
        inputs: number of input nodes, ``0 .. inputs-1``.
        nodes: number of nodes, inputs included.
        connections: sorted by target; connections into one target keep the order of the text or file.
        output: the nodes whose values are concatenated into the cell's output.

    Raises:
        ValueError: for a connection or output node that the cell cannot have, for a name that no operation can have,
            or for too many nodes or connections; the message says which.

    >>> cell = Cell(inputs=1, nodes=4, connections=(Connection("sep_conv_3x3", 0, 1), Connection("noise", 2, 3)),
    ...             output=(1, 3))
    >>> cell.live, cell.joined
    (frozenset({1}), (1,))
    """

    inputs: int
    nodes: int
    connections: tuple[Connection, ...]
    output: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.inputs not in (1, 2):
            raise ValueError(f"a cell has 1 or 2 inputs, not {self.inputs}.")
        if not self.inputs < self.nodes <= NODE_LIMIT:
            raise ValueError(
                f"a cell of {self.inputs} inputs has {self.inputs + 1} to {NODE_LIMIT} nodes, not {self.nodes}."
            )
        if len(self.connections) > CONNECTION_LIMIT:
            raise ValueError(f"a cell has {CONNECTION_LIMIT} connections at most, not {len(self.connections)}.")
        for op, source, target in self.connections:
            if op == "none" or not re.fullmatch(OP_NAME, op):
                raise ValueError(
                    f"{op[:80]!r} cannot be an operation: leave out 'none', spaces, quotes, '|', '~' and '+'."
                )
            if not 0 <= source < target or not self.inputs <= target < self.nodes:
                raise ValueError(
                    f"{op[:80]} leads from node {source} into node {target}; it must lead from a lower node into "
                    f"one of the computed nodes {self.inputs} to {self.nodes - 1}."
                )
        targets = [connection.target for connection in self.connections]
        if targets != sorted(targets):
            raise ValueError(f"connections must be sorted by target, got the targets {str(targets)[:80]}.")
        computed = range(self.inputs, self.nodes)
        if not self.output or len(set(self.output)) < len(self.output) or not set(self.output) <= set(computed):
            raise ValueError(
                f"output must name distinct nodes of {computed[0]} to {computed[-1]}, got {str(self.output)[:80]}."
            )

    @cached_property
    def live(self) -> frozenset[int]:
        """The computed nodes that an input feeds, directly or through other nodes; the others are dead."""
        live: set[int] = set()
        for _, source, target in self.connections:  # sorted by target: whether a source is live is known by now
            if source < self.inputs or source in live:
                live.add(target)
        return frozenset(live)

    @cached_property
    def effective(self) -> tuple[Connection, ...]:
        """The connections that carry a value: those whose source is an input or a live node."""
        return tuple(c for c in self.connections if c.source < self.inputs or c.source in self.live)

    @cached_property
    def joined(self) -> tuple[int, ...]:
        """The live nodes in ``output``: those that are in fact concatenated."""
        return tuple(node for node in self.output if node in self.live)

    @cached_property
    def used(self) -> tuple[Connection, ...]:
        """The connections on a path from an input to the output."""
        read = set(self.joined)
        for connection in reversed(self.effective):
            if connection.target in read:
                read.add(connection.source)
        return tuple(c for c in self.effective if c.target in read)

    @property
    def depth(self) -> int:
        """The most operations on one path from an input to the output; 0 if there is no path."""
        return self._longest(lambda op: True)

    @property
    def learned_depth(self) -> int:
        """The most operations with weights on one path from an input to the output.

        >>> Cell(inputs=1, nodes=3, connections=(Connection("skip_connect", 0, 1), Connection("sep_conv_3x3", 1, 2)),
        ...      output=(2,)).learned_depth
        1
        """
        return self._longest(lambda op: op not in WEIGHTLESS_OPS)

    def count(self, op: str) -> int:
        """How many connections are ``op``."""
        return sum(connection.op == op for connection in self.connections)

    def incoming(self, target: int) -> tuple[Connection, ...]:
        """All connections into one node, also those without effect."""
        return tuple(connection for connection in self.connections if connection.target == target)

    def _longest(self, counts: Callable[[str], bool]) -> int:
        depth = dict.fromkeys(range(self.nodes), 0)
        for op, source, target in self.used:
            depth[target] = max(depth[target], depth[source] + counts(op))
        return max((depth[node] for node in self.joined), default=0)

    def _problems(self) -> Iterator[str]:
        for node in sorted(set(range(self.inputs, self.nodes)) - self.live):
            reads = sorted({connection.source for connection in self.incoming(node)})
            why = f"it reads only dead nodes ({', '.join(map(str, reads))})" if reads else "nothing feeds it"
            yield f"node {node} is dead: {why}"
        for op, source, target in self.connections:
            if target in self.live and source >= self.inputs and source not in self.live:
                yield f"{op} from node {source} to node {target} has no effect: node {source} is dead"
        if not self.joined:
            yield "no path leads from an input to the output"
            return
        reached = {node for c in self.used for node in (c.source, c.target)}
        for node in sorted(self.live - reached):
            yield f"node {node} is never read: no path leads from it to the output"


@dataclass(frozen=True, kw_only=True)
class Genotype:
    """What a search found: the cell of each kind, and the skeleton for which the cells are made.

    If each cell was searched by itself, the cells are called ``cell0``, ``cell1``, ... by their places in the net.
    Such a net has only one possible depth.

    Raises:
        ValueError: if the kinds of cell are not those of the skeleton, or a cell does not fit it.
    """

    skeleton: str
    cells: Mapping[str, Cell]

    def __post_init__(self) -> None:
        skeleton = skeleton_of(self.skeleton)
        skeleton.own_depth(list(self.cells))
        for cell in self.cells.values():
            skeleton.check_cell(cell.inputs, cell.nodes, cell.output)

    @property
    def depth(self) -> int | None:
        """The number of cells in its network if each cell has its own place; None if cells of a kind are repeated."""
        return skeleton_of(self.skeleton).own_depth(list(self.cells))

    @property
    def normal_cells(self) -> dict[str, Cell]:
        """The cells that keep the resolution, by name."""
        return {name: self.cells[name] for name in skeleton_of(self.skeleton).normal_cells(list(self.cells))}

    def built(self, kind: str) -> tuple[tuple[Connection, ...], tuple[int, ...]]:
        """The connections of a cell in the network, and the nodes that the cell's output joins there."""
        cell = self.cells[kind]
        drops = skeleton_of(self.skeleton).drops_dead_nodes
        return (cell.effective, cell.joined) if drops else (cell.connections, cell.output)

    def problems(self) -> tuple[str, ...]:
        """A sentence about each way in which the cells are degenerate; empty for sound cells.

        A kind of cell with only skips is degenerate. Among published cells, reduction cells with only pools, or with
        pools and skips, are common and count as sound; such a normal cell does not. If each cell was searched by
        itself, cells without weights count as sound, unless no normal cell has any.

        >>> dead = Cell(inputs=1, nodes=2, connections=(), output=(1,))
        >>> Genotype(skeleton="nas-bench-201", cells={"normal": dead}).problems()
        ('normal cell: node 1 is dead: nothing feeds it.', 'normal cell: no path leads from an input to the output.')
        """
        skeleton = skeleton_of(self.skeleton)
        if skeleton.tokens:
            return tuple(self._unmixed())
        if skeleton.residual:
            return tuple(self._shallow())
        found = [f"{kind} cell: {problem}." for kind, cell in self.cells.items() for problem in cell._problems()]
        if self.depth is None:
            return (*found, *self._idle_kinds())
        idle = all(collapse.cannot_learn([each.op for each in cell.used]) for cell in self.normal_cells.values())
        return (*found, "no cell that keeps the resolution can learn.") if idle and self.cells else tuple(found)

    def _shallow(self) -> Iterator[str]:
        """What is wrong with a chain in which absent cells are no gaps."""
        learning = sum(any(op not in WEIGHTLESS_OPS for op, _, _ in cell.used) for cell in self.cells.values())
        if not learning:
            yield "nothing is left between stem and head: no layer has an operation."
        elif learning < SHALLOWEST:
            layers = f"{learning} layer{'s' * (learning > 1)}"
            yield f"{layers} of {len(self.cells)} can learn: it is shallower than a ResNet-8, which has {SHALLOWEST}."

    def _unmixed(self) -> Iterator[str]:
        """What is wrong with a transformer in which absent branches are no gaps. A user's operation may mix all."""
        ops = {op for cell in self.cells.values() for op, _, _ in cell.used if op != collapse.SKIP}
        if not ops:
            yield "nothing is left but the stem: no layer has a branch."
        elif all(op.startswith(MIXES_CHANNELS) for op in ops):
            yield "no layer mixes tokens: each patch of a picture, or step of a sequence, is read by itself."
        elif all(op.startswith(MIXES_TOKENS) for op in ops):
            yield "no layer mixes channels: there is no MLP."

    def _idle_kinds(self) -> Iterator[str]:
        """A sentence about each kind of cell that cannot learn; cells of a kind are repeated through the network."""
        for kind, cell in self.cells.items():
            ops = {connection.op for connection in cell.used}
            if collapse.only_skips(ops):
                yield f"{kind} cell: only skip connections lead to the output."
            elif kind == "normal" and ops and collapse.cannot_learn(ops):
                yield f"normal cell: nothing in it can learn, it has only {', '.join(sorted(ops))}."
