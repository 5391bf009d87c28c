"""The supernet: every operation still in play on every edge, mixed by weights that come from outside."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from diffnas.components.changes import UNCHANGED, Changes
from diffnas.nets import ops
from diffnas.nets.auxiliary import AuxiliaryHead, Output
from diffnas.nets.backend import Backend, Run, usable
from diffnas.nets.inherit import inherit_
from diffnas.nets.partial_channels import Passing
from diffnas.nets.recompute import recomputed
from diffnas.nets.skeleton import CellPlan, ResidualBlock, Stem, StemKind, as_weights, head, plan, preprocess
from diffnas.nets.slot import Shared, Slot
from diffnas.skeleton import skeleton_of
from diffnas.space import CellGraph, SearchSpace

# The value of a node: None is the zeros of a node that nothing feeds, which cost nothing.
Value = Tensor | None


class MixedEdge(nn.Module):
    """The operations still in play on one edge of one cell, by their column of alpha. ``none`` needs no module.

    An auxiliary skip stands behind the last column.

    Args:
        space: the space the operations come from.
        offered: the operations that may stand here, in the order in which they are added up.
        slot: where the operations stand.
        changes: to what DARTS has.
        among: the operations that stand here at first, if they are offered; None for all.
    """

    def __init__(
        self,
        space: SearchSpace,
        offered: Sequence[str],
        slot: Slot,
        changes: Changes = UNCHANGED,
        among: Container[str] | None = None,
    ) -> None:
        super().__init__()
        self.space, self.slot, self.changes = space, slot, changes
        self.offered = {op: str(space.ops.index(op)) for op in offered if op != "none"}
        self.ops = nn.ModuleDict()
        for op, column in self.offered.items():
            if among is None or op in among:
                self.ops[column] = self._build(op)
        if changes.auxiliary is not None:
            self.ops[str(len(space.ops))] = ops.build("skip_connect", slot)

    def _build(self, op: str) -> nn.Module:
        module = ops.build(op, self.slot, factories=self.space.factories)
        if self.changes.dropout is not None and op == "skip_connect" and type(module) is nn.Identity:
            return ops.DroppedSkip()
        return module

    def prune_(self, kept: Sequence[bool]) -> None:
        """Free what is no longer kept."""
        for column in [name for name in self.ops if int(name) < len(kept) and not kept[int(name)]]:
            del self.ops[column]

    def replace_(self, kept: Sequence[bool], parents: Mapping[int, int], like: Tensor) -> None:
        """Have modules of exactly what is kept, in the order in which the edge offers it.

        Args:
            kept: of every column.
            parents: the columns of operations that are made anew, and of those whose weights they inherit.
            like: new weights are of its dtype and on its device.
        """
        before, beside = self.ops, str(len(self.space.ops))
        self.ops = nn.ModuleDict()
        for op, column in self.offered.items():
            if not kept[int(column)]:
                continue
            parent = parents.get(int(column))
            if column in before and parent is None:
                self.ops[column] = before[column]
                continue
            made = self._build(op).to(like.device, like.dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
            if parent is not None:
                inherit_(made, before[str(parent)])
            self.ops[column] = made
        if beside in before:
            self.ops[beside] = before[beside]

    def forward(self, x: Tensor, mix: tuple[Tensor, ...], runs: Sequence[bool] | None = None) -> Value:
        """The weighted sum of the operations, ``(B, C, H, W)``; ``mix`` holds a scalar for each column.

        ``runs`` says which operations run, if not all do: the weights of the others are added to the sum.
        """
        if runs is not None:
            return self._drawn(x, mix, runs)
        out: Value = None
        for column, op in self.ops.items():
            term = op(x) * mix[int(column)]
            out = term if out is None else out + term
        return out

    def _drawn(self, x: Tensor, mix: tuple[Tensor, ...], runs: Sequence[bool]) -> Tensor:
        ran = [op(x) * mix[int(column)] for column, op in self.ops.items() if runs[int(column)]]
        out = sum(ran[1:], ran[0]) if ran else x.new_zeros(x[:, :, :: self.slot.stride, :: self.slot.stride].shape)
        return out + sum(weight for weight, does in zip(mix, runs, strict=True) if not does)


def slots_of(graph: CellGraph, cell: CellPlan, *, pool_norm: bool, share: int) -> list[Slot]:
    """Where the operations of every edge of a cell stand; ``share``: one in so many channels goes through them."""
    shared = [Shared() for _ in range(graph.nodes)]
    return [
        Slot(
            width=cell.channels // share,
            stride=2 if cell.reduces and edge.source < graph.inputs else 1,
            pool_norm=pool_norm,
            share=shared[edge.target],
        )
        for edge in graph.edges
    ]


class MixedCell(nn.Module):
    """A cell of the supernet; every edge is mixed.

    Args:
        space: the space the operations come from.
        graph: the graph of this kind of cell.
        cell: its place and channels.
        changes: to what DARTS has.
        among: the operations that stand on its edges at first, where they are offered; None for all.
    """

    def __init__(
        self,
        space: SearchSpace,
        graph: CellGraph,
        cell: CellPlan,
        changes: Changes = UNCHANGED,
        among: Container[str] | None = None,
    ) -> None:
        super().__init__()
        self.graph, self.ops = graph, space.ops
        self.share, self.drawn = changes.share, changes.drawn
        self.reduces = cell.reduces
        self.channels = cell.channels
        self.compiled: tuple[Backend, Run] | None = None
        self.inputs = preprocess(skeleton_of(space.skeleton), cell, graph.inputs, affine=False)
        slots = slots_of(graph, cell, pool_norm=skeleton_of(space.skeleton).normed_pools, share=changes.share)
        self.edges = nn.ModuleList(
            MixedEdge(space, offered, slot, changes, among) for offered, slot in zip(graph.ops, slots, strict=True)
        )

    def forward(self, older: Tensor, newer: Tensor, mix: Tensor, backend: Backend | None = None) -> Tensor:
        """The cell's output, ``(B, out, H, W)``.

        Args:
            older: the output of the cell before the previous one.
            newer: the output of the previous cell.
            mix: the weights of the edges of this kind of cell, ``(edges, columns)``.
            backend: what computes the cell in training mode; None calls one operation after the other.
        """
        sources = (newer,) if self.graph.inputs == 1 else (older, newer)
        if backend is not None and self.training:
            return self._compiled_by(backend)(sources, mix)
        return torch.cat(self.outputs(self._values(sources, mix)), dim=1)

    def changed(self) -> None:
        """Forget what a backend has made of the operations: they are no longer the same."""
        self.compiled = None

    def _compiled_by(self, backend: Backend) -> Run:
        if self.compiled is None or self.compiled[0] is not backend:
            self.compiled = backend, backend.compile(self)
        return self.compiled[1]

    def _values(self, sources: Sequence[Tensor], mix: Tensor) -> list[Value]:
        """The value of every node, one operation after the other."""
        passing = Passing(self.graph, self.share, halves=self.reduces, weights=mix[:, -1])
        values: list[Value] = [prepare(source) for prepare, source in zip(self.inputs, sources, strict=True)]
        seen = [passing.split(node, value) for node, value in enumerate(values)]
        rows = [row.unbind() for row in mix.unbind()]
        runs = (mix != 0).tolist() if self.drawn else [None] * len(rows)
        for node in range(self.graph.inputs, self.graph.nodes):
            total: Value = None
            for row in self.graph.incoming(node):
                value = seen[self.graph.edges[row].source]
                term = None if value is None else self.edges[row](value, rows[row], runs[row])
                if term is not None:
                    total = term if total is None else total + term
            values.append(passing.join(node, total))
            seen.append(passing.split(node, values[node]))
        return values

    def outputs(self, values: Sequence[Value]) -> list[Tensor]:
        """The nodes that the output joins, from the values of all; zeros for a node that nothing feeds."""
        found = [values[node] for node in self.graph.output]
        known = next((value for value in found if value is not None), None)
        if known is None:
            like = values[0]
            assert like is not None
            stride = 2 if self.reduces else 1
            known = like[:, :, ::stride, ::stride]
        return [torch.zeros_like(known) if value is None else value for value in found]


class Supernet(nn.Module):
    """All networks of a space at once (DARTS, Liu et al., 2019, section 2.2).

    The cells hold no architecture parameters: ``forward`` takes the mixing weights. Batch norms of the operations
    have no weight and bias of their own, so that a mixing weight cannot be undone by them.

    Args:
        space: which operations stand on which edges.
        classes: number of logits.
        in_channels: channels of the pictures.
        channels: channels of the first cell's nodes; None takes the space's.
        depth: number of cells; None takes the space's.
        stem: what stands before the cells.
        backend: what computes the cells in training mode, for the same values and gradients up to rounding, but
            without gradients that can be differentiated again; None calls one operation after the other. The
            attribute of this name may be set at any time.
        recompute: keep nothing of the inside of a cell, and compute it again in the backward pass: the same results
            for less memory and more time. The attribute of this name may be set at any time, too.
        changes: to what DARTS has.
        auxiliary: whether to add an auxiliary head at two thirds of the depth, which runs in training mode only.
        among: the operations that there are at first, where edges offer them; None for all. ``replace_`` makes others.

    Attributes:
        edges: how many edges all kinds of cell have.
        columns: how many mixing weights an edge has: those of its operations, then one for an auxiliary skip, then
            one for the channels that pass by, if there are; :func:`diffnas.components.changes.weave` makes them.

    Raises:
        ValueError: for an operation, a stem, channels or a number of cells that no net can be built from.

    >>> from diffnas.space import nas_bench_201
    >>> supernet = Supernet(nas_bench_201, classes=10, channels=4, depth=5)
    >>> supernet(torch.zeros(2, 3, 8, 8), torch.full((6, 5), 0.2)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        classes: int,
        in_channels: int = 3,
        channels: int | None = None,
        depth: int | None = None,
        stem: StemKind = "cifar",
        backend: Backend | None = None,
        recompute: bool = False,
        changes: Changes = UNCHANGED,
        auxiliary: bool = False,
        among: Container[str] | None = None,
    ) -> None:
        super().__init__()
        self.backend = backend
        self.recompute = recompute
        self.space = space
        channels = space.channels if channels is None else channels
        if channels % changes.share:
            raise ValueError(
                f"one in {changes.share} of {channels} channels is no whole number; take a multiple of "
                f"{changes.share} as channels, or another share (--supernet partial-channels:2)."
            )
        self.drawn = changes.drawn
        self.edges = len(space.edges)
        self.columns = len(space.ops) + (changes.auxiliary is not None) + (changes.share > 1)
        skeleton = skeleton_of(space.skeleton)
        widths = {kind: len(graph.output) for kind, graph in space.cells.items()}
        self.plan = plan(skeleton, widths, channels, space.depth if depth is None else depth, stem)
        self.stem = Stem(skeleton, stem, in_channels, channels)
        self.cells = nn.ModuleList(
            ResidualBlock(cell.previous, cell.channels)
            if cell.kind is None
            else MixedCell(space, space.cells[cell.kind], cell, changes, among)
            for cell in self.plan
        )
        self.head = head(skeleton, self.plan[-1].out, classes)
        self.auxiliary_at = 2 * len(self.plan) // 3
        imagenet = stem == "imagenet"
        out = self.plan[self.auxiliary_at].out
        self.auxiliary = AuxiliaryHead(out, classes, imagenet=imagenet) if auxiliary else None

    def forward(self, x: Tensor, mix: Tensor) -> Tensor | Output:
        """Logits, ``(B, classes)``, for pictures ``(B, C, H, W)`` and mixing weights ``(edges, columns)``.

        With an auxiliary head, in training mode: its logits too.

        Raises:
            ValueError: for mixing weights of another shape.
        """
        if mix.shape != (self.edges, self.columns):
            raise ValueError(f"mixing weights must be {(self.edges, self.columns)}, got {tuple(mix.shape)}.")
        x = as_weights(self, x)
        # Cast last: the weights are made in float32 even where activations are in half precision.
        mix = mix.to(x.dtype)
        backend = None if self.drawn else usable(self.backend, x)
        if backend is not None:
            x = x.contiguous(memory_format=torch.channels_last)
        older, newer = self.stem(x)
        auxiliary = None
        for cell, planned in zip(self.cells, self.plan, strict=True):
            if planned.kind is None:
                arguments: tuple[Any, ...] = (newer, backend)
            else:
                arguments = (older, newer, mix[self.space.rows[planned.kind]], backend)
            out = recomputed(cell, *arguments) if self.recompute else cell(*arguments)
            older, newer = newer, out
            if self.auxiliary is not None and self.training and planned.index == self.auxiliary_at:
                auxiliary = self.auxiliary(newer)
        logits: Tensor = self.head(newer)
        return logits if auxiliary is None else Output(logits, auxiliary)

    def prune_(self, keep: Tensor) -> None:
        """Free the modules of every operation that is no longer kept, in every cell of its kind; all else stays.

        Args:
            keep: ``(edges, ops)``, bool. What is gone comes back only by ``replace_``, and anew.
        """
        kept = keep.tolist()
        for edge, row in self._edges():
            edge.prune_(kept[row])

    def replace_(self, keep: Tensor, parents: Mapping[tuple[int, int], int]) -> None:
        """Have the modules of exactly what is kept, in every cell of its kind; those that stay are not touched.

        Args:
            keep: ``(edges, ops)``, bool.
            parents: for the places (row, column) of operations to make anew, even if there is one, the column of the
                operation on the same edge whose weights they inherit. What is kept, not there and not in here begins
                with weights of its own.
        """
        like, kept = next(self.parameters()), keep.tolist()
        by_row: dict[int, dict[int, int]] = {}
        for (row, column), parent in parents.items():
            by_row.setdefault(row, {})[column] = parent
        for edge, row in self._edges():
            edge.replace_(kept[row], by_row.get(row, {}), like)

    def _edges(self) -> Iterator[tuple[MixedEdge, int]]:
        """The edges of all cells, about to be changed, and their rows."""
        for cell, planned in zip(self.cells, self.plan, strict=True):
            if planned.kind is not None:
                assert isinstance(cell, MixedCell)
                cell.changed()
                for row, edge in enumerate(cell.edges, self.space.rows[planned.kind].start):
                    assert isinstance(edge, MixedEdge)
                    yield edge, row
