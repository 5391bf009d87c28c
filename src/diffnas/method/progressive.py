"""Searches in several stages: the supernet gets deeper with fewer operations, or its operations are replaced."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from diffnas.components import discretize, schedule, stages, update
from diffnas.components.replacement import replacement
from diffnas.components.supernet_options import SupernetOptions
from diffnas.method.dense import darts

p_darts = replace(
    darts,
    name="p-darts",
    update=partial(update.adam, lr=6e-4),
    supernet=SupernetOptions(dropout=partial(schedule.rekindled, starts=(0.0, 0.4, 0.7))),
    stages=stages.progressive,
    discretize=discretize.few_skips,
    settings={
        "epochs": 75,
        "batch": 96,
        "lr_min": 0.0,
        "depth": 5,
        "alpha_warmup": 0.4,
        "alpha_clip": 5.0,
    },
)

prune_and_replace = replace(
    darts,
    name="prune-and-replace",
    update=partial(update.adam, lr=6e-4),
    stages=replacement,
    space="prune-and-replace-dl",
    settings={"epochs": 100, "lr_min": 0.01, "alpha_clip": 5.0},
)
