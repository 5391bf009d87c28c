"""Which nodes of a cell read which."""

from __future__ import annotations

from dataclasses import dataclass

from diffnas.space import Edge


@dataclass(frozen=True, kw_only=True)
class Wiring:
    """Which nodes of a cell read which.

    Attributes:
        inputs: how many input nodes there are; they are nodes ``0 .. inputs-1``.
        nodes: how many nodes there are, inputs included.
        edges: the edges, sorted by target; several may join the same two nodes.
        output: the nodes that the output joins.
    """

    inputs: int
    nodes: int
    edges: tuple[Edge, ...]
    output: tuple[int, ...]

    def incoming(self, target: int) -> list[int]:
        """The numbers of the edges that lead into ``target``."""
        return [row for row, edge in enumerate(self.edges) if edge.target == target]
