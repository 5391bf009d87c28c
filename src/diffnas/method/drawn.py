"""GDAS and SNAS: the operations of an edge are drawn for every pass."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from diffnas.components import discretize, level, regularizer, weighting
from diffnas.components.changes import Changes
from diffnas.method.record import Method

gdas = Method(
    name="gdas",
    about=(
        "GDAS (Dong & Yang, 2019): every pass draws one operation an edge by hard Gumbel-softmax, cooling from 10 to "
        "0.1. All operations run here, which is slower, and alpha gets the exact straight-through gradient, as the "
        "paper has it; not so gdas-released."
    ),
    weighting=weighting.gumbel,
    level=level.weights_first,
    discretize=discretize.strongest_inputs,
    settings={"epochs": 250, "nesterov": True, "weight_decay": 5e-4},
)

gdas_released = replace(
    gdas,
    name="gdas-released",
    about=(
        "GDAS as its released code has it: only the drawn operation of an edge runs and is trained, and the weight of "
        "any other gets the sum of the gradient of the feature map, not its product with what the operation would give."
    ),
    supernet=Changes(drawn=True),
)

snas = Method(
    name="snas",
    about=(
        "SNAS (Xie et al., 2019): every pass draws the weights of an edge from a concrete distribution that sharpens "
        "from temperature 1 to 0.03, and one training loss, with the expected cost of the cells, moves alpha and the "
        "weights. Each edge's winner stands, none included. Its constraints are --regularizers expected-cost-mild, "
        "-moderate (as here) and -aggressive."
    ),
    weighting=weighting.concrete,
    level=level.single,
    regularizers=(partial(regularizer.expected_cost, weight=regularizer.CONSTRAINTS["moderate"]),),
    discretize=discretize.winners,
    settings={"epochs": 150, "alpha_init": 0.01, "alpha_clip": 10.0},
)
