"""Pruning rules: from the relaxed architecture to the operations that stay in play.

A rule is called ``rule(at)`` with a ``Relaxation`` at rest, in float64, and returns what to keep. It can only take
away: whoever calls it intersects the result with ``at.keep``.
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

    The removal changes no output and no other weight: what entmax leaves over is what entmax of the rest gives.

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
    return f"the threshold must lie between 0 and 1, an even share of an edge; got {share:g}."


@traits(needs_competition=True, needs_alpha=True, complaint=_no_share)
def threshold(at: Relaxation, *, share: float | Schedule = 0.4) -> Tensor:
    """Remove an operation for good once its weight is less than ``share`` of an even one: ASAP (Noy et al., 2020).

    Even is ``1 / n`` for an edge that the space offers n operations, however few are left, so the threshold of an edge
    does not move as it empties. What is left shares all the weight: the output makes a small jump. Weights that sum to
    one over an edge never all lie below even, so no edge loses its last operation.

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

    At a probability of 1/2 the gate at rest becomes exactly 0: the network that is read off at rest is then the same
    with and without the operation. The falling temperature is what times this. For usual gates the probability falls
    below 1/2 where alpha < -2.398 temperature: at temperature 1 hardly anything has moved so far, so nothing leaves
    while the weights are new, and as the temperature falls the operations that lose leave one after the other.

    An edge keeps its likeliest operation other than ``none``, however unlikely (or ``none``, if it offers no other):
    no edge may be left empty, and reading off needs inputs to choose from. ``none`` costs nothing and is never removed.

    Args:
        at: the relaxed architecture, with gates.
        below: the probability of being open under which an operation goes.
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
    """Remove what brings hardly anything into its node, a few operations an epoch: GOLD-NAS (Bi et al., 2020).

    An operation leaves as soon as its share of what enters its node is ``least`` or less. At the end of an epoch the
    smallest share of all leaves if it is at most ``most``; then all shares are taken anew, ``count`` times in all. An
    edge may lose its last operation. A node may not: it keeps its strongest; ``none`` costs nothing and stays.

    Args:
        at: the relaxed architecture.
        least, most: bounds of shares, eta_min and eta_max in the paper.
        count: how many may leave at the end of an epoch beyond those below ``least``, n0 in the paper.

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
    """The one operation with the smallest share, if that is at most ``most``: ``(edges, ops)``, bool."""
    removable = _removable(at, keep)
    share_EO = shares(at.open, keep, at.space)
    place = share_EO.masked_fill(~removable, torch.inf).argmin()
    one = torch.arange(keep.numel(), device=keep.device).view_as(keep) == place
    return one & removable & (share_EO <= most)


def _removable(at: Relaxation, keep: Tensor) -> Tensor:
    """What is kept, but for ``none`` and the strongest of every node."""
    found = competing(keep, at.space)
    strength_EO = at.open.detach().masked_fill(~found, -torch.inf)
    node = nodes(at.space, keep.device)
    strongest = strength_EO.new_full((len(keep),), -torch.inf).scatter_reduce(0, node, strength_EO.amax(dim=1), "amax")
    return found & (strength_EO < strongest[node].unsqueeze(1))
