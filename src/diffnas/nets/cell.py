"""The cell, the same class in a supernet, whose edges mix operations, and in a network, whose edges have one each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from diffnas.components.edge_weights import EdgeWeights
from diffnas.nets.backend import Backend, Run, applied
from diffnas.nets.partial_channels import Partial, Passing
from diffnas.nets.recompute import recomputed
from diffnas.nets.slot import Shared, Slot, Stream
from diffnas.nets.stacked import Stacked, stackable
from diffnas.nets.wiring import Wiring, nothing
from diffnas.skeleton import Join

# The value of a node. None stands for the zeros of a node that nothing feeds, and costs nothing.
Value = Tensor | None


Beside = Callable[[Sequence[Tensor]], Tensor]


def along_channels(maps: Sequence[Tensor]) -> Tensor:
    """Maps ``(B, C, H, W)`` concatenated along their channels."""
    return torch.cat(list(maps), dim=1)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a cell stands in a net. The frame of the net makes it.

    Attributes:
        kind: the kind of the cell, under which a space or a genotype has its edges.
        width: channels, or features, of its nodes.
        prepare: for each input of the cell, the module that brings it to ``width`` and to a common resolution.
        stride: the stride of the operations that read an input.
        out: channels of the operations' results; 0 takes ``width``.
        stream: the stream of tokens that it reads, in transformers; None elsewhere.
        gated: whether its operations are activations behind gates, in recurrent nets.
    """

    kind: str
    width: int
    prepare: Sequence[nn.Module]
    stride: int = 1
    out: int = 0
    stream: Stream | None = None
    gated: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "out", self.out or self.width)

    def slots(self, wiring: Wiring, *, affine: bool, pool_norm: bool = False, one_in: int = 1) -> list[Slot]:
        """The slot of each edge's operations. Only 1 of ``one_in`` channels goes through them."""
        shared = [Shared() for _ in range(wiring.nodes)]
        return [
            Slot(
                width=self.width // one_in,
                out=self.out // one_in,
                stride=self.stride if edge.source < wiring.inputs else 1,
                affine=affine,
                pool_norm=pool_norm,
                share=shared[edge.target],
                stream=self.stream,
                gated=self.gated,
            )
            for edge in wiring.edges
        ]


# For each edge of a network, the factor of its result, or None.
Factors = Sequence[Tensor | None]


class Cell(nn.Module):
    """Nodes that sum what their edges give, and an output that joins some of them.

    Args:
        wiring: which nodes read which.
        place: where the cell stands.
        edges: the module of each edge, which is called with the value of a node, a row of the weights, and a backend.
        join: how the output joins its nodes: "concat" along channels, or their "mean".
        fills: whether a node that nothing feeds gives zeros to its operations. If not, they give nothing either.
        partial: which channels bypass the operations; None if all go through them.
        norm: normalizes the value of each computed node; None for nothing.
        averages: whether a node is the mean of what its edges give, not their sum.
        stacks: whether a node's inputs are multiplied at once, if all operations are gated.
        ops: the names of the operations by their column, for messages.
    """

    def __init__(
        self,
        wiring: Wiring,
        place: Place,
        edges: Sequence[nn.Module],
        *,
        join: Join,
        fills: bool = False,
        partial: Partial | None = None,
        norm: nn.Module | None = None,
        averages: bool = False,
        stacks: bool = False,
        ops: Sequence[str] = (),
    ) -> None:
        super().__init__()
        assert len(place.prepare) == wiring.inputs
        assert len(edges) == len(wiring.edges)
        self.graph, self.kind, self.width, self.stride = wiring, place.kind, place.width, place.stride
        self.out, self.stream = place.out, place.stream
        self.join, self.fills, self.partial, self.ops = join, fills, partial, tuple(ops)
        self.averages, self.stacks = averages, stacks
        self.compiled: tuple[Backend, Run | None] | None = None
        self.stacked: tuple[Any, Stacked | None] | None = None
        self.norm = norm
        self.inputs = nn.ModuleList(place.prepare)
        self.edges = nn.ModuleList(edges)

    def forward(
        self, inputs: Sequence[Tensor], weights: EdgeWeights | Factors = (), backend: Backend | None = None
    ) -> Tensor:
        """The cell's output, ``(B, out, H, W)``; of a recurrent cell ``(B, out)``.

        Args:
            inputs: the tensors from which its input nodes are prepared.
            weights: in a supernet, the weights of its edges; in a network, the factors of its edges, empty for none.
            backend: computes the cell in training mode; None calls one operation after the other.
        """
        backend = backend if self.training else None
        if backend is not None and inputs[0].dim() == 4 and self.stream is None:  # kernels know only maps
            run = self._compiled_by(backend)
            if run is not None:
                return run(inputs, weights or [None] * len(self.edges))
        program = self._program(weights, inputs[0]) if self.stacks else None
        if program is not None:
            table = weights.table if isinstance(weights, EdgeWeights) else program.shares.to(inputs[0])
            return self.joined(self.outputs(program.values(self, self.inputs[0](inputs[0]), table)))
        return self.joined(self.outputs(self.values(inputs, weights, backend)))

    def joined(self, outputs: Sequence[Tensor], beside: Beside = along_channels) -> Tensor:
        """The output, from the values of the nodes that it joins; ``beside`` concatenates maps."""
        if len(outputs) == 1:
            return outputs[0]
        return beside(outputs) if self.join == "concat" else torch.stack(list(outputs)).mean(0)

    def changed(self) -> None:
        """Forget the compiled form of the cell; call this whenever its operations are changed."""
        self.compiled = self.stacked = None

    def _program(self, weights: EdgeWeights | Factors, like: Tensor) -> Stacked | None:
        """The stacked products of the operations that run; None if they are computed one after the other.

        That is so if an operation is not gated, and in a network with factors or out of training, which is exported.
        """
        runs, columns = None, len(self.ops)
        if isinstance(weights, EdgeWeights):
            runs, columns = weights.runs, weights.table.shape[1]
        elif not self.training or any(factor is not None for factor in weights):
            return None
        key = like.device, runs
        if self.stacked is None or self.stacked[0] != key:
            self.stacked = key, Stacked(self, runs, columns, like.device) if stackable(self) else None
        return self.stacked[1]

    def _compiled_by(self, backend: Backend) -> Run | None:
        if self.compiled is None or self.compiled[0] is not backend:
            self.compiled = backend, backend.compile(self)
        return self.compiled[1]

    def values(self, inputs: Sequence[Tensor], weights: EdgeWeights | Factors, backend: Backend | None) -> list[Value]:
        """The value of every node, computed one operation after the other."""
        rows: Sequence[Any] = weights.rows() if isinstance(weights, EdgeWeights) else weights
        rows = rows or [None] * len(self.edges)
        passing = self._passing(weights)
        values: list[Value] = [applied(prepare, x, backend) for prepare, x in zip(self.inputs, inputs, strict=True)]
        seen = list(values) if passing is None else [passing.split(node, value) for node, value in enumerate(values)]
        for node in range(self.graph.inputs, self.graph.nodes):
            total: Value = None
            incoming = self.graph.incoming(node)
            for row in incoming:
                value = seen[self.graph.edges[row].source]
                term = None if value is None else self.edges[row](value, rows[row], backend)
                if term is not None:
                    total = term if total is None else total + term
            if self.averages and total is not None and len(incoming) > 1:
                total = total / len(incoming)
            values.append(self._finished(node, total, values[0], passing))
            seen.append(values[node] if passing is None else passing.split(node, values[node]))
        return values

    def _passing(self, weights: EdgeWeights | Factors) -> Passing | None:
        if self.partial is None:
            return None
        assert isinstance(weights, EdgeWeights)
        assert weights.passing is not None
        return Passing(self.graph, self.partial, weights=weights.passing)

    def _finished(self, node: int, total: Value, first: Value, passing: Passing | None) -> Value:
        if passing is not None:
            return passing.join(node, total)
        if total is None and self.fills:
            assert first is not None
            return nothing(first, self.stride, self.out)
        return total if total is None or self.norm is None else cast(Tensor, self.norm(total))

    def outputs(self, values: Sequence[Value]) -> list[Tensor]:
        """The nodes that the output joins, from the values of all; zeros for a node that nothing feeds."""
        found = [values[node] for node in self.graph.output]
        known = next((value for value in found if value is not None), None)
        if known is None:
            like = values[0]
            assert like is not None
            known = nothing(like, self.stride, self.out)
        return [torch.zeros_like(known) if value is None else value for value in found]


def listed(cells: list[Cell], cell: Cell) -> Cell:
    """``cell``, after it was appended to ``cells``."""
    cells.append(cell)
    return cell


def runner(
    weights: Callable[[Cell], EdgeWeights | Factors], backend: Backend | None, *, recompute: bool
) -> Callable[[nn.Module, Sequence[Tensor]], Tensor]:
    """A function that computes a part of a frame, which is a cell or a block in place of a cell, from its inputs.

    Args:
        weights: gives the weights of the edges of a cell.
        backend: computes cells and blocks; None for PyTorch.
        recompute: whether the inside of a part is computed again in the backward pass in place of keeping it.
    """

    def run(part: nn.Module, inputs: Sequence[Tensor]) -> Tensor:
        arguments = (inputs, weights(part), backend) if isinstance(part, Cell) else (*inputs, backend)
        out: Tensor = recomputed(part, *arguments) if recompute else part(*arguments)
        return out

    return run
