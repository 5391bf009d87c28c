"""DARTS, and the same on a single level: softmax weights, and nothing is removed."""

from __future__ import annotations

from dataclasses import replace

from diffnas.components import discretize, level, weighting
from diffnas.method.record import Method

darts = Method(
    name="darts",
    weighting=weighting.softmax,
    level=level.bilevel,
    discretize=discretize.strongest_inputs,
)

single_level = replace(
    darts,
    name="single-level",
    level=level.single,
)
