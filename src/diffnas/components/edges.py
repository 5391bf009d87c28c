"""Strengths of edges: beside the weights of its operations, every edge has one of its own.

They are made by a weighting, as the weights of operations are, over the edges that lead into a node: what a weighting
calls edges and operations are then nodes and sources.
"""

from __future__ import annotations

from torch import Tensor

from diffnas.components import contract
from diffnas.components.schedule import Moment
from diffnas.components.weighting import Weighting
from diffnas.space import SearchSpace


def inputs(space: SearchSpace) -> list[list[bool]]:
    """Which nodes lead into which, ``(nodes, sources)``: a row for each computed node of each kind of cell.

    >>> from diffnas.space import nas_bench_201
    >>> inputs(nas_bench_201)
    [[True, False, False], [True, True, False], [True, True, True]]
    """
    width = max(edge.source for _, edge in space.edges) + 1
    table = [[False] * width for _ in range(sum(cell.nodes - cell.inputs for cell in space.cells.values()))]
    for node, source in _places(space):
        table[node][source] = True
    return table


def strengths(weighting: Weighting, beta: Tensor, moment: Moment, space: SearchSpace) -> Tensor:
    """The strength of every edge: PC-DARTS (Xu et al., 2020), eq. 4, calls it edge normalization.

    Args:
        weighting: makes the strengths of the edges into a node, such as softmax.
        beta: what they are made of, ``(nodes, sources)``.
        moment: where the run stands.
        space: where the edges are.

    Returns:
        ``(edges,)``.

    Raises:
        ValueError: if the weighting breaks its contract.

    >>> import torch
    >>> from diffnas.components.weighting import softmax
    >>> from diffnas.space import nas_bench_201
    >>> strengths(softmax, torch.zeros(3, 3), Moment(epoch=0, step=0, epochs=1, steps=1), nas_bench_201)
    tensor([1.0000, 0.5000, 0.5000, 0.3333, 0.3333, 0.3333])
    """
    nodes, sources = zip(*_places(space), strict=True)
    of_nodes = contract.weights(contract.EDGES, weighting, beta, beta.new_tensor(inputs(space)).bool(), moment)
    return of_nodes[list(nodes), list(sources)]


def _places(space: SearchSpace) -> list[tuple[int, int]]:
    """Row and column of every edge."""
    places, before = [], 0
    for cell in space.cells.values():
        places += [(before + edge.target - cell.inputs, edge.source) for edge in cell.edges]
        before += cell.nodes - cell.inputs
    return places
