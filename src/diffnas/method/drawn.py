"""GDAS and SNAS: each forward pass draws the mixing weights of an edge."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from diffnas.components import discretize, level, regularizer, weighting
from diffnas.components.supernet_options import SupernetOptions
from diffnas.method.record import Method

gdas = Method(
    name="gdas",
    weighting=weighting.gumbel,
    level=level.weights_first,
    discretize=discretize.strongest_inputs,
    settings={"epochs": 250, "nesterov": True, "weight_decay": 5e-4},
)

gdas_released = replace(
    gdas,
    name="gdas-released",
    supernet=SupernetOptions(drawn=True),
)

snas = Method(
    name="snas",
    weighting=weighting.concrete,
    level=level.single,
    regularizers=(partial(regularizer.expected_cost, weight=regularizer.CONSTRAINTS["moderate"]),),
    discretize=discretize.winners,
    settings={"epochs": 150, "alpha_init": 0.01, "alpha_clip": 10.0},
)
