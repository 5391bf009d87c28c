"""The sparse method and its variants: entmax weights, which can be zero, and then the operation is removed."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from diffnas.components import discretize, level, pruning, regularizer, schedule, weighting
from diffnas.method.record import Method

entmax3_single = Method(
    name="sparse",
    about=(
        "The sparse method (Bezirganyan & Akarmazyan, 2022): 3-entmax weights, one training loss, and an operation "
        "leaves the supernet for good once its weight is exactly zero. Each edge's winner stands, none included."
    ),
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
    about="The sparse method with 2-entmax (sparsemax): removes operations much later.",
    weighting=partial(weighting.entmax, order=2.0),
)

entmax3 = replace(
    sparse,
    name="entmax3",
    about="The sparse method on two levels, first order: alpha follows the loss on held-out pictures.",
    level=level.bilevel,
)

entmax2 = replace(
    entmax3,
    name="entmax2",
    about="The sparse method on two levels with 2-entmax (sparsemax).",
    weighting=partial(weighting.entmax, order=2.0),
)

sparse_progressive = replace(
    sparse,
    name="sparse-progressive",
    about=(
        "The sparse method with an order that rises from 1 (softmax) to 3 over the first 60% of the run, and nothing "
        "removed before it reaches 1.5: the future work of Bezirganyan & Akarmazyan (2022)."
    ),
    weighting=partial(weighting.entmax, order=partial(schedule.linear, start=1.0, stop=3.0, until=0.6)),
    pruning=partial(pruning.exact_zero, start=0.15),
)

sparse_path = replace(
    sparse,
    name="sparse-path",
    about="The sparse method with the reward for deep chains of Path-regularized DARTS. In neither paper.",
    regularizers=(partial(regularizer.path_depth, joined="sum", weight=0.005),),
)
