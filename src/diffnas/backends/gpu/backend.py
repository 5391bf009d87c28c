"""The backend for float32 on a GPU; import this module only where Triton is installed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from diffnas.backends.gpu import chains as gpu_chains
from diffnas.backends.gpu import launches
from diffnas.backends.node_by_node import NodeByNode, in_pytorch, through
from diffnas.backends.norms import Measured
from diffnas.backends.reasons import why_not_on
from diffnas.backends.schedule import schedule, why_unknown
from diffnas.nets.cell import Cell
from diffnas.nets.links import Link


class GPU:
    """Kernels in Triton, node by node."""

    name = "gpu"

    def why_not(self, x: Tensor) -> str | None:
        """The reason why nets cannot be trained on such pictures this way; None if they can."""
        return why_not_on("cuda", x)

    def compile(self, cell: Cell) -> NodeByNode:
        """What computes a cell as it is now."""
        return NodeByNode(cell, KERNELS)

    def why_slower(self, cell: Cell) -> str | None:
        """The reason why some of a cell is left to PyTorch; None if nothing is."""
        return why_unknown(cell, schedule(cell))

    def computing(self, threads: int) -> AbstractContextManager[None]:
        """Nothing to arrange: the host only launches."""
        return nullcontext()

    def apply(self, op: nn.Module, x: Tensor) -> Tensor:
        """``op(x)``, left to PyTorch."""
        out: Tensor = op(x)
        return out


def _convolve(x: Tensor, chains: Sequence[tuple[Link, ...]]) -> list[tuple[Tensor, Measured | None]]:
    """The results of chains before their last batch norms: those of one make together, by PyTorch what has none."""
    by_make: dict[Any, list[int]] = {}
    for place, chain in enumerate(chains):
        by_make.setdefault(gpu_chains.make(chain), []).append(place)
    found = {place: through(chains[place], x) for place in by_make.pop(None, [])}
    for places in by_make.values():
        found |= zip(places, gpu_chains.convolve(x, [chains[place] for place in places]), strict=True)
    return [(found[place], None) for place in range(len(chains))]


KERNELS = replace(in_pytorch(launches), convolve=_convolve)
"""For float32."""
