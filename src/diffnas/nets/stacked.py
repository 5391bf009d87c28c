"""A recurrent cell of a supernet in one product for each node: the inputs of a node are stacked, then multiplied once.

Each activation is applied once to all inputs that offer it. The values and gradients are those of one operation after
the other, up to rounding, and they can be differentiated again.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from diffnas.nets.ops.recurrent import Gate, Gated, split

if TYPE_CHECKING:
    from diffnas.nets.cell import Cell


class Term(NamedTuple):
    """One operation that runs: its row and column in the table of weights, and its module."""

    row: int
    column: int
    op: Gated


class Activated(NamedTuple):
    """An activation, and the positions of its inputs among those of the node; None for all of them."""

    activation: nn.Module
    at: Tensor | None


class Node(NamedTuple):
    """How a node is computed.

    Attributes:
        gate: the product that its inputs share.
        sources: the nodes that it reads, which are stacked in this order.
        activated: its activations. Their results are stacked in this order, each for its inputs.
    """

    gate: Gate
    sources: tuple[int, ...]
    activated: tuple[Activated, ...]


class Stacked:
    """The program of a cell with the operations that run now.

    Attributes:
        nodes: by number, the nodes that something feeds.
        weights: the places of the weights in the flat table, node by node, in the order of their results.
        counts: how many of them each node has.
        idle: for each node of ``nodes``, the places of weights whose operations do not run; they are added as numbers.
    """

    def __init__(self, cell: Cell, runs: Sequence[Sequence[bool]] | None, columns: int, device: torch.device) -> None:
        self.nodes: dict[int, Node] = {}
        places: list[int] = []
        self.counts: list[int] = []
        self.idle: list[Tensor] = []
        live = set(range(cell.graph.inputs))
        for target in range(cell.graph.inputs, cell.graph.nodes):
            rows = [row for row in cell.graph.incoming(target) if cell.graph.edges[row].source in live]
            terms = [term for row in rows for term in _terms(cell, row, runs)]
            if not terms:
                continue
            live.add(target)
            self.nodes[target], ordered = _node(cell, terms, device)
            places += [term.row * columns + term.column for term in ordered]
            self.counts.append(len(ordered))
            self.idle.append(torch.tensor(_idle(rows, runs, columns), dtype=torch.long, device=device))
        self.weights = torch.tensor(places, dtype=torch.long, device=device)
        self.drawn = runs is not None

    def values(self, cell: Cell, first: Tensor, table: Tensor) -> list[Tensor | None]:
        """The value of each node; None if nothing feeds it."""
        values: list[Tensor | None] = [first] + [None] * (cell.graph.nodes - cell.graph.inputs)
        flat = table.reshape(-1)
        shares = torch.split(flat[self.weights], self.counts)
        for (target, node), share, idle in zip(self.nodes.items(), shares, self.idle, strict=True):
            total = node_value(node, values, share)
            if self.drawn:
                total = total + flat[idle].sum()
            values[target] = total if cell.norm is None else cell.norm(total)
        return values


def node_value(node: Node, values: Sequence[Tensor | None], weights: Tensor) -> Tensor:
    """The weighted sum of what the operations into a node give, ``(B, n)``."""
    read = [values[source] for source in node.sources]
    # (inputs, B, n); one input is not copied.
    carry = torch.stack([each for each in read if each is not None]) if len(read) > 1 else _alone(read[0])
    masked = carry if node.gate.mask is None else carry * node.gate.mask
    closed, value = split(node.gate.product(masked.flatten(0, 1)).view(*carry.shape[:2], -1))
    opened = closed.sigmoid()
    results = []
    for activation, at in node.activated:
        through, x, open_ = (each if at is None else each[at] for each in (value, carry, opened))
        # An activation reads (B, n), here (inputs * B, n).
        activated = activation(through.flatten(0, 1)).view_as(x)
        results.append(torch.lerp(x, activated, open_))
    stacked = torch.cat(results) if len(results) > 1 else results[0]
    return (weights @ stacked.flatten(1)).view_as(carry[0])


def _alone(value: Tensor | None) -> Tensor:
    assert value is not None
    return value.unsqueeze(0)


def stackable(cell: Cell) -> bool:
    """Whether all operations of a supernet's cell are activations behind the gate of their node."""
    return all(type(op) is Gated for row in range(len(cell.edges)) for op in _ops(cell, row).values())


def _ops(cell: Cell, row: int) -> nn.ModuleDict:
    found = cell.edges[row].ops
    assert isinstance(found, nn.ModuleDict)
    return found


def _terms(cell: Cell, row: int, runs: Sequence[Sequence[bool]] | None) -> list[Term]:
    return [
        Term(row, int(column), op)
        for column, op in _ops(cell, row).items()
        if isinstance(op, Gated) and (runs is None or runs[row][int(column)])
    ]


def _idle(rows: Sequence[int], runs: Sequence[Sequence[bool]] | None, columns: int) -> list[int]:
    if runs is None:
        return []
    return [row * columns + column for row in rows for column in range(columns) if not runs[row][column]]


def _shared(term: Term) -> tuple[int, int]:
    """What the terms have in common that one activation computes; one with state of its own computes only its term."""
    own = [*term.op.activation.parameters(), *term.op.activation.buffers()]
    return term.column, term.row if own else -1


def _node(cell: Cell, terms: Sequence[Term], device: torch.device) -> tuple[Node, list[Term]]:
    """A node, and its terms in the order of its results."""
    rows = list(dict.fromkeys(term.row for term in terms))
    ordered = sorted(terms, key=lambda term: (term.column, term.row))
    activated = []
    for _, group in groupby(ordered, key=_shared):
        alike = list(group)
        at = torch.tensor([rows.index(term.row) for term in alike], device=device)
        activated.append(Activated(alike[0].op.activation, None if len(alike) == len(rows) else at))
    sources = tuple(cell.graph.edges[row].source for row in rows)
    return Node(terms[0].op.gate, sources, tuple(activated)), ordered
