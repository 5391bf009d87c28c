"""DARTS with other gradients of alpha: unrolled, amended, of both losses."""

from __future__ import annotations

from dataclasses import replace

from diffnas.components import level
from diffnas.method.dense import darts

darts_2nd = replace(
    darts,
    name="darts-2nd",
    about=(
        "DARTS, second order (Liu et al., 2019): alpha follows the loss on held-out pictures that the weights will "
        "have after their next step, by a finite-difference product. Five passes a step instead of two."
    ),
    level=level.unrolled,
)

amended = replace(
    darts,
    name="amended",
    about=(
        "Amended gradients (Bi et al., 2019): DARTS with a second term in alpha's gradient, for how the weights follow "
        "alpha, by two finite-difference products. Its scale, 0.1, could not be checked against the paper."
    ),
    level=level.amended,
)

milenas = replace(
    darts,
    name="milenas",
    about=(
        "MiLeNAS (He et al., 2020), first order: alpha follows the loss on held-out pictures and on training pictures "
        "together. The weights' gradients are clipped as in DARTS; the released code meant to, and clipped alpha's."
    ),
    level=level.mixed,
)

milenas_2nd = replace(
    milenas,
    name="milenas-2nd",
    about=(
        "MiLeNAS (He et al., 2020), second order: both losses as they will be after the weights' next step. The "
        "released code moves alpha itself in that look-ahead and loses the momentum; this one does neither."
    ),
    level=level.mixed_unrolled,
)
