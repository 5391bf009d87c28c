"""P-DARTS: the supernet grows deeper as the choice narrows."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from diffnas.components import discretize, schedule, stages, update
from diffnas.components.changes import Changes
from diffnas.method.dense import darts

p_darts = replace(
    darts,
    name="p-darts",
    about=(
        "P-DARTS (Chen et al., 2019): three stages with new supernets of 5, 11 and 17 cells and up to 8, 5 and 3 "
        "operations an edge; dropout on skips, and at most two of them in the normal cell. Other --depth, deeper by "
        "the same factors. Its dropout is that of CIFAR-10; the released command starts at 0.1 instead of 0.0."
    ),
    update=partial(update.adam, lr=6e-4),
    supernet=Changes(dropout=partial(schedule.rekindled, starts=(0.0, 0.4, 0.7))),
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
