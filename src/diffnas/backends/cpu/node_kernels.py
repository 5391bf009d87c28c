"""The steps of a cell that is computed node by node on a CPU; import this module only where Numba is installed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from diffnas.backends.cpu import sums
from diffnas.backends.cpu.chain_program import convolve
from diffnas.backends.cpu.pools import pools
from diffnas.backends.node_by_node import Kernels, update_measured
from diffnas.backends.norms import Measured
from diffnas.backends.schedule import by_key, is_common_pool
from diffnas.nets.links import Link

Known = tuple[Tensor, Measured | None]


def _convolve(x: Tensor, chains: Sequence[tuple[Link, ...]]) -> list[Known]:
    """The results of chains before their last batch norms, and their statistics."""
    found: dict[int, Known] = {}
    for places in by_key(chains, x.shape[1:]).values():
        results, statistics, folds = convolve(x, [chains[place] for place in places])
        rows = zip(places, results, statistics.mean, statistics.variance, folds, strict=True)
        for place, result, mean, variance, fold in rows:
            found[place] = result, Measured(mean, variance, fold, chains[place][-1].bias)
    return [found[place] for place in range(len(chains))]


def _pools(x: Tensor, modules: Sequence[nn.Module]) -> list[Known]:
    """The results of pools; with their statistics where there is a kernel."""
    common = [module for module in modules if is_common_pool(module)]
    known = zip(*pools(x, common), strict=True) if common else iter(())
    found: list[Known] = []
    for module in modules:
        if is_common_pool(module):
            result, mean, variance = next(known)
            found.append((result, Measured(mean, variance)))
        else:
            found.append((module(x), None))
    return found


def _prepare(module: nn.Module, links: tuple[Link, ...] | None, x: Tensor) -> Tensor:
    """An input node from the cell's input."""
    if links is None:
        value: Tensor = module(x)
        return value
    ((result, known),) = _convolve(x, [links])
    assert known is not None
    (value,), statistics = sums.mixed_sums([result], torch.ones(1, 1), normed=[True], measured={0: known})
    update_measured([links[-1].norm], statistics, {0: known})
    return value


KERNELS = Kernels(mixed_sums=sums.mixed_sums, convolve=_convolve, pools=_pools, prepare=_prepare, join=sums.joined)
"""For float32."""
