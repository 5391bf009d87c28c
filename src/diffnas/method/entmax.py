"""The sparse method and its variants: entmax weights; an operation is removed once its weight is zero."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from diffnas.components import discretize, level, pruning, regularizer, schedule, weighting
from diffnas.method.record import Method

entmax3_single = Method(
    name="sparse",
    weighting=partial(weighting.entmax, order=3.0),
    level=level.single,
    pruning=pruning.exact_zero,
    discretize=discretize.winners,
    settings={"epochs": 200},
)

sparse = entmax3_single

entmax2_single = replace(
    sparse,
    name="entmax2-single",
    weighting=partial(weighting.entmax, order=2.0),
)

entmax3 = replace(
    sparse,
    name="entmax3",
    level=level.bilevel,
)

entmax2 = replace(
    entmax3,
    name="entmax2",
    weighting=partial(weighting.entmax, order=2.0),
)

sparse_progressive = replace(
    sparse,
    name="sparse-progressive",
    weighting=partial(weighting.entmax, order=partial(schedule.linear, start=1.0, stop=3.0, until=0.6)),
    pruning=partial(pruning.exact_zero, start=0.15),
)

sparse_path = replace(
    sparse,
    name="sparse-path",
    regularizers=(partial(regularizer.path_depth, joined="sum", weight=0.005),),
)
