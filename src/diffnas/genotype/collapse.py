"""The one table of the signs of collapse: their thresholds, and the sources of these.

Problems of cells, warnings of a search and findings of a report use this table.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from diffnas.space import WEIGHTLESS_OPS

SKIP, NONE = "skip_connect", "none"


class Threshold(NamedTuple):
    """The numbers from which a sign deserves a look, and from which it is bad.

    Attributes:
        look: at this number, the search deserves a look.
        bad: at this number, the search counts as collapsed; infinite if this sign alone never shows that.
        source: what is measured, and who chose these numbers.
    """

    look: float
    bad: float
    source: str


NEVER = float("inf")

SKIPS = Threshold(
    0.25,
    0.5,
    "The share of connections that are skips. DARTS+ (Liang et al., 2019) stops at two of the eight in a normal cell. "
    "Zela et al. (2020) call cells of skips a collapse. Half of all is our choice.",
)
NONE_SHARE = Threshold(
    1.5,
    0.5,
    "The share of an edge's weight on none. Above 1.5 times an even share it deserves a look. Above one half it is "
    "bad, because most of the cell is then switched off. Our choice.",
)
MIXED = Threshold(0.75, NEVER, "The share of its operations that an edge still mixes at the end. Our choice.")
THROWN_AWAY = Threshold(0.6, NEVER, "The share of an edge's weight that is lost when cells are read off. Our choice.")
DEPTH = Threshold(1, 0, "Operations that learn on the longest path. None is bad, one is shallow. Our choice.")
EIGENVALUE = Threshold(1.3, NEVER, "The growth of the largest eigenvalue for alpha: RobustDARTS (Zela et al., 2020).")

DECIDED = 2.0
"""Nearly everything is decided if an edge mixes at most this number of operations. Our choice."""

KEPT = 0.2
"""If reading off loses at most this share of an edge's weight, it changes little. Our choice."""


def too_many_skips(skips: float, connections: float, *, share: float = SKIPS.bad) -> bool:
    """Whether at least ``share`` of the connections are skips; False without connections."""
    return connections > 0 and skips >= share * connections


def switched_off(none_share: float) -> bool:
    """Whether ``none`` holds so much of the weight that the cell is switched off."""
    return none_share > NONE_SHARE.bad


def only_skips(ops: Collection[str]) -> bool:
    """Whether all of these operations are skip connections, and there is at least one."""
    return set(ops) == {SKIP}


def cannot_learn(ops: Collection[str]) -> bool:
    """Whether all of these operations are without network weights."""
    return set(ops) <= WEIGHTLESS_OPS
