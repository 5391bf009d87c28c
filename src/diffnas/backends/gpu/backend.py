"""The backend for float32 on a GPU; import this module only if Triton is installed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from diffnas.backends.gpu import chains as gpu_chains
from diffnas.backends.gpu import launches
from diffnas.backends.node_by_node import NodeByNode, in_pytorch, through
from diffnas.backends.reasons import why_not_on
from diffnas.backends.schedule import schedule, why_unknown
from diffnas.nets.cell import Cell
from diffnas.nets.links import Link


class GPU:
    """Computes cells node by node, with kernels in Triton."""

    name = "gpu"

    def why_not(self, x: Tensor) -> str | None:
        """The reason why this backend cannot train nets on such pictures; None if it can."""
        return why_not_on("cuda", x)

    def compile(self, cell: Cell) -> NodeByNode:
        """A function that computes the cell with its present operations."""
        return NodeByNode(cell, KERNELS)

    def why_slower(self, cell: Cell) -> str | None:
        """The reason why PyTorch computes a part of the cell; None if our kernels compute all of it."""
        return why_unknown(cell, schedule(cell))

    def computing(self, threads: int) -> AbstractContextManager[None]:
        """A context that changes nothing, because the host only launches kernels."""
        return nullcontext()

    def apply(self, op: nn.Module, x: Tensor) -> Tensor:
        """``op(x)``, computed by PyTorch."""
        out: Tensor = op(x)
        return out


def _convolve(x: Tensor, chains: Sequence[tuple[Link, ...]]) -> list[Tensor]:
    """The results of chains before their last batch norms.

    Chains with one key are computed together, and chains without a key by PyTorch.
    """
    by_key: dict[Any, list[int]] = {}
    for place, chain in enumerate(chains):
        by_key.setdefault(gpu_chains.chain_key(chain), []).append(place)
    found = {place: through(chains[place], x) for place in by_key.pop(None, [])}
    for places in by_key.values():
        found |= zip(places, gpu_chains.convolve(x, [chains[place] for place in places]), strict=True)
    return [found[place] for place in range(len(chains))]


KERNELS = replace(in_pytorch(launches), convolve=_convolve)
"""The kernels for float32 on a GPU."""
