"""DARTS on another supernet: with a skip beside the operations, or with a part of the channels."""

from __future__ import annotations

from dataclasses import replace

from diffnas.components.changes import FADING, Changes
from diffnas.method.dense import darts

darts_minus = replace(
    darts,
    name="darts-minus",
    about=(
        "DARTS- (Chu et al., 2021): a skip beside the operations of every edge, its weight falling from 1 towards 0, "
        "carries what makes a supernet train; so the skip that can be chosen wins only for what it is worth. On "
        "NAS-Bench-201, for which no code was released, our reading: the same on each edge."
    ),
    supernet=Changes(auxiliary=FADING),
)
