"""Pruning rules: from the relaxed architecture to the operations that stay in play.

A rule is called as ``rule(at)`` with a ``Relaxation`` at rest, in float64. It returns which operations to keep. The
caller intersects the result with ``at.keep``, so a rule cannot bring back an operation.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from diffnas.components.relaxation import Relaxation
from diffnas.components.schedule import Schedule, value
from diffnas.components.shares import competing, nodes, shares
from diffnas.components.traits import traits

Pruning = Callable[[Relaxation], Tensor]


@traits(needs_zeros=True, needs_competition=True)
def exact_zero(at: Relaxation, *, start: float = 0.0) -> Tensor:
    """Remove an operation for good once its weight is exactly zero (Bezirganyan & Akarmazyan, 2022).

    With entmax, the removal changes no output and no other weight.

    Args:
        at: the relaxed architecture, its mixing weights in float64.
        start: the fraction of the run before which nothing is removed.

    Returns:
        What to keep, ``(edges, ops)``, bool.
    """
    # Not "mix > 0": a weight that is not a number is no reason to remove anything.
    return at.keep if at.moment.fraction < start else at.keep & (at.mix != 0)


def _no_share(share: float | Schedule = 0.4) -> str | None:
    if callable(share) or 0 < share < 1:
        return None
    return f"the threshold must lie between 0 and 1, where 1 stands for an even share of an edge; got {share:g}."


@traits(needs_competition=True, needs_alpha=True, complaint=_no_share)
def threshold(at: Relaxation, *, share: float | Schedule = 0.4) -> Tensor:
    """Remove an operation for good once its weight is below ``share`` times an even weight: ASAP (Noy et al., 2020).

    The even weight is ``1 / n`` on an edge that offers n operations. It stays the same when operations leave. After a
    removal, the remaining operations share all the weight, so the output jumps a little. If the weights of an edge sum
    to one, they cannot all be below ``1 / n``. So no edge loses its last operation.

    Args:
        at: the relaxed architecture, its mixing weights in float64.
        share: theta in the paper, between 0 and 1; may be a schedule.

    Returns:
        What to keep, ``(edges, ops)``, bool.
    """
    offered_E = torch.tensor(at.space.offered, device=at.mix.device).sum(dim=1, keepdim=True)
    # Not ">=": a weight that is not a number is no reason to remove anything.
    return at.keep & ~(at.mix * offered_E < value(share, at.moment))


@traits(needs_gates=True)
def shut(at: Relaxation, *, below: float = 0.5, start: float = 0.0) -> Tensor:
    """Remove an operation for good once its gate is more likely shut than open.

    Below a probability of 1/2, the gate at rest is exactly 0. Then the operation does not change the supernet at rest.
    The temperature decides when operations leave. With the default gates, the probability is below 1/2 where ``alpha <
    -2.398 temperature``. At temperature 1, early in a search, alpha has rarely fallen so far, so nothing leaves while
    the weights are new. As the temperature falls, the losing operations leave one after the other.

    An edge keeps its likeliest operation other than ``none``, however unlikely; ``none`` stays if the edge offers no
    other. So no edge becomes empty, and nodes can choose among inputs. ``none`` costs nothing and is never removed.

    Args:
        at: the relaxed architecture, with gates.
        below: an operation leaves if its probability of being open is below this.
        start: the fraction of the run before which nothing is removed.

    Returns:
        What to keep, ``(edges, ops)``, bool.
    """
    if at.moment.fraction < start:
        return at.keep
    none = at.space.column("none")
    stays = torch.zeros_like(at.keep)
    if none is not None:
        stays[:, none] = True
    likeliest = at.open.masked_fill(~at.keep | stays, -1.0).argmax(dim=1, keepdim=True)
    # Not ">= below": a probability that is not a number is no reason to remove anything.
    return at.keep & (~(at.open < below) | stays).scatter(1, likeliest, True)


@traits(needs_gates=True)
def smallest_shares(at: Relaxation, *, least: float = 0.01, most: float = 0.05, count: int = 4) -> Tensor:
    """Remove operations with a small share of the sum into their node: GOLD-NAS (Bi et al., 2020).

    In each step, every operation leaves whose share is ``least`` or less. At the end of an epoch, the operation with
    the smallest share also leaves, if that share is at most ``most``. Both are then done ``count`` times, each time
    with new shares. An edge may lose its last operation, but a node keeps its strongest. ``none`` costs nothing and
    stays.

    Args:
        at: the relaxed architecture.
        least, most: bounds of shares, eta_min and eta_max in the paper.
        count: how many operations above ``least`` may leave at the end of an epoch, n0 in the paper.

    Returns:
        What to keep, ``(edges, ops)``, bool.
    """
    keep = at.keep
    ends = at.moment.step + 1 >= at.moment.steps
    for _ in range(count if ends else 1):
        # Not ">": a share that is not a number is no reason to remove anything.
        keep = keep & ~(_removable(at, keep) & (shares(at.open, keep, at.space) <= least))
        if ends:
            keep = keep & ~_smallest(at, keep, most)
    return keep


def _smallest(at: Relaxation, keep: Tensor, most: float) -> Tensor:
    """The operation with the smallest share, if that share is at most ``most``: ``(edges, ops)``, bool."""
    removable = _removable(at, keep)
    share_EO = shares(at.open, keep, at.space)
    place = share_EO.masked_fill(~removable, torch.inf).argmin()
    one = torch.arange(keep.numel(), device=keep.device).view_as(keep) == place
    return one & removable & (share_EO <= most)


def _removable(at: Relaxation, keep: Tensor) -> Tensor:
    """The kept operations, except ``none`` and the strongest operation of each node: ``(edges, ops)``, bool."""
    found = competing(keep, at.space)
    strength_EO = at.open.detach().masked_fill(~found, -torch.inf)
    node = nodes(at.space, keep.device)
    strongest = strength_EO.new_full((len(keep),), -torch.inf).scatter_reduce(0, node, strength_EO.amax(dim=1), "amax")
    return found & (strength_EO < strongest[node].unsqueeze(1))
