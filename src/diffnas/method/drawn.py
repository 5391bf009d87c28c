"""GDAS: one operation an edge is drawn for every pass."""

from __future__ import annotations

from diffnas.components import discretize, level, weighting
from diffnas.method.record import Method

gdas = Method(
    name="gdas",
    about=(
        "GDAS (Dong & Yang, 2019): every pass draws one operation an edge by hard Gumbel-softmax, cooling from 10 to "
        "0.1. All operations run here, which is slower, and alpha gets the exact straight-through gradient; the "
        "released code runs the drawn one only, and gives the others the sum of the gradient of the feature map."
    ),
    weighting=weighting.gumbel,
    level=level.weights_first,
    discretize=discretize.strongest_inputs,
    settings={"epochs": 250, "nesterov": True, "weight_decay": 5e-4},
)
