"""Pruning rules: from the mixing weights to the operations that stay in play.

A rule is called ``rule(mix, keep, moment)`` with the weights in float64 and returns what to keep. It can only take
away: whoever calls it intersects the result with ``keep``.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from diffnas.components.schedule import Moment

Pruning = Callable[[Tensor, Tensor, Moment], Tensor]


def exact_zero(mix: Tensor, keep: Tensor, moment: Moment, *, start: float = 0.0) -> Tensor:
    """Remove an operation for good once its weight is exactly zero (Bezirganyan & Akarmazyan, 2022).

    The removal changes no output and no other weight: what entmax leaves over is what entmax of the rest gives.

    Args:
        mix: mixing weights in float64, ``(edges, ops)``.
        keep: which operations are still in play, ``(edges, ops)``, bool.
        moment: where the run stands.
        start: the fraction of the run before which nothing is removed.

    Returns:
        What to keep, ``(edges, ops)``, bool.

    >>> import torch
    >>> mix, keep = torch.tensor([[0.7, 0.3, 0.0]]), torch.tensor([[True, True, True]])
    >>> exact_zero(mix, keep, Moment(epoch=0, step=0, epochs=1, steps=1))
    tensor([[ True,  True, False]])
    """
    # Not "mix > 0": a weight that is not a number is no reason to remove anything.
    return keep if moment.fraction < start else keep & (mix != 0)
