"""The purposes of random numbers in a run that can have a seed of their own. No torch."""

from __future__ import annotations

OWN = {
    **dict.fromkeys(("weights", "replaced", "initial"), "weights_seed"),
    **dict.fromkeys(("alpha", "beta"), "alpha_seed"),
    **dict.fromkeys(("order", "halves", "held-out order", "train", "held-out"), "order_seed"),
}
"""The setting whose seed replaces ``seed``, for each purpose of random numbers that has one."""
