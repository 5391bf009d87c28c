"""Chains as text: ``chain:1-1-1 | res_3 | none | mb_3_6+next_7``, the skeleton and the operations of each layer."""

from __future__ import annotations

from collections.abc import Sequence

from diffnas.genotype.record import Cell, Connection, Genotype
from diffnas.skeleton import Chain, skeleton_of


def of_layers(skeleton: str, layers: Sequence[str]) -> Genotype:
    """The genotype of a chain.

    Args:
        skeleton: the name of the chain.
        layers: the operation of each layer, ``none`` for an absent one, several with ``+`` between them.

    Raises:
        ValueError: for another number of layers than the chain has, or a skeleton that is not a chain.

    >>> of_layers("chain:1-1-1", ["res_3", "none", "next_7"]).cells["cell2"].connections
    (Connection(op='next_7', source=0, target=1),)
    """
    found = skeleton_of(skeleton)
    if not isinstance(found, Chain):
        raise ValueError(f"{skeleton!r} is not a chain; write chain | res_3 | ..., with an operation for each layer.")
    if len(layers) != len(found.kinds):
        raise ValueError(f"the skeleton {skeleton!r} has {len(found.kinds)} layers, but {len(layers)} are given.")
    cells = {kind: _layer(text.split("+")) for kind, text in zip(found.kinds, layers, strict=True)}
    return Genotype(skeleton=skeleton, cells=cells)


def _layer(ops: Sequence[str]) -> Cell:
    connections = tuple(Connection(op, 0, 1) for op in ops if op != "none")
    return Cell(inputs=1, nodes=2, connections=connections, output=(1,))


def is_chain(genotype: Genotype) -> bool:
    """Whether a genotype is a chain whose layers have one edge each."""
    return isinstance(skeleton_of(genotype.skeleton), Chain) and all(
        cell.nodes == 2 for cell in genotype.cells.values()
    )


def parse_chain(text: str) -> Genotype:
    """The genotype in a text that ``to_chain`` gave.

    Raises:
        ValueError: for a text that names no chain, or not all of its layers.
    """
    skeleton, *layers = (part.strip() for part in text.split("|"))
    return of_layers(skeleton, layers)


def to_chain(genotype: Genotype) -> str:
    """The text of a chain.

    >>> to_chain(parse_chain("chain:1-1-1|res_3|none|mb_3_6+next_7"))
    'chain:1-1-1 | res_3 | none | mb_3_6+next_7'
    """
    layers = ["+".join(op for op, _, _ in cell.connections) or "none" for cell in genotype.cells.values()]
    return " | ".join([genotype.skeleton, *layers])
