"""The cost of each operation for one picture, counted alone and summed over the cells in which it stands."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor, nn

from diffnas.nets import ops
from diffnas.nets.frames import Reading, Sizes
from diffnas.nets.ops import count_macs
from diffnas.nets.ops.pictures import Depthwise
from diffnas.nets.sites import EmptyNet, Seen, Site, offered, sites, unseen
from diffnas.nets.sizes import size_of, sizes_of_space
from diffnas.nets.slot import OpFactory, Slot
from diffnas.skeleton import StemKind
from diffnas.space import SearchSpace

if TYPE_CHECKING:
    from typing_extensions import Unpack

BYTES = 4
"""The bytes of a float32, in which networks are deployed."""


class Counted(NamedTuple):
    """The cost of a part of a network for one picture.

    Attributes:
        macs: multiply-adds.
        params: parameters.
        written: the bytes that its layers write as outputs.
    """

    macs: int
    params: int
    written: int

    def __add__(self, other: object) -> Counted:
        assert isinstance(other, Counted)
        return Counted(*(one + two for one, two in zip(self, other, strict=True)))


def operation_macs(
    space: SearchSpace,
    picture: tuple[int, ...],
    *,
    inputs: int | None = None,
    channels: int | None = None,
    depth: int | None = None,
    stem: StemKind = "cifar",
    one_in: int = 1,
    **sequences: Unpack[Reading],
) -> list[list[int]]:
    """Multiply-adds of every operation for one picture, ``(edges, ops)``, summed over all cells of its kind.

    Args:
        space: the space.
        picture: channels, height and width; or the steps of a sequence that are read at once.
        inputs: channels of the pictures; None for the first of ``picture``.
        channels, depth, stem, sequences: the arguments of the supernet.
        one_in: 1 of ``one_in`` channels goes through the operations.

    >>> from diffnas.space import s2
    >>> costs = operation_macs(s2, (3, 8, 8), channels=4, depth=3)
    >>> costs[0], costs[14]  # skip and convolution: the skip on edge 14 halves the resolution, so it has a cost
    ([0, 6656], [2048, 7552])
    """
    sizes = sizes_of_space(
        space,
        1,
        inputs or picture[0],
        channels=channels,
        depth=depth,
        stem=stem,
        picture=size_of(picture),
        **sequences,
    )
    found = sites(sizes, offered(space), picture, one_in=one_in)
    return by_operation(space, found, lambda site: of_op(*site.spot, space.factories.get(site.spot.op)).macs)


def by_operation(space: SearchSpace, found: Iterable[Site], cost: Callable[[Site], Any]) -> list[list[Any]]:
    """The sum of a cost over the sites of each operation of each edge, ``(edges, ops)``; 0 where it is not offered."""
    places = {
        kind: [
            (row, space.ops.index(op)) for row, names in enumerate(graph.ops, space.rows[kind].start) for op in names
        ]
        for kind, graph in space.cells.items()
    }
    total = [[0] * len(space.ops) for _ in space.edges]
    for site in found:
        row, column = places[site.kind][site.number]
        total[row][column] += cost(site)
    return total


def counted(module: nn.Module, shape: tuple[int, ...]) -> Counted:
    """The cost of a module for one input of this shape. It is run once, on its own device."""
    written = 0

    def add(layer: nn.Module, inputs: Any, output: Any) -> None:
        nonlocal written
        written += BYTES * output[0].numel() if isinstance(output, Tensor) else 0

    # An identity writes nothing. A ``Depthwise`` counts itself, because it never calls the convolution inside it.
    layers = [
        layer
        for layer in module.modules()
        if isinstance(layer, Depthwise) or (not list(layer.children()) and not isinstance(layer, nn.Identity))
    ]
    handles = [layer.register_forward_hook(add) for layer in layers]
    try:
        macs = count_macs(module, shape)
    finally:
        for handle in handles:
            handle.remove()
    return Counted(macs, sum(weight.numel() for weight in module.parameters()), written)


def around(sizes: Sizes, picture: tuple[int, ...]) -> tuple[Counted, list[Seen]]:
    """The cost of a net without the operations of its cells, and the runs of its cells."""
    with unseen(own=sizes.frame is not None):
        net = EmptyNet(sizes)
        return counted(net, picture), net.seen


@lru_cache(maxsize=100_000)
def of_op(op: str, slot: Slot, size: tuple[int, ...], own: OpFactory | None) -> Counted:
    """The cost of an operation in its slot.

    Args:
        op: the name of the operation.
        slot: where it stands.
        size: height and width of its input.
        own: the factory of a user's own operation; None for one of ``OPS``.
    """
    if op == "none":
        return Counted(0, 0, 0)
    with unseen(own=own is not None):
        module = ops.build(op, slot, factories={op: own} if own else None)
        return counted(module, (slot.width, *size))
