"""What a supernet has beside its operations: partial channels, auxiliary skips, dropped skips, one drawn operation."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import torch
from torch import Tensor

from diffnas.components import schedule
from diffnas.components.schedule import Moment, Schedule, value

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


def add_columns(mix: Tensor, options: SupernetOptions, moment: Moment, strengths: Tensor | None = None) -> Tensor:
    """All mixing weights of a supernet: those of its operations, and a column for each thing that stands beside them.

    Args:
        mix: the mixing weights of the operations, ``(edges, ops)``.
        options: those of the supernet.
        moment: where the run stands.
        strengths: a factor for each edge, which multiplies all of the edge's columns, ``(edges,)``; None for 1.

    Returns:
        ``(edges, ops + 0 to 2)``. A column for the auxiliary skip comes after the operations, if there is such a skip.
        The column for channels that bypass the operations is last, if there are such channels.

    >>> start = Moment(epoch=0, step=0, epochs=1, steps=1)
    >>> add_columns(torch.tensor([[0.4, 0.6]]), SupernetOptions(one_in=4, auxiliary=0.5), start, torch.tensor([0.5]))
    tensor([[0.2000, 0.3000, 0.2500, 0.5000]])
    """
    beside = [] if options.auxiliary is None else [value(options.auxiliary, moment)]
    beside += [] if options.one_in == 1 else [1.0]
    columns = [mix.new_full((len(mix), 1), weight) for weight in beside]
    whole = torch.cat([mix, *columns], dim=1) if columns else mix
    return whole if strengths is None else whole * strengths.unsqueeze(1)
