"""The supernet: each edge has all of its operations in play, mixed by weights that are given to ``forward``."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from diffnas.components.edge_weights import EdgeWeights, edge_weights
from diffnas.components.schedule import Moment
from diffnas.components.supernet_options import DARTS_SUPERNET, SupernetOptions
from diffnas.nets import ops
from diffnas.nets.auxiliary import Output
from diffnas.nets.backend import Backend, usable
from diffnas.nets.cell import Cell, Place, Value, listed, runner
from diffnas.nets.frames import Reading, build_frame
from diffnas.nets.frames.parts import as_weights
from diffnas.nets.inherit import inherit_
from diffnas.nets.ops.recurrent import OverBatch
from diffnas.nets.ops.transformer import Leveled, TokenNorm
from diffnas.nets.partial_channels import Partial
from diffnas.nets.sizes import sizes_of_space
from diffnas.nets.slot import Slot
from diffnas.nets.wiring import Wiring, nothing
from diffnas.skeleton import StemKind, skeleton_of
from diffnas.space import SearchSpace

if TYPE_CHECKING:
    from typing_extensions import Unpack


class MixedEdge(nn.Module):
    """The operations in play on one edge of one cell, by their column of alpha. ``none`` has no module.

    An auxiliary skip has a column of its own, after those of alpha.

    Args:
        space: the space of the operations.
        offered: the operations that the edge offers, in the order in which they are summed.
        slot: where the operations stand.
        options: what differs from the supernet of DARTS.
        among: the operations that have modules at first, if the edge offers them; None for all.
    """

    def __init__(
        self,
        space: SearchSpace,
        offered: Sequence[str],
        slot: Slot,
        options: SupernetOptions = DARTS_SUPERNET,
        among: Container[str] | None = None,
    ) -> None:
        super().__init__()
        self.space, self.slot, self.options = space, slot, options
        self.offered = {op: str(space.ops.index(op)) for op in offered if op != "none"}
        stream = slot.stream
        self.before = None if stream is None else TokenNorm(slot.width, stream.norm, affine=slot.affine)
        self.ops = nn.ModuleDict()
        for op, column in self.offered.items():
            if among is None or op in among:
                self.ops[column] = self._build(op)
        if options.auxiliary is not None:
            self.ops[str(len(space.ops))] = ops.build("skip_connect", slot)

    def _build(self, op: str) -> nn.Module:
        module = ops.build(op, self.slot, factories=self.space.factories)
        if self.options.dropout is not None and op == "skip_connect" and type(module) is nn.Identity:
            return ops.DroppedSkip()
        return module

    def prune_(self, kept: Sequence[bool]) -> None:
        """Free the modules of operations that are not kept; ``kept`` has an entry for each column."""
        for column in [name for name in self.ops if int(name) < len(kept) and not kept[int(name)]]:
            del self.ops[column]

    def replace_(self, kept: Sequence[bool], parents: Mapping[int, int], like: Tensor) -> None:
        """Make modules for exactly the kept operations, in the order in which the edge offers them.

        Args:
            kept: for each column, whether it is kept.
            parents: from the column of an operation that is made anew to the column whose weights it inherits.
            like: a tensor with the dtype and the device of new weights.
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

    def forward(self, x: Tensor, row: tuple[Tensor, Sequence[bool] | None], backend: Backend | None = None) -> Value:
        """The weighted sum of the operations, ``(B, C, H, W)``.

        ``row`` has a weight for each column, ``(columns,)``, and which columns run, None if all do. The weights of
        columns that do not run are added to the sum as numbers, so that they get gradients.
        """
        mix, runs = row[0].unbind(), row[1]
        columns = [column for column in self.ops if runs is None or runs[int(column)]]
        normed = self.before(x) if columns and self.before is not None else x
        out: Value = None
        for column in columns:
            op = self.ops[column]
            term = op(normed if isinstance(op, Leveled) else x) * mix[int(column)]
            out = term if out is None else out + term
        return out if runs is None else self._with_idle(out, x, mix, runs)

    def _with_idle(self, out: Value, x: Tensor, mix: tuple[Tensor, ...], runs: Sequence[bool]) -> Tensor:
        out = nothing(x, self.slot.stride, self.slot.out) if out is None else out
        return out + sum(weight for weight, does in zip(mix, runs, strict=True) if not does)


def mixed_cell(
    space: SearchSpace, place: Place, options: SupernetOptions = DARTS_SUPERNET, among: Container[str] | None = None
) -> Cell:
    """A cell of a supernet.

    Args:
        space: the space of the operations.
        place: where the cell stands.
        options: what differs from the supernet of DARTS.
        among: the operations that have modules at first, on edges that offer them; None for all.
    """
    graph, skeleton = space.cells[place.kind], skeleton_of(space.skeleton)
    wiring = Wiring(inputs=graph.inputs, nodes=graph.nodes, edges=graph.edges, output=graph.output)
    slots = place.slots(wiring, affine=False, pool_norm=skeleton.normed_pools, one_in=options.one_in)
    edges = [MixedEdge(space, offered, slot, options, among) for offered, slot in zip(graph.ops, slots, strict=True)]
    norm = OverBatch() if skeleton.normed_nodes else None
    partial = Partial(one_in=options.one_in, halves=place.stride > 1) if options.one_in > 1 else None
    return Cell(
        wiring,
        place,
        edges,
        join=skeleton.join,
        partial=partial,
        norm=norm,
        stacks=skeleton.gated,
        ops=space.ops,
    )


def _check_partial(channels: int, one_in: int) -> None:
    """Refuse channels of which no whole number can go through the operations."""
    if channels % one_in:
        raise ValueError(
            f"1 in {one_in} of {channels} channels is not a whole number. Take channels that are a multiple of "
            f"{one_in}, or another number of partial channels (--supernet partial-channels:2)."
        )


class Supernet(nn.Module):
    """All networks of a space at once (DARTS, Liu et al., 2019, section 2.2).

    The cells hold no architecture parameters: ``forward`` takes the mixing weights. Batch norms of the operations
    have no weight and bias, which could undo a mixing weight.

    Args:
        space: the operations of each edge.
        classes: number of logits.
        in_channels: channels of the pictures, features of vectors, or the size of the vocabulary.
        channels: channels of the first cell's nodes; None takes the space's.
        depth: number of cells; None takes the space's.
        stem: the layers before the cells.
        backend: computes the cells in training mode, for the same values and gradients up to rounding. The gradients
            cannot be differentiated again. None calls one operation after the other. The attribute may be set anytime.
        recompute: compute the inside of each cell again in the backward pass in place of keeping it. The results are
            the same, with less memory and more time. The attribute may be set anytime.
        options: what differs from the supernet of DARTS.
        auxiliary: whether to add an auxiliary head at two thirds of the depth, which runs in training mode only.
        among: the operations that have modules at first, on edges that offer them; None for all. ``replace_`` makes
            others.
        picture: height and width of the pictures, for frames with tables of positions; or the steps of a sequence that
            such a frame reads at once, ``(steps,)``.
        sequences: how a net reads sequences: ``tokens``, ``forecast``, ``dropouts`` and ``start`` of
            :class:`diffnas.nets.frames.Sizes`.

    Attributes:
        edges: how many edges all kinds of cell have together.

    Raises:
        ValueError: for an operation, a stem, channels or a depth that no net can have.

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
        options: SupernetOptions = DARTS_SUPERNET,
        auxiliary: bool = False,
        among: Container[str] | None = None,
        picture: tuple[int, ...] = (32, 32),
        **sequences: Unpack[Reading],
    ) -> None:
        super().__init__()
        self.backend = backend
        self.recompute = recompute
        self.space, self.options = space, options
        self.edges = len(space.edges)
        wanted: dict[str, Any] = {"channels": channels, "depth": depth, "stem": stem, "picture": picture, **sequences}
        sizes = sizes_of_space(space, classes, in_channels, auxiliary=auxiliary, **wanted)
        _check_partial(sizes.channels, options.one_in)
        self.cells: list[Cell] = []  # the same cells as in the frame, which has them as submodules
        self.frame = build_frame(sizes, lambda place: listed(self.cells, mixed_cell(space, place, options, among)))

    def even(self, keep: Tensor | None = None) -> EdgeWeights:
        """The weights of the edges under which all operations weigh the same: those in ``keep``, or all offered."""
        like = next(self.parameters())
        among = torch.tensor(self.space.offered) if keep is None else keep
        mix = among.to(like) / among.sum(dim=1, keepdim=True).clamp_min(1).to(like)
        return edge_weights(mix, self.options, Moment(epoch=0, step=0, epochs=1, steps=1))

    def node_variances(self, x: Tensor, mix: EdgeWeights) -> dict[str, list[float]]:
        """The variance of every node that a cell computes, by the kind of the cell; the mean over all such cells."""
        found: dict[str, list[Tensor]] = {}

        def run(part: nn.Module, inputs: Sequence[Tensor]) -> Tensor:
            if not isinstance(part, Cell):
                return part(*inputs, None)  # type: ignore[no-any-return]
            values = part.values(inputs, mix.of(self.space.rows[part.kind]), None)
            known = [x.new_zeros(()) if value is None else value.var() for value in values[part.graph.inputs :]]
            found.setdefault(part.kind, []).append(torch.stack([each.float() for each in known]))
            return part.joined(part.outputs(values))

        self.frame(x, run)
        return {kind: torch.stack(rows).mean(dim=0).tolist() for kind, rows in found.items()}

    def forward(self, x: Tensor, mix: EdgeWeights | Tensor | None = None) -> Tensor | Output:
        """Logits, ``(B, classes)``, for pictures ``(B, C, H, W)``.

        With an auxiliary head, in training mode, an ``Output`` with its logits too.

        Args:
            x: the pictures.
            mix: the weights of the edges, made by :func:`diffnas.components.edge_weights.edge_weights`. If nothing
                stands beside the operations, their mixing weights ``(edges, ops)`` are enough. None weighs all
                offered operations the same.

        Raises:
            ValueError: for weights of other shapes.
        """
        mix = self.even() if mix is None else mix
        weights = self._checked(EdgeWeights(mix) if isinstance(mix, Tensor) else mix)
        backend = None if self.options.drawn else usable(self.backend, as_weights(self, x))
        if backend is not None:
            x = x.contiguous(memory_format=torch.channels_last)
        if self.options.drawn:
            weights = weights._replace(runs=(weights.table != 0).tolist())

        def of_cell(cell: Cell) -> EdgeWeights:
            return weights.of(self.space.rows[cell.kind])

        logits, auxiliary = self.frame(x, runner(of_cell, backend, recompute=self.recompute))
        return logits if auxiliary is None else Output(logits, auxiliary)

    def _checked(self, weights: EdgeWeights) -> EdgeWeights:
        """The weights of the edges, in the dtype of the net's parameters.

        Raises:
            ValueError: if a shape is wrong.
        """
        one, options = (self.edges,), self.options
        wanted = {
            "operations": (self.edges, len(self.space.ops)),
            "the auxiliary skip": None if options.auxiliary is None else one,
            "passing channels": one if options.one_in > 1 else None,
        }
        for (what, shape), tensor in zip(wanted.items(), weights[:3], strict=True):
            found = None if tensor is None else tuple(tensor.shape)
            if found != shape:
                raise ValueError(f"the weights of {what} must be {shape}, got {found}; make them with edge_weights().")
        # Weights are computed in float32 even if activations are in half precision, so they are cast here.
        dtype = next(self.parameters()).dtype
        return weights.map(lambda each: each.to(dtype))

    def prune_(self, keep: Tensor) -> None:
        """Free the modules of all operations that are not in ``keep``, in every cell of their kind.

        Args:
            keep: ``(edges, ops)``, bool. Only ``replace_`` brings an operation back, with new weights.
        """
        kept = keep.tolist()
        for edge, row in self._edges():
            edge.prune_(kept[row])

    def replace_(self, keep: Tensor, parents: Mapping[tuple[int, int], int]) -> None:
        """Make modules for exactly the operations in ``keep``, in every cell of their kind.

        Args:
            keep: ``(edges, ops)``, bool.
            parents: from the place (row, column) of an operation to the column of its parent on the same edge. The
                operation is made anew, also if it has a module, and inherits the parent's weights. A kept operation
                without a parent keeps its module, or gets new weights if it has none.
        """
        like, kept = next(self.parameters()), keep.tolist()
        by_row: dict[int, dict[int, int]] = {}
        for (row, column), parent in parents.items():
            by_row.setdefault(row, {})[column] = parent
        for edge, row in self._edges():
            edge.replace_(kept[row], by_row.get(row, {}), like)

    def _edges(self) -> Iterator[tuple[MixedEdge, int]]:
        """The edges of all cells and their rows. Compiled forms of the cells are forgotten, so the edges may change."""
        for cell in self.cells:
            cell.changed()
            for row, edge in enumerate(cell.edges, self.space.rows[cell.kind].start):
                assert isinstance(edge, MixedEdge)
                yield edge, row
