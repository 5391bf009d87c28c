"""DARTS on another supernet: with a skip beside the operations, or with a part of the channels."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from diffnas.components import update, weighting
from diffnas.components.changes import FADING, Changes
from diffnas.method.dense import darts
from diffnas.method.geometric import gaea

darts_minus = replace(
    darts,
    name="darts-minus",
    about=(
        "DARTS- (Chu et al., 2021): a skip beside the operations of every edge, its weight falling from 1 towards 0, "
        "carries what makes a supernet train; so the skip that can be chosen wins only for what it is worth. On "
        "NAS-Bench-201, for which no code was released, our reading: the same on each edge."
    ),
    supernet=Changes(auxiliary=FADING),
)

pc_darts = replace(
    darts,
    name="pc-darts",
    about=(
        "PC-DARTS (Xu et al., 2020): one in four channels of a node goes through the operations and the rest passes "
        "by, for less memory and larger batches; edges have strengths of their own, and alpha waits for 15 of 50 "
        "epochs. The first channels, as in its code, where the paper says random ones. With smaller batches take a "
        "lower --lr, or skips win."
    ),
    update=partial(update.adam, lr=6e-4),
    edges=weighting.softmax,
    supernet=Changes(share=4),
    settings={"batch": 256, "lr": 0.1, "lr_min": 0.0, "alpha_warmup": 0.3},
)

gaea_pc_darts = replace(
    gaea,
    name="gaea-pc-darts",
    about=(
        "GAEA (Li et al., 2021) on the supernet of PC-DARTS: weights of operations and strengths of edges on the "
        "simplex, both moved by exponentiated gradients from the first epoch on. Its code lets the strengths fall "
        "without a floor; here both stay above 1e-5."
    ),
    edges=weighting.simplex,
    supernet=Changes(share=4),
    settings={"batch": 256, "lr": 0.1, "lr_min": 0.0, "alpha_init": 0.0},
)
