"""The graph of one kind of cell, and the operations that its edges offer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple


class Edge(NamedTuple):
    """A directed edge of a cell: from node ``source`` into node ``target``."""

    source: int
    target: int


@dataclass(frozen=True, kw_only=True)
class CellGraph:
    """The graph of one kind of cell, and the operations that each edge offers.

    Attributes:
        inputs: how many input nodes the cell has; they are nodes ``0 .. inputs-1``.
        edges: the edges, sorted by target and then by source, which is the order of alpha's rows.
        ops: the operations that each edge offers, one tuple for each edge.
        output: the nodes whose values are joined into the cell's output.

    Raises:
        ValueError: if edges, operations, inputs or output do not make a cell; the error says which.
    """

    inputs: int
    edges: tuple[Edge, ...]
    ops: tuple[tuple[str, ...], ...]
    output: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.inputs not in (1, 2):
            raise ValueError(f"a cell has 1 or 2 inputs (the outputs of the cells before it), not {self.inputs}.")
        if len(self.ops) != len(self.edges):
            raise ValueError(f"{len(self.edges)} edges need {len(self.edges)} tuples of ops, not {len(self.ops)}.")
        if list(self.edges) != sorted(set(self.edges), key=lambda edge: (edge.target, edge.source)):
            raise ValueError("edges must be distinct and sorted by target, then by source.")
        for edge, ops in zip(self.edges, self.ops, strict=True):
            if not 0 <= edge.source < edge.target or edge.target < self.inputs:
                raise ValueError(f"edge {edge.source}->{edge.target} must lead from a lower node to a computed one.")
            if not ops or len(set(ops)) != len(ops):
                raise ValueError(f"edge {edge.source}->{edge.target} needs distinct operations, got {ops}.")
        missing = set(range(self.inputs, self.nodes)) - {edge.target for edge in self.edges}
        if missing:
            raise ValueError(f"no edge leads into node {min(missing)}.")
        if not self.output or not set(self.output) <= set(range(self.inputs, self.nodes)):
            raise ValueError(f"output must name computed nodes ({self.inputs} to {self.nodes - 1}), got {self.output}.")

    @property
    def nodes(self) -> int:
        """How many nodes there are, inputs included."""
        return max(edge.target for edge in self.edges) + 1

    def incoming(self, target: int) -> list[int]:
        """The rows of the edges into ``target``, counted within this kind of cell."""
        return [row for row, edge in enumerate(self.edges) if edge.target == target]


def dense_cell(
    *,
    inputs: int,
    nodes: int,
    ops: Sequence[str] | Sequence[Sequence[str]],
    output: Literal["concat", "last"] = "concat",
) -> CellGraph:
    """A cell in which each computed node has an edge from every node before it.

    Args:
        inputs: the number of input nodes, 1 or 2.
        nodes: the number of computed nodes.
        ops: the operations of all edges; or a sequence of operations for each edge, in the order of the edges.
        output: "concat" joins all computed nodes; "last" is only the last node.

    Raises:
        ValueError: as ``CellGraph``.

    >>> cell = dense_cell(inputs=2, nodes=2, ops=["skip_connect", "sep_conv_3x3"])
    >>> [tuple(edge) for edge in cell.edges]
    [(0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]
    """
    edges = tuple(Edge(s, t) for t in range(inputs, inputs + nodes) for s in range(t))
    names = [op for op in ops if isinstance(op, str)]
    per_edge = [names] * len(edges) if names else list(ops)
    computed = tuple(range(inputs, inputs + nodes))
    return CellGraph(
        inputs=inputs,
        edges=edges,
        ops=tuple(tuple(offered) for offered in per_edge),
        output=computed if output == "concat" else computed[-1:],
    )
