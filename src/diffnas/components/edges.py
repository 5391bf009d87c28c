"""Strengths of edges: a factor for each edge, which multiplies the mixing weights of all its operations.

A weighting makes the strengths, from beta in place of alpha. Its rows are then nodes and its columns sources, so the
edges into one node compete as operations on one edge do.
"""

from __future__ import annotations

from torch import Tensor

from diffnas.components import contract
from diffnas.components.schedule import Moment
from diffnas.components.weighting import Weighting
from diffnas.space import SearchSpace


def inputs(space: SearchSpace) -> list[list[bool]]:
    """Which sources lead into each computed node of each kind of cell, ``(nodes, sources)``.

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
    """The strength of each edge; PC-DARTS (Xu et al., 2020), eq. 4, calls this edge normalization.

    Args:
        weighting: makes the strengths of the edges into a node, such as softmax.
        beta: the parameters of the strengths, ``(nodes, sources)``.
        moment: where the run stands.
        space: the space with these edges.

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
    """For every edge, the row of its target and the column of its source in the weights of edges."""
    places, before = [], 0
    for cell in space.cells.values():
        places += [(before + edge.target - cell.inputs, edge.source) for edge in cell.edges]
        before += cell.nodes - cell.inputs
    return places
