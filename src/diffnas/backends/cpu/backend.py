"""The backend for float32 on a CPU; import this module only where Numba is installed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from diffnas.backends.cpu import cell_function, launches
from diffnas.backends.cpu.network_ops import chained
from diffnas.backends.cpu.plan import Plan, plan
from diffnas.backends.reasons import why_not_on
from diffnas.backends.schedule import schedule, why_unknown
from diffnas.components.edge_weights import EdgeWeights
from diffnas.nets.cell import Cell, Factors
from diffnas.parallel import alone


class CPU:
    """Computes cells with kernels in Numba, and with PyTorch only the operations that have no kernel."""

    name = "cpu"

    def why_not(self, x: Tensor) -> str | None:
        """The reason why nets cannot be trained on such pictures this way; None if they can."""
        return why_not_on("cpu", x)

    def compile(self, cell: Cell) -> CompiledCell:
        """What computes a cell as it is now."""
        return CompiledCell(cell)

    def why_slower(self, cell: Cell) -> str | None:
        """The reason why PyTorch computes a part of the cell; None if our kernels compute all of it."""
        return why_unknown(cell, schedule(cell, compiled=True))

    def computing(self, threads: int) -> AbstractContextManager[None]:
        """A context in which the kernels compute with this many threads, and PyTorch with one."""
        return alone(threads)

    def apply(self, op: nn.Module, x: Tensor) -> Tensor:
        """``op(x)`` in training mode."""
        return chained(op, x)


class CompiledCell:
    """A cell in training mode, with the operations that it had when this was made."""

    def __init__(self, cell: Cell) -> None:
        self.cell, self.schedule = cell, schedule(cell, compiled=True)
        self.plans: dict[Any, Plan] = {}
        self.ones = torch.ones(len(cell.edges), len(cell.ops))

    def __call__(self, inputs: Sequence[Tensor], weights: EdgeWeights | Factors) -> Tensor:
        """The cell's output, ``(B, out, H, W)``."""
        prepare = self.schedule.prepare
        inputs = [module(x) if links is None else x for (module, links), x in zip(prepare, inputs, strict=True)]
        return self.cell.joined(self.cell.outputs(self._values(inputs, weights)), launches.joined)

    def _values(self, inputs: Sequence[Tensor], weights: EdgeWeights | Factors) -> list[Tensor | None]:
        graph, planned = self.cell.graph, self._plan(inputs)
        if not any(planned.fed(node) for node in graph.output):
            # All outputs are zeros; only the inputs are computed, for the statistics of their batch norms.
            pairs = zip(self.schedule.prepare, inputs, strict=True)
            known = [x if links is None else module(x) for (module, links), x in pairs]
            return [*known, *[None] * (graph.nodes - graph.inputs)]
        if not isinstance(weights, EdgeWeights):
            return cell_function.values(planned, graph.output, inputs, self.ones, shares_of(weights, len(inputs[0])))
        mix = weights.table
        if weights.passing is not None:
            mix = torch.cat([mix, weights.passing.unsqueeze(1)], dim=1)
        return cell_function.values(planned, graph.output, inputs, mix)

    def _plan(self, inputs: Sequence[Tensor]) -> Plan:
        """The plan for inputs of these sizes."""
        sizes = tuple(tuple(x.shape[1:]) for x in inputs)
        if sizes not in self.plans:
            self.plans[sizes] = plan(self.cell, sizes, self.schedule)
        return self.plans[sizes]


def shares_of(factors: Factors, pictures: int) -> Any:
    """The factor of the result of each edge of a network in each picture, ``(edges, pictures)``, float32."""
    shares = np.ones((len(factors), pictures), np.float32)
    for row, factor in enumerate(factors):
        if factor is not None:
            shares[row] = factor.detach().numpy()  # NumPy warns of tensors on Python 3.10
    return shares
