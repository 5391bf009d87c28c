"""A recurrent cell in one product for each node: the inputs of a node are stacked, then multiplied once.

Each activation is applied once, to all inputs. The values and gradients are those of one operation after
the other, up to rounding, and they can be differentiated again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
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


class Node(NamedTuple):
    """How a node is computed.

    Attributes:
        gate: the product that its inputs share.
        sources: the nodes that it reads, which are stacked in this order.
        activations: its activations, each applied to all inputs.
    """

    gate: Gate
    sources: tuple[int, ...]
    activations: tuple[nn.Module, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Its weights: inputs and activations."""
        return len(self.sources), len(self.activations)


class Stacked:
    """The program of a cell with the operations that run now.

    Attributes:
        nodes: by number, the nodes that something feeds.
        places: the places of their weights in the flat table, node by node; the place after its end means 0.
        idle: for each of these nodes, the places of weights whose operations do not run; its value includes the sum of
            these weights.
        shares: the weights of a network, ``(edges, columns)``, whose nodes are the mean or the sum of what edges give.
    """

    def __init__(self, cell: Cell, runs: Sequence[Sequence[bool]] | None, columns: int, device: torch.device) -> None:
        self.nodes: dict[int, Node] = {}
        self.idle: list[Tensor] = []
        self.drawn = runs is not None
        places: list[int] = []
        live = set(range(cell.graph.inputs))
        for target in range(cell.graph.inputs, cell.graph.nodes):
            rows = [row for row in cell.graph.incoming(target) if cell.graph.edges[row].source in live]
            terms = [term for row in rows for term in _terms(cell, row, runs)]
            if terms:
                live.add(target)
                self.nodes[target], weights = _node(cell, terms)
                zero = columns * len(cell.edges)
                places += [zero if term is None else term.row * columns + term.column for term in weights]
                self.idle.append(torch.tensor(_idle(rows, runs, columns), dtype=torch.long, device=device))
        self.places = torch.tensor(places, dtype=torch.long, device=device)
        readers = [len(cell.graph.incoming(edge.target)) if cell.averages else 1 for edge in cell.graph.edges]
        shares = torch.tensor(readers, dtype=torch.float64, device=device).reciprocal()
        self.shares = shares.unsqueeze(1).expand(-1, columns)

    def values(self, cell: Cell, first: Tensor, table: Tensor) -> list[Tensor | None]:
        """The value of each node; None if nothing feeds it."""
        values: list[Tensor | None] = [first] + [None] * (cell.graph.nodes - cell.graph.inputs)
        flat = torch.cat([table.reshape(-1), table.new_zeros(1)])
        weights = torch.split(flat[self.places], [prod(node.shape) for node in self.nodes.values()])
        for (target, node), own, idle in zip(self.nodes.items(), weights, self.idle, strict=True):
            total = node_value(node, values, own.view(node.shape))
            if self.drawn:
                total = total + flat[idle].sum()
            values[target] = total if cell.norm is None else cell.norm(total)
        return values


def node_value(node: Node, values: Sequence[Tensor | None], weights: Tensor) -> Tensor:
    """The weighted sum of what the operations into a node give, ``(B, n)``.

    Activations are mixed before the gate, which carries as much of an input as all of its weights together.
    """
    read = [each for each in (values[source] for source in node.sources) if each is not None]
    x = torch.stack(read) if len(read) > 1 else read[0].unsqueeze(0)  # (inputs, B, n); one input is not copied
    masked = x if node.gate.mask is None else x * node.gate.mask
    closed, value = split(node.gate.product(masked.flatten(0, 1)))
    opened, results = closed.sigmoid().view_as(x), [activation(value) for activation in node.activations]
    if len(results) == 1:
        return (weights[:, 0] @ torch.lerp(x, results[0].view_as(x), opened).flatten(1)).view_as(x[0])
    # (inputs, 1, activations) times (inputs, activations, B n); an input without an activation weighs it by 0.
    beside = torch.stack([result.view_as(x) for result in results], dim=1).flatten(2)
    mixed = torch.bmm(weights.unsqueeze(1), beside).view_as(x)
    return torch.lerp(x * weights.sum(1)[:, None, None], mixed, opened).sum(0)


def stackable(cell: Cell) -> bool:
    """Whether all operations of a supernet's cell are activations behind the gate of their node."""
    return all(type(op) is Gated for row in range(len(cell.edges)) for op in _ops(cell, row).values())


def _ops(cell: Cell, row: int) -> Mapping[str, nn.Module]:
    """The operations of an edge by their column."""
    return dict(cell.edges[row].ops.items())  # type: ignore[union-attr, operator]


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


def _node(cell: Cell, terms: Sequence[Term]) -> tuple[Node, list[Term | None]]:
    """A node, and the term of each of its weights, None where an input does not have an activation."""
    rows = list(dict.fromkeys(term.row for term in terms))
    alike: dict[tuple[int, int], dict[int, Term]] = {}
    for term in terms:
        # An activation with a state of its own is that of one input alone.
        own = [*term.op.activation.parameters(), *term.op.activation.buffers()]
        alike.setdefault((term.column, term.row if own else -1), {})[term.row] = term
    activations = tuple(next(iter(group.values())).op.activation for group in alike.values())
    sources = tuple(cell.graph.edges[row].source for row in rows)
    return Node(terms[0].op.gate, sources, activations), [group.get(row) for row in rows for group in alike.values()]
