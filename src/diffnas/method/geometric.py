"""GAEA: the mixing weights of an edge are parameters on the simplex, moved by exponentiated gradients."""

from __future__ import annotations

from dataclasses import replace

from diffnas.components import discretize, level, pick, update, weighting
from diffnas.method.record import Method

gaea = Method(
    name="gaea",
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
    level=level.single,
    pick=pick.last,
)
