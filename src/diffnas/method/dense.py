"""DARTS and what stays near it: softmax weights, and nothing is removed."""

from __future__ import annotations

from dataclasses import replace

from diffnas.components import discretize, level, weighting
from diffnas.method.record import Method

darts = Method(
    name="darts",
    about="DARTS, first order (Liu et al., 2019): softmax weights; alpha follows the loss on held-out pictures.",
    weighting=weighting.softmax,
    level=level.bilevel,
    discretize=discretize.strongest_inputs,
)

single_level = replace(
    darts,
    name="single-level",
    about="DARTS on a single level: alpha and the weights follow one training loss on the same batch.",
    level=level.single,
)
