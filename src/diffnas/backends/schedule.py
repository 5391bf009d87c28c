"""The operations of a cell, sorted by how they can be computed together.

Work that several edges share is done once for each source node: the ReLU before its convolutions, and its pools with
their batch norms. An operation that no kernel knows is called as a module.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from torch import nn

from diffnas.nets.cell import Cell
from diffnas.nets.links import LONGEST, ChainKey, Link, chain_key, is_plain_norm
from diffnas.nets.links import links as read_links
from diffnas.nets.network import FixedEdge
from diffnas.nets.supernet import MixedEdge

# The row (edge) and the column (operation) of a mixing weight.
Place = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Pool:
    """One kind of pool of a node, or the node itself; it has no weights, so all edges out of the node share it.

    Attributes:
        module: the pool; None for the node itself.
        places: the place of its mixing weight, by target.
        norms: the batch norm at each place; empty if the pool has none.
    """

    module: nn.Module | None
    places: dict[int, Place] = field(default_factory=dict)
    norms: list[nn.BatchNorm2d] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Chain:
    """An operation from one node to another whose links are known."""

    target: int
    place: Place
    links: tuple[Link, ...]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The operations of a cell that are still in play, sorted by how they are computed.

    Attributes:
        pools: for each source, a list for each stride of the pools that its edges share.
        chains: for each source, the chains of convolutions out of it.
        others: for each target, the operations that are called as modules: source, place and module.
        prepare: for each input node, the module that prepares the cell's input, and its links if they are known.
    """

    pools: dict[int, list[list[Pool]]]
    chains: dict[int, list[Chain]]
    others: dict[int, list[tuple[int, Place, nn.Module]]]
    prepare: list[tuple[nn.Module, tuple[Link, ...] | None]]


def schedule(cell: Cell, *, compiled: bool = False) -> Schedule:
    """The schedule of the operations that are on a cell's edges now.

    Args:
        cell: the cell.
        compiled: whether the compiled kernels of a CPU compute it. They also know batch norms with a weight and a bias,
            chains of three links, and links without a ReLU or a batch norm.
    """
    pools: dict[int, dict[str, list[Pool]]] = {}
    chains: dict[int, list[Chain]] = {}
    others: dict[int, list[tuple[int, Place, nn.Module]]] = {}
    affine = None if compiled else False
    for row, (edge, found) in enumerate(zip(cell.graph.edges, cell.edges, strict=True)):
        assert isinstance(found, MixedEdge | FixedEdge)
        for column, op in found.ops.items():
            place = (row, int(column))
            pool, norm = _pool(op)
            links = read_links(op, affine=affine)
            if pool is not None:
                # Pools with one stride give maps of one size.
                stride = "1" if isinstance(pool, nn.Identity) else str(pool.stride)
                shared = _shared(pools.setdefault(edge.source, {}).setdefault(stride, []), pool, edge.target, place)
                shared.norms.extend([] if norm is None else [norm])
            elif links is not None and _is_known(links, compiled):
                chains.setdefault(edge.source, []).append(Chain(target=edge.target, place=place, links=links))
            else:
                others.setdefault(edge.target, []).append((edge.source, place, op))
    by_source = {source: list(kinds.values()) for source, kinds in pools.items()}
    prepare = [(module, read_links(module, affine=affine)) for module in cell.inputs]
    return Schedule(pools=by_source, chains=chains, others=others, prepare=prepare)


def _is_known(links: Sequence[Link], compiled: bool) -> bool:
    """Whether kernels know a chain; ``compiled`` as in ``schedule``."""
    if compiled:
        return len(links) <= LONGEST
    return len(links) <= 2 and all(link.geometry.rectifies and link.after is not None for link in links)


def _shared(pools: list[Pool], pool: nn.Module, target: int, place: Place) -> Pool:
    """The pool that all edges out of a node share whose operation has the same column, with one more target."""
    for kind in pools:
        if target not in kind.places and place[1] in {column for _, column in kind.places.values()}:
            break
    else:
        kind = Pool(module=None if isinstance(pool, nn.Identity) else pool)
        pools.append(kind)
    kind.places[target] = place
    return kind


def is_fixed(cell: Cell) -> bool:
    """Whether a cell is that of a network, whose edges have one operation each."""
    return any(isinstance(edge, FixedEdge) for edge in cell.edges)


def why_unknown(cell: Cell, found: Schedule) -> str | None:
    """The reason why kernels cannot compute a whole cell: its first unknown part. None if all parts are known."""
    for target, rest in found.others.items():
        for source, (_, column), _ in rest:
            return f"no kernel knows the operation {cell.ops[column]!r} on edge {source} -> {target}"
    if any(links is None and not isinstance(module, nn.Identity) for module, links in found.prepare):
        return "no kernel knows what prepares its inputs"
    return None


def by_key(chains: Iterable[Sequence[Link]], size: Sequence[int]) -> dict[ChainKey, list[int]]:
    """The indices of chains that read a map of this size, grouped by key.

    In most spaces there is one group. Operations of residual chains have several sizes between their links.
    """
    groups: dict[ChainKey, list[int]] = {}
    for place, chain in enumerate(chains):
        groups.setdefault(chain_key(tuple(chain), size), []).append(place)
    return groups


def _pool(op: nn.Module) -> tuple[nn.Module | None, nn.BatchNorm2d | None]:
    """The pool or identity in an operation, and the batch norm after it if any; (None, None) for other operations."""
    if type(op) is nn.Identity or is_common_pool(op):
        return op, None
    if type(op) is nn.Sequential and len(op) == 2 and is_common_pool(op[0]):
        norm = op[1]
        if is_plain_norm(norm):
            assert isinstance(norm, nn.BatchNorm2d)
            return op[0], norm
    return None, None


def is_common_pool(module: nn.Module) -> bool:
    """Whether a module is a pool of 3x3 pixels in the form that NAS spaces use."""
    if type(module) not in (nn.MaxPool2d, nn.AvgPool2d):
        return False
    assert isinstance(module, nn.MaxPool2d | nn.AvgPool2d)
    if module.ceil_mode or (module.kernel_size, module.padding) != (3, 1) or module.stride not in (1, 2):
        return False
    if isinstance(module, nn.MaxPool2d):
        return module.dilation == 1 and not module.return_indices
    return not module.count_include_pad and not module.divisor_override
