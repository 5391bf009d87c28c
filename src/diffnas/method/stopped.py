"""DARTS that ends before it overfits."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from diffnas.components import pick, stopping
from diffnas.method.dense import darts

darts_plus = replace(
    darts,
    name="darts-plus",
    about=(
        "DARTS+ (Liang et al., 2019), criterion 1: DARTS that ends once its normal cell would have two skip "
        "connections. The result is the last cell with fewer; the paper does not say which it takes."
    ),
    stopping=(partial(stopping.skip_count, count=2),),
    pick=partial(pick.fewer_skips, count=2),
)

darts_plus_ranks = replace(
    darts,
    name="darts-plus-ranks",
    about=(
        "DARTS+ (Liang et al., 2019), criterion 2: DARTS that ends once the strongest of the operations that learn "
        "has been the same for 10 epochs on every edge of the normal cell; our reading of which edges count."
    ),
    stopping=(partial(stopping.stable_ranks, epochs=10),),
)
