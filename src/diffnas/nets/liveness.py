"""The peak memory of a deployed chain. It is a maximum over layers, so a chain meets a ceiling if each layer does.

The count is for one picture, with batch norms folded into the convolutions, and ReLUs and sums in place.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from diffnas.nets import ops
from diffnas.nets.ops.pictures import Depthwise
from diffnas.nets.sites import Spot, offered, sites, unseen
from diffnas.nets.sizes import sizes_of_space
from diffnas.skeleton import StemKind
from diffnas.space import SearchSpace

BYTES = 4  # of a float32


def peak_floats(module: nn.Module, shape: tuple[int, ...]) -> int:
    """The most numbers that are alive at once while an operation runs, with its input, which the shortcut reads later.

    Args:
        module: an operation of convolutions in sequence; it is run once, in evaluation mode, on its own device.
        shape: channels, height and width of the input.

    >>> from diffnas.nets.slot import Slot
    >>> [peak_floats(ops.build(op, Slot(width=2)), (2, 4, 4)) // 32 for op in ("res_3", "mb_3_1", "mb_3_6", "next_7")]
    [3, 3, 13, 6]
    """
    source = torch.Size(shape).numel()
    peaks = [source]

    def add(layer: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
        # The first convolution reads the input, which is counted already; each later one reads the result before it.
        read = inputs[0][0].numel() if len(peaks) > 1 else 0
        peaks.append(source + read + output[0].numel())

    convolutions = [layer for layer in module.modules() if isinstance(layer, Depthwise | nn.Conv2d)]
    handles = [layer.register_forward_hook(add) for layer in convolutions]
    try:
        ops.count_macs(module, shape)
    finally:
        for handle in handles:
            handle.remove()
    return max(peaks)


def fitting(
    space: SearchSpace,
    picture: tuple[int, int, int],
    most: int,
    *,
    channels: int | None = None,
    stem: StemKind = "cifar",
) -> SearchSpace:
    """The space without the operations that hold more than ``most`` bytes at once.

    All networks of the new space meet this ceiling, and none is lost that would.

    Args:
        space: a space in which a cell has one edge, such as a chain.
        picture: channels, height and width.
        most: the ceiling in bytes, in float32.
        channels, stem: the arguments of the network.

    Raises:
        ValueError: if no operation of a layer meets the ceiling, with the bytes of its leanest one.

    >>> from diffnas.space import chain
    >>> fitting(chain, (3, 32, 32), 100 * 1024, stem="cifar-half").cells["cell0"].ops
    (('none', 'res_3'),)
    """
    sizes = sizes_of_space(space, 1, picture[0], channels=channels, stem=stem, picture=picture[1:])
    found = sites(sizes, offered(space), picture)
    held = {(site.kind, site.spot.op): _bytes(site.spot, space) for site in found}
    cells = {}
    for kind, graph in space.cells.items():
        left = tuple(tuple(op for op in names if held[kind, op] <= most) for names in graph.ops)
        if not all(left):
            leanest = min(held[kind, op] for names in graph.ops for op in names)
            raise ValueError(
                f"no operation of {kind} in space {space.name!r} holds at most {most:,} bytes; the leanest holds "
                f"{leanest:,}. Allow as many, or take fewer channels or a stem that halves the picture."
            )
        cells[kind] = replace(graph, ops=left)
    there = {op for graph in cells.values() for names in graph.ops for op in names}
    return replace(space, cells=cells, ops=tuple(op for op in space.ops if op in there))


def _bytes(spot: Spot, space: SearchSpace) -> int:
    with unseen(own=spot.op in space.factories):
        module = ops.build(spot.op, spot.slot, factories=space.factories)
        return BYTES * peak_floats(module, (spot.slot.width, *spot.size))
