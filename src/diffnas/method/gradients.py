"""DARTS with other gradients for alpha: unrolled, amended, or from both losses."""

from __future__ import annotations

from dataclasses import replace

from diffnas.components import level
from diffnas.method.dense import darts

darts_2nd = replace(
    darts,
    name="darts-2nd",
    level=level.unrolled,
)

amended = replace(
    darts,
    name="amended",
    level=level.amended,
)

milenas = replace(
    darts,
    name="milenas",
    level=level.mixed,
)

milenas_2nd = replace(
    milenas,
    name="milenas-2nd",
    level=level.mixed_unrolled,
)
