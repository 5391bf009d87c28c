"""The space of one network, for what is asked of spaces: what their networks cost at a size."""

from __future__ import annotations

from typing import Any

from diffnas.genotype.record import Cell, Genotype
from diffnas.skeleton import skeleton_of
from diffnas.space import CellGraph, Edge, SearchSpace


def own_space(genotype: Genotype, *, factories: Any = None, frame: Any = None) -> SearchSpace:
    """The smallest space that holds a genotype: every edge offers what it has there, and nothing else.

    A node that nothing feeds, such as an absent layer of a chain, gets an edge that offers ``none``.

    Args:
        genotype: the cells.
        factories, frame: the user's own operations and frame (``SearchSpace.own``).

    >>> from diffnas.genotype.handmade import handmade
    >>> [graph.ops for graph in own_space(handmade("resnet")).cells.values()][:2]
    [(('res_3',),), (('none',),)]
    """
    skeleton = skeleton_of(genotype.skeleton)
    cells = {kind: _graph(cell) for kind, cell in genotype.cells.items()}
    channels, depth = skeleton.published["cifar"]
    return SearchSpace(
        name="own",
        cells=cells,
        ops=tuple(dict.fromkeys(op for graph in cells.values() for offered in graph.ops for op in offered)),
        skeleton=genotype.skeleton,
        channels=channels,
        depth=genotype.depth or depth,
        factories=factories or {},
        frame=frame,
    )


def _graph(cell: Cell) -> CellGraph:
    offered: dict[Edge, tuple[str, ...]] = {
        Edge(0, node): ("none",) for node in range(cell.inputs, cell.nodes) if not cell.incoming(node)
    }
    for op, source, target in cell.connections:
        edge = Edge(source, target)
        offered[edge] = (*offered.get(edge, ()), op)
    edges = sorted(offered, key=lambda edge: (edge.target, edge.source))
    return CellGraph(
        inputs=cell.inputs, edges=tuple(edges), ops=tuple(offered[edge] for edge in edges), output=cell.output
    )
