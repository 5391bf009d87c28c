"""GAEA: the weights of an edge are parameters on the simplex, moved by exponentiated gradients."""

from __future__ import annotations

from dataclasses import replace

from diffnas.components import discretize, level, pick, update, weighting
from diffnas.method.record import Method

gaea = Method(
    name="gaea",
    about=(
        "GAEA (Li et al., 2021): weights on the simplex instead of softmax, moved by exponentiated gradients; the "
        "cells of the epoch that was best on held-out pictures. Published on NAS-Bench-201 after 25 of 50 epochs "
        "(--stopping after:25), with 24 channels and without none."
    ),
    weighting=weighting.simplex,
    level=level.bilevel,
    update=update.exponentiated,
    pick=pick.best_held_out,
    discretize=discretize.strongest_inputs,
    settings={"alpha_init": 0.0},
)

gaea_single = replace(
    gaea,
    name="gaea-single",
    about=(
        "GAEA (Li et al., 2021) on a single level: the weights of the edges and of the network follow the training "
        "loss, here on one batch; the released code draws another one of the same pictures for the former."
    ),
    level=level.single,
    pick=pick.last,
)
