"""DARTS that stops before it overfits."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from diffnas.components import pick, stopping
from diffnas.method.dense import darts
from diffnas.method.gradients import darts_2nd

darts_plus = replace(
    darts,
    name="darts-plus",
    stopping=(partial(stopping.skip_count, count=2),),
    pick=partial(pick.fewer_skips, count=2),
)

darts_plus_ranks = replace(
    darts,
    name="darts-plus-ranks",
    stopping=(partial(stopping.stable_ranks, epochs=10),),
)

r_darts = replace(
    darts_2nd,
    name="r-darts",
    stopping=(stopping.eigenvalue_growth,),
    pick=pick.before_eigenvalue_growth,
    settings={"eigenvalue_every": 2},
)
