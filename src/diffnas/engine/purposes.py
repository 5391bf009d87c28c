"""What random numbers of a run are for, where a seed of its own can be set for it. No torch."""

from __future__ import annotations

OWN = {
    **dict.fromkeys(("weights", "replaced", "initial"), "weights_seed"),
    **dict.fromkeys(("alpha", "beta"), "alpha_seed"),
    **dict.fromkeys(("order", "halves", "held-out order", "train", "held-out"), "order_seed"),
}
"""The setting whose seed replaces ``seed``, for each purpose of random numbers that has one."""
