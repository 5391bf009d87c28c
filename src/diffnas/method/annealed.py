"""ASAP: a softmax that cools, and operations that leave once they fall below a threshold."""

from __future__ import annotations

from functools import partial

from diffnas.components import discretize, level, pruning, stopping, weighting
from diffnas.method.record import Method

asap = Method(
    name="asap",
    about=(
        "ASAP (Noy et al., 2020): a softmax whose temperature falls by 5% an epoch. Once it is below 1, a fifth into "
        "the run, alpha begins to move, and each epoch removes what weighs less than 0.4 of an even share; the search "
        "ends when every edge has one operation left. A run of other than 50 epochs is stretched to the same values."
    ),
    weighting=partial(weighting.softmax, temperature=weighting.ANNEALING),
    level=level.bilevel,
    pruning=pruning.threshold,
    stopping=(stopping.all_decided,),
    discretize=discretize.strongest_inputs,
    settings={"alpha_warmup": 0.2, "prune_every": "epoch"},
)
