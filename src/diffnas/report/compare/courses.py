"""How alike the courses of two searches are: their weights, their winners, and when these were decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Matrix = NDArray[np.float64]

SURE = 0.1
"""A winner leads by a sure margin if its weight is that much larger than the second one's."""


class Agreement(NamedTuple):
    """How two searches agree on their edges.

    Attributes:
        distance: the mean Jensen-Shannon divergence of the mixing weights of an edge, from 0 to ln 2.
        winners: the share of edges with the same winner.
        sure: the same of edges where both lead by a sure margin; None if there are no such edges.
    """

    distance: float
    winners: float
    sure: float | None


def agreement_of(first: Matrix, second: Matrix) -> Agreement:
    """How the weights of two searches agree, both ``(edges, ops)``, before cells are read off.

    >>> agreement_of(np.array([[0.9, 0.1]]), np.array([[0.6, 0.4]]))[1:]
    (1.0, 1.0)
    """
    p, q = _shares(first), _shares(second)
    same = p.argmax(axis=1) == q.argmax(axis=1)
    sure = np.minimum(_margins(p), _margins(q)) > SURE
    middle = (p + q) / 2
    distances = (_entropy(middle) - (_entropy(p) + _entropy(q)) / 2).clip(min=0)
    return Agreement(float(distances.mean()), float(same.mean()), float(same[sure].mean()) if sure.any() else None)


def decided_after(lines: Sequence[Mapping[str, Any]]) -> float | None:
    """The epoch after which the final winner of an edge led for good, counted from 1; the mean over edges.

    None without lines.
    """
    if not lines:
        return None
    leads = np.array([np.asarray(line["mix"]).argmax(axis=1) for line in lines])
    stays = (leads == leads[-1])[::-1].cumprod(axis=0).sum(axis=0)
    return float(mean((len(lines) - stays + 1).tolist()))


def deaths(lines: Sequence[Mapping[str, Any]]) -> Matrix:
    """The epoch in which each operation was removed, counted from 1, ``(edges, ops)``; infinite if it was not."""
    kept = np.array([line["keep"] for line in lines], dtype=bool)
    return np.where(kept[-1], np.inf, kept.sum(axis=0) + 1.0)


def death_order(first: Sequence[Mapping[str, Any]], second: Sequence[Mapping[str, Any]]) -> float | None:
    """Kendall's tau of the order in which the operations died that both searches removed; None if it has no order."""
    one, other = deaths(first), deaths(second)
    both = np.isfinite(one) & np.isfinite(other)
    if both.sum() < 2:
        return None
    tau = float(stats.kendalltau(one[both], other[both]).statistic)
    return None if np.isnan(tau) else tau


def linear_cka(first: Matrix, second: Matrix) -> float:
    """The linear CKA of two representations of the same pictures (Kornblith et al., 2019), from 0 to 1.

    Args:
        first, second: features, ``(pictures, features)``; the numbers of features may differ.

    >>> a = np.array([[1.0, 2, 0], [0, 1, 1], [2, 0, 3], [1, 1, 0]])
    >>> round(linear_cka(a, 5 * a[:, ::-1]), 6)
    1.0
    """
    x, y = (each - each.mean(axis=0) for each in (first, second))
    cross, own, other = (np.linalg.norm(product) for product in (x.T @ y, x.T @ x, y.T @ y))
    return float(cross**2 / (own * other))


def _shares(weights: Matrix) -> Matrix:
    """Weights as shares of each edge; an edge without weight has even shares."""
    total = weights.sum(axis=1, keepdims=True)
    return np.where(total > 0, weights / np.where(total > 0, total, 1), 1 / weights.shape[1])


def _margins(shares: Matrix) -> Matrix:
    ordered = np.sort(shares, axis=1)
    return ordered[:, -1] - (ordered[:, -2] if shares.shape[1] > 1 else 0)


def _entropy(shares: Matrix) -> Matrix:
    entropy: Matrix = -(shares * np.log(np.where(shares > 0, shares, 1))).sum(axis=1)
    return entropy
