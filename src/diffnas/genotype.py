"""Genotypes: the discrete result of a search, and all that passes from search to evaluation. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from diffnas.space import Skeleton


class Connection(NamedTuple):
    """An operation between two nodes of a cell. ``none`` is never listed: it is the absence of a connection."""

    op: str
    source: int
    target: int


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One kind of cell: what feeds each node, any number of connections a node, several between two nodes allowed.

    Attributes:
        inputs: number of input nodes, ``0 .. inputs-1``.
        nodes: number of nodes, inputs included.
        connections: sorted by target; within a target in the order that the source gave them.
        output: the nodes whose values are concatenated into the cell's output.
    """

    inputs: int
    nodes: int
    connections: tuple[Connection, ...]
    output: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Genotype:
    """What a search found: every kind of cell, and the skeleton the cells belong in."""

    skeleton: Skeleton
    cells: Mapping[str, Cell]
