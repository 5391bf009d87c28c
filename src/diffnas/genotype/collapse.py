"""The one table of the signs of collapse: from which number on each is told, and who says so.

Cells, the warnings of a search and the findings of a report read it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from diffnas.space import WEIGHTLESS_OPS

SKIP, NONE = "skip_connect", "none"


class Threshold(NamedTuple):
    """From which number on a sign deserves a look, and from which it is bad.

    Attributes:
        look: the number from which a search deserves a look.
        bad: the number from which it counts as collapsed; infinite if the sign alone never says so.
        source: who sets these numbers, and why.
    """

    look: float
    bad: float
    source: str


NEVER = float("inf")

SKIPS = Threshold(
    0.25,
    0.5,
    "The share of connections that are skips. DARTS+ (Liang et al., 2019) stops at two of the eight of a normal cell; "
    "cells of skips are the collapse of Zela et al. (2020). Half of all is our choice.",
)
NONE_SHARE = Threshold(
    1.5,
    0.5,
    "The share of an edge's weight on none. A look from 1.5 even shares on, bad over one half: our choice, as most of "
    "the cell is then being switched off.",
)
MIXED = Threshold(0.75, NEVER, "The share of its operations that an edge still mixes at the end: our choice.")
DISCARDED = Threshold(0.6, NEVER, "The share of an edge's weight that reading off throws away: our choice.")
DEPTH = Threshold(1, 0, "Operations that learn on the longest path: none is bad, and one is wide and shallow: ours.")
EIGENVALUE = Threshold(1.3, NEVER, "The growth of the largest eigenvalue for alpha: RobustDARTS (Zela et al., 2020).")

DECIDED = 2.0
"""Operations that an edge mixes at most if nearly everything is decided: our choice."""

KEPT = 0.2
"""The share of an edge's weight that reading off may throw away without changing much: our choice."""


def too_many_skips(skips: float, connections: float, *, share: float = SKIPS.bad) -> bool:
    """Whether at least this share of the connections are skips; False without connections."""
    return connections > 0 and skips >= share * connections


def switched_off(none_share: float) -> bool:
    """Whether ``none`` holds so much of the weight that the cell is being switched off."""
    return none_share > NONE_SHARE.bad


def only_skips(ops: Collection[str]) -> bool:
    """Whether skip connections alone lead to the output of a cell with these operations."""
    return set(ops) == {SKIP}


def cannot_learn(ops: Collection[str]) -> bool:
    """Whether none of these operations has weights."""
    return set(ops) <= WEIGHTLESS_OPS
