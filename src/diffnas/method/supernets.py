"""DARTS on another supernet: with a skip beside the operations, or with partial channels."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from diffnas.components import update, weighting
from diffnas.components.supernet_options import FADING, SupernetOptions
from diffnas.method.dense import darts
from diffnas.method.geometric import gaea

darts_minus = replace(
    darts,
    name="darts-minus",
    supernet=SupernetOptions(auxiliary=FADING),
)

pc_darts = replace(
    darts,
    name="pc-darts",
    update=partial(update.adam, lr=6e-4),
    edges=weighting.softmax,
    supernet=SupernetOptions(one_in=4),
    settings={"batch": 256, "lr": 0.1, "lr_min": 0.0, "alpha_warmup": 0.3},
)

gaea_pc_darts = replace(
    gaea,
    name="gaea-pc-darts",
    edges=weighting.simplex,
    supernet=SupernetOptions(one_in=4),
    settings={"batch": 256, "lr": 0.1, "lr_min": 0.0, "alpha_init": 0.0},
)
