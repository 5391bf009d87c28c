"""What a supernet has beside its operations: partial channels, auxiliary skips, dropped skips, one drawn operation."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from typing import Any

from diffnas.components import schedule
from diffnas.components.schedule import Schedule

FADING = partial(schedule.linear, start=1.0, stop=0.0, every="epoch")
"""The weight of the auxiliary skip in DARTS- (Chu et al., 2021): it falls linearly from 1 towards 0, epoch by epoch."""


@dataclass(frozen=True, kw_only=True)
class SupernetOptions:
    """How a method's supernet differs from that of DARTS. All options can be combined.

    Attributes:
        one_in: one in so many channels of a node goes through the operations; 1 sends all. The other channels bypass
            the operations. Where these halve the resolution, 2x2 max pooling halves the bypassing channels. Then all
            channels are shuffled. PC-DARTS (Xu et al., 2020).
        auxiliary: the weight of a skip that every edge has beside its operations; None for no such skip. The search
            cannot choose the skip. It has network weights of its own where it halves the resolution. DARTS- (Chu et
            al., 2021).
        dropout: the share of the output of a skip connection that is dropped, where the skip keeps the resolution.
            None for no dropout. P-DARTS (Chen et al., 2019).
        drawn: whether only operations with a mixing weight above 0 run. The mixing weights of the others are zeros,
            and are added to the edge's output. So the gradient of such a weight is the sum of the output's gradient,
            whatever its operation would compute. The operation's own weights and batch norms stay as they are. GDAS
            (Dong & Yang, 2019) as released.

    Raises:
        ValueError: if ``one_in`` is not a whole number from 1 on.
    """

    one_in: int = 1
    auxiliary: float | Schedule | None = None
    dropout: float | Schedule | None = None
    drawn: bool = False

    def __post_init__(self) -> None:
        if self.one_in < 1 or self.one_in != int(self.one_in):
            raise ValueError(f"one in so many channels is a whole number from 1 on, not {self.one_in}.")

    @property
    def changed(self) -> dict[str, Any]:
        """The options that are not as in DARTS.

        >>> SupernetOptions(one_in=4).changed
        {'one_in': 4}
        """
        return {
            each.name: getattr(self, each.name) for each in fields(self) if getattr(self, each.name) != each.default
        }


DARTS_SUPERNET = SupernetOptions()
