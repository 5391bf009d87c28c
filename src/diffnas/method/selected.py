"""DARTS+PT: the supernet of DARTS, and a selection that measures what each operation is worth."""

from __future__ import annotations

from dataclasses import replace

from diffnas.components import level, weighting
from diffnas.components.perturbation import perturbation
from diffnas.method.dense import darts

darts_pt = replace(
    darts,
    name="darts-pt",
    about=(
        "DARTS+PT (Wang et al., 2021): DARTS, first order, whose cells are selected by perturbation: edge by edge, the "
        "operation without which the supernet is right least often, with 5 epochs of tuning in between. Published on "
        "the DARTS space without none."
    ),
    stages=perturbation,
)

darts_pt_fixed = replace(
    darts_pt,
    name="darts-pt-fixed",
    about=(
        "DARTS+PT with fixed alpha (Wang et al., 2021): every operation of an edge has the same weight, only the "
        "network's weights are trained, and perturbation selects the cells."
    ),
    weighting=weighting.uniform,
    level=level.weights_only,
)
