"""The backend for float32 on a GPU; import this module only if Triton is installed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffnas.backends.gpu import chains as gpu_chains
from diffnas.backends.gpu.pools import pools
from diffnas.backends.gpu.sums import beside, mixed_sums
from diffnas.backends.node_by_node import Kernels, NodeByNode, through
from diffnas.backends.reasons import why_not_on
from diffnas.backends.schedule import is_fixed, schedule, why_unknown
from diffnas.components.edge_weights import EdgeWeights
from diffnas.nets.backend import Run
from diffnas.nets.cell import Cell, Factors
from diffnas.nets.geometry import DENSE, PAIRS, POINTWISE
from diffnas.nets.links import Link


@dataclass(frozen=True)
class OnItsDevice:
    """Computes a cell on the device of its inputs; Triton launches kernels on the current device, whatever they read.

    Backward passes need no such care, because autograd runs them on the device of the gradient.
    """

    run: Run

    def __call__(self, inputs: Sequence[Tensor], weights: EdgeWeights | Factors) -> Tensor:
        """The cell's output, ``(B, out, H, W)``."""
        device = inputs[0].device
        with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
            return self.run(inputs, weights)


class GPU:
    """Computes cells node by node, with kernels in Triton."""

    name = "gpu"

    def why_not(self, x: Tensor) -> str | None:
        """The reason why this backend cannot train nets on such pictures; None if it can."""
        return why_not_on("cuda", x)

    def compile(self, cell: Cell) -> OnItsDevice | None:
        """A function that computes the cell with its present operations; None for a cell of a network."""
        return None if is_fixed(cell) else OnItsDevice(NodeByNode(cell, KERNELS))

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
    """The results of chains before their last batch norms; PyTorch computes what no kernel knows."""
    known, unknown = gpu_chains.groups(chains)
    alike: dict[tuple[int, ...], list[int]] = {}
    for place in unknown:
        alike.setdefault(tuple(link.geometry.kind for link in chains[place]), []).append(place)
    found: dict[int, Tensor] = {}
    for kinds, places in alike.items():
        links = [chains[place][0] for place in places]
        if kinds == (PAIRS,):
            results = _halve(x, links)
        elif kinds in ((DENSE,), (POINTWISE,)):
            results = _rectify_once(x, links)
        else:
            results = [through(chains[place], x) for place in places]
        found |= zip(places, results, strict=True)
    for places in known:
        found |= zip(places, gpu_chains.convolve(x, [chains[place] for place in places]), strict=True)
    return [found[place] for place in range(len(chains))]


def _rectify_once(x: Tensor, links: Sequence[Link]) -> list[Tensor]:
    """The results of links with one convolution each, all of one rectified map."""
    rectified = pools(F.relu(x), [None] * len(links))
    return [link.modules[0](own) for link, own in zip(links, rectified, strict=True)]


def _halve(x: Tensor, links: Sequence[Link]) -> list[Tensor]:
    """The results of links that halve a map by two convolutions, of its even and of its odd pixels.

    They are one convolution of 2x2 pixels for all links: the first tap is that of an even pixel, the last of an odd.
    """
    x = F.relu(F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2)) if x.shape[2] % 2 or x.shape[3] % 2 else x)
    even, odd = ([link.modules[half].weight for link in links] for half in (0, 1))
    weight = torch.cat([F.pad(torch.cat(even), (0, 1, 0, 1)), F.pad(torch.cat(odd), (1, 0, 1, 0))])
    parts = F.conv2d(x, weight, stride=2).split_with_sizes([len(each) for each in (*even, *odd)], 1)
    return [torch.cat(halves, 1) for halves in zip(parts, parts[len(links) :], strict=False)]


KERNELS = Kernels(mixed_sums=mixed_sums, convolve=_convolve, pools=pools, beside=beside)
"""The kernels for float32 on a GPU."""
