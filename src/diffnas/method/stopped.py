"""DARTS that ends before it overfits."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from diffnas.components import pick, stopping
from diffnas.method.dense import darts
from diffnas.method.gradients import darts_2nd

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

r_darts = replace(
    darts_2nd,
    name="r-darts",
    about=(
        "RobustDARTS' early stop, DARTS-ES (Zela et al., 2020): second-order DARTS that ends once the largest "
        "eigenvalue of the held-out loss's Hessian for alpha has grown by 1.3, and goes back to the cell from before "
        "that. Any method can have the parts: --stopping eigenvalue --pick before-growth --set eigenvalue_every=2."
    ),
    stopping=(stopping.eigenvalue_growth,),
    pick=pick.before_eigenvalue_growth,
    settings={"eigenvalue_every": 2},
)
