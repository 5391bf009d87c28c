"""ASAP: a softmax whose temperature falls, and operations that leave once they fall below a threshold."""

from __future__ import annotations

from functools import partial

from diffnas.components import discretize, level, pruning, stopping, weighting
from diffnas.method.record import Method

asap = Method(
    name="asap",
    weighting=partial(weighting.softmax, temperature=weighting.ANNEALING),
    level=level.bilevel,
    pruning=pruning.threshold,
    stopping=(stopping.all_decided,),
    discretize=discretize.strongest_inputs,
    settings={"alpha_warmup": 0.2, "prune_every": "epoch"},
)
