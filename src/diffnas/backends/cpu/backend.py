"""The backend for float32 on a CPU; import this module only where Numba is installed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor, nn

from diffnas.backends.cpu import cell_function, sums
from diffnas.backends.cpu.network_ops import chained
from diffnas.backends.cpu.node_kernels import KERNELS
from diffnas.backends.cpu.plan import Plan, plan
from diffnas.backends.node_by_node import NodeByNode
from diffnas.backends.reasons import why_not_on
from diffnas.backends.schedule import Schedule, schedule, why_unknown
from diffnas.components.edge_weights import EdgeWeights
from diffnas.nets.cell import Cell
from diffnas.parallel import alone


class CPU:
    """Kernels that Numba compiles: a whole cell is one call where they know all of it, else node by node."""

    name = "cpu"

    def why_not(self, x: Tensor) -> str | None:
        """The reason why nets cannot be trained on such pictures this way; None if they can."""
        return why_not_on("cpu", x)

    def compile(self, cell: Cell) -> CompiledCell:
        """What computes a cell as it is now."""
        return CompiledCell(cell)

    def why_slower(self, cell: Cell) -> str | None:
        """The reason why a cell is computed node by node; None if it is one call."""
        return _why_nodes(cell, schedule(cell))

    def computing(self, threads: int) -> AbstractContextManager[None]:
        """Inside, so many threads are the kernels', and PyTorch has one."""
        return alone(threads)

    def apply(self, op: nn.Module, x: Tensor) -> Tensor:
        """``op(x)`` in training mode."""
        return chained(op, x)


def _why_nodes(cell: Cell, scheduled: Schedule) -> str | None:
    return "its channels pass by in part" if cell.partial is not None else why_unknown(cell, scheduled)


class CompiledCell:
    """A cell in training mode, with the operations that it had when this was made."""

    def __init__(self, cell: Cell) -> None:
        self.cell, self.nodes = cell, NodeByNode(cell, KERNELS)
        self.whole = _why_nodes(cell, self.nodes.schedule) is None
        self.plans: dict[Any, Plan] = {}

    def __call__(self, inputs: Sequence[Tensor], weights: EdgeWeights) -> Tensor:
        """The cell's output, ``(B, out, H, W)``."""
        planned = self._plan(inputs) if self.whole else None
        if planned is None:
            return self.nodes(inputs, weights)
        outputs = self.cell.outputs(cell_function.values(planned, self.cell.graph, inputs, weights.table))
        return self.cell.joined(outputs, sums.joined)

    def _plan(self, inputs: Sequence[Tensor]) -> Plan | None:
        """The plan for inputs of these sizes; None if the cell cannot be one call."""
        graph, sizes = self.cell.graph, tuple(tuple(x.shape[1:]) for x in inputs)
        if sizes not in self.plans:
            self.plans[sizes] = plan(graph, sizes, self.nodes.schedule)
        found = self.plans[sizes]
        return found if found.is_even and any(found.fed[node] for node in graph.output) else None
