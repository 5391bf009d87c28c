"""Lower bounds of the memory that training a net takes, from sizes alone, so that nothing need be built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import nn

from diffnas.genotype import Genotype
from diffnas.nets.frames.darts import preprocess
from diffnas.nets.frames.nas_bench_201 import ResidualBlock
from diffnas.nets.frames.plan import CellPlan, plan
from diffnas.nets.ops import OPS, build
from diffnas.nets.sizes import published_shape, widths_of
from diffnas.nets.slot import Slot
from diffnas.skeleton import Skeleton, StemKind, skeleton_of
from diffnas.space import WEIGHTLESS_OPS, SearchSpace

# For each edge of a kind of cell: its operations, and whether it starts at an input of the cell.
Edges = Sequence[tuple[Sequence[str], bool]]

_SHRINKS: dict[StemKind, int] = {"cifar": 1, "cifar-half": 2, "imagenet": 8, "resnet": 4, "patch": 4}


@dataclass(frozen=True, kw_only=True)
class Outline:
    """The sizes of a net that is not built yet.

    Attributes:
        skeleton, stem: how the cells are stacked, and the layers before them.
        cells: the cells in order.
        inputs: for each kind of cell, how many inputs it has.
        edges: for each kind of cell, its edges.
        one_in: 1 of ``one_in`` channels goes through the operations.
    """

    skeleton: Skeleton
    stem: StemKind
    cells: tuple[CellPlan, ...]
    inputs: Mapping[str, int]
    edges: Mapping[str, Edges]
    one_in: int = 1

    def weights(self) -> int:
        """How many weights the cells have, without those of users' own operations."""
        return sum(self._weights(cell) for cell in self.cells)

    def maps(self, size: tuple[int, int], *, inside: bool) -> int:
        """The least number of activations that the cells keep of one picture for the backward pass.

        Args:
            size: height and width of a picture.
            inside: whether a cell keeps a map of each operation that learns, beside its own output.
        """
        total, (height, width) = 0, (-(-side // _SHRINKS[self.stem]) for side in size)
        for cell in self.cells:
            if cell.reduces:
                height, width = -(-height // 2), -(-width // 2)
            learning = sum(op in OPS and op not in WEIGHTLESS_OPS for ops, _ in self._edges(cell) for op in ops)
            kept = learning * (cell.channels // self.one_in) if inside else 0
            total += (cell.out + kept) * height * width
        return total

    def _edges(self, cell: CellPlan) -> Edges:
        return () if cell.kind is None else self.edges[cell.kind]

    def _weights(self, cell: CellPlan) -> int:
        if cell.kind is None:
            return _of_block(cell.previous, cell.channels)
        total = _of_inputs(self.skeleton, cell, self.inputs[cell.kind])
        for ops, from_input in self._edges(cell):
            stride = 2 if cell.reduces and from_input else 1
            width = cell.previous if self.skeleton.single_path else cell.channels
            slot = Slot(width=width // self.one_in, out=cell.channels // self.one_in, stride=stride)
            total += sum(_of_op(op, slot) for op in ops if op in OPS)
        return total


def of_space(
    space: SearchSpace,
    *,
    channels: int | None,
    depth: int | None,
    stem: StemKind,
    one_in: int = 1,
    among: Sequence[str] | None = None,
) -> Outline:
    """The outline of a supernet; ``among`` are the operations with which it begins, all if None."""
    widths = {kind: len(graph.output) for kind, graph in space.cells.items()}
    skeleton = skeleton_of(space.skeleton)
    channels, depth = channels or space.channels, depth or space.depth
    edges = {
        kind: [
            (
                [op for op in ops if (among is None or op in among) and op not in space.factories],
                edge.source < graph.inputs,
            )
            for edge, ops in zip(graph.edges, graph.ops, strict=True)
        ]
        for kind, graph in space.cells.items()
    }
    return Outline(
        skeleton=skeleton,
        stem=stem,
        cells=plan(skeleton, widths, channels, depth, stem),
        inputs={kind: graph.inputs for kind, graph in space.cells.items()},
        edges=edges,
        one_in=one_in,
    )


def of_genotype(genotype: Genotype, *, channels: int | None, depth: int | None, stem: StemKind) -> Outline:
    """The outline of a network."""
    usual_channels, usual_depth = published_shape(genotype.skeleton, stem)
    skeleton = skeleton_of(genotype.skeleton)
    channels, depth = channels or usual_channels, depth or genotype.depth or usual_depth
    places = plan(skeleton, widths_of(genotype), channels, depth, stem)
    edges = {
        kind: [
            ([each.op], each.source < cell.inputs)
            for each in (cell.effective if skeleton.drops_dead_nodes else cell.connections)
        ]
        for kind, cell in genotype.cells.items()
    }
    inputs = {kind: cell.inputs for kind, cell in genotype.cells.items()}
    return Outline(skeleton=skeleton, stem=stem, cells=places, inputs=inputs, edges=edges)


def of_skeleton(space: SearchSpace, *, channels: int | None, depth: int | None, stem: StemKind) -> Outline:
    """The smallest outline of a network with any cells of a space: each cell has no operations and one output node."""
    usual_channels, usual_depth = published_shape(space.skeleton, stem)
    skeleton = skeleton_of(space.skeleton)
    cells = plan(skeleton, dict.fromkeys(space.cells, 1), channels or usual_channels, depth or usual_depth, stem)
    inputs = {kind: graph.inputs for kind, graph in space.cells.items()}
    edges: dict[str, Edges] = dict.fromkeys(space.cells, ())
    return Outline(skeleton=skeleton, stem=stem, cells=cells, inputs=inputs, edges=edges)


@cache
def _of_op(op: str, slot: Slot) -> int:
    with torch.device("meta"):
        return _count(build(op, slot))


@cache
def _of_block(before: int, channels: int) -> int:
    with torch.device("meta"):
        return _count(ResidualBlock(before, channels))


def _of_inputs(skeleton: Skeleton, cell: CellPlan, inputs: int) -> int:
    if skeleton.single_path:
        return 0
    with torch.device("meta"):
        return sum(_count(each) for each in preprocess(cell, inputs, affine=False))


def _count(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())
