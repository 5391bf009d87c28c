"""Searches in several stages: the supernet grows deeper as the choice narrows, or gets other operations."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from diffnas.components import discretize, schedule, stages, update
from diffnas.components.changes import Changes
from diffnas.components.replacement import replacement
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

prune_and_replace = replace(
    darts,
    name="prune-and-replace",
    about=(
        "Prune and Replace NAS (Laube & Zell, 2019): nine cycles of training; after each the weakest operations of an "
        "edge leave, and changed copies of the others come in with their weights: other kernels, dilation, layers, "
        "widths. In its own spaces prune-and-replace-dl (the default) and -dr; in others among what they offer."
    ),
    update=partial(update.adam, lr=6e-4),
    stages=replacement,
    space="prune-and-replace-dl",
    settings={"epochs": 100, "lr_min": 0.01, "alpha_clip": 5.0},
)
