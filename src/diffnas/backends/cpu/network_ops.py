"""The operations of a network in training, computed by :mod:`diffnas.backends.cpu.chain_program` if it knows them.

Its convolutions also give the statistics of their results. So a batch norm with weight and bias is one pass over memory
forward, and one backward.
"""

from __future__ import annotations

from torch import Tensor, nn

from diffnas.backends.norms import check_pixels, update_running
from diffnas.nets.links import links


def chained(op: nn.Module, x: Tensor) -> Tensor:
    """``op(x)`` in training mode; float32 on a CPU, with Numba.

    Args:
        op: an operation of a network.
        x: a map, ``(B, C, H, W)``.

    Raises:
        ValueError: for a batch norm of one pixel, as PyTorch's own.
    """
    chain = links(op, affine=True)
    if chain is None or any(link.after is None for link in chain):
        out: Tensor = op(x)
        return out
    from diffnas.backends.cpu.chain_program import convolve  # needs Numba
    from diffnas.backends.cpu.launches import normalized

    for link in chain:
        (result,), statistics, (fold,) = convolve(x, [(link,)])
        check_pixels(result.shape)
        x = normalized(result, statistics, fold, link.norm.weight, link.norm.bias, eps=link.norm.eps)
        if link.bias is not None:
            statistics = statistics._replace(mean=statistics.mean + link.bias.detach())
        update_running([link.norm], statistics, [0])
    return x
