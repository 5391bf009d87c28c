"""DARTS+PT: the supernet of DARTS, and a selection that measures what the supernet loses without each operation."""

from __future__ import annotations

from dataclasses import replace

from diffnas.components import level, weighting
from diffnas.components.perturbation import perturbation
from diffnas.method.dense import darts

darts_pt = replace(
    darts,
    name="darts-pt",
    stages=perturbation,
)

darts_pt_fixed = replace(
    darts_pt,
    name="darts-pt-fixed",
    weighting=weighting.uniform,
    level=level.weights_only,
)
