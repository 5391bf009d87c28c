"""Chains and transformers as text: ``chain:1-1-1 | res_3 | none | mb_3_6+next_7``, a skeleton and its operations."""

from __future__ import annotations

from collections.abc import Sequence

from diffnas.genotype.record import Cell, Connection, Genotype
from diffnas.skeleton import Chain, Skeleton, skeleton_of


def of_layers(skeleton: str, layers: Sequence[str]) -> Genotype:
    """The genotype of a chain or of a transformer.

    Args:
        skeleton: the name of the skeleton.
        layers: the operation of each layer, ``none`` for an absent one, several with ``+`` between them. In a
            transformer, those of each branch; or of each kind of branch, which all layers repeat.

    Raises:
        ValueError: for another number of layers than the chain has, or a skeleton that is no chain of single edges.

    >>> of_layers("chain:1-1-1", ["res_3", "none", "next_7"]).cells["cell2"].connections
    (Connection(op='next_7', source=0, target=1),)
    """
    names = _names(skeleton_of(skeleton), len(layers))
    cells = {name: _layer(text.split("+")) for name, text in zip(names, layers, strict=True)}
    return Genotype(skeleton=skeleton, cells=cells)


def _names(skeleton: Skeleton, count: int) -> Sequence[str]:
    """The names of the cells in a text with so many operations."""
    if skeleton.tokens and len(skeleton.kinds) > 1:
        layers, rest = divmod(count, len(skeleton.kinds))
        if layers and not rest:
            return list(skeleton.own_cells(layers)) if layers > 1 else skeleton.kinds
        raise ValueError(
            f"the skeleton {skeleton.name!r} has two branches in each layer, but {count} operations are given. Write "
            f"{skeleton.name} | attn_4 | mlp_4 for all layers, or two operations for each layer."
        )
    if not isinstance(skeleton, Chain):
        raise ValueError(
            f"{skeleton.name!r} is not a chain; write chain | res_3 | ..., with an operation for each layer."
        )
    if count != len(skeleton.kinds):
        raise ValueError(f"the skeleton {skeleton.name!r} has {len(skeleton.kinds)} layers, but {count} are given.")
    return skeleton.kinds


def _layer(ops: Sequence[str]) -> Cell:
    connections = tuple(Connection(op, 0, 1) for op in ops if op != "none")
    return Cell(inputs=1, nodes=2, connections=connections, output=(1,))


def is_chain(genotype: Genotype) -> bool:
    """Whether a genotype is a chain or a transformer, whose layers or branches have one edge each."""
    return skeleton_of(genotype.skeleton).residual and all(cell.nodes == 2 for cell in genotype.cells.values())


def parse_chain(text: str) -> Genotype:
    """The genotype in a text that ``to_chain`` gave.

    Raises:
        ValueError: for a text that names no chain, or not all of its layers.
    """
    skeleton, *layers = (part.strip() for part in text.split("|"))
    return of_layers(skeleton, layers)


def to_chain(genotype: Genotype) -> str:
    """The text of a chain or of a transformer.

    >>> to_chain(parse_chain("chain:1-1-1|res_3|none|mb_3_6+next_7"))
    'chain:1-1-1 | res_3 | none | mb_3_6+next_7'
    >>> list(parse_chain("transformer | attn_4 | mlp_4 | none | glu_2").cells)
    ['mixer0', 'channel0', 'mixer1', 'channel1']
    """
    layers = ["+".join(op for op, _, _ in cell.connections) or "none" for cell in genotype.cells.values()]
    return " | ".join([genotype.skeleton, *layers])
