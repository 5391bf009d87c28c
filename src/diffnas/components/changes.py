"""Changes to the supernet itself, beside the weights of its operations."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import torch
from torch import Tensor

from diffnas.components import schedule
from diffnas.components.schedule import Moment, Schedule, value

FADING = partial(schedule.linear, start=1.0, stop=0.0, every="epoch")
"""The weight of the auxiliary skip in DARTS- (Chu et al., 2021): from 1 straight towards 0, a step an epoch."""


@dataclass(frozen=True, kw_only=True)
class Changes:
    """How a method's supernet differs from that of DARTS; any of these go together.

    Attributes:
        share: one in so many channels of a node goes through the operations, and the rest passes them by, halved by
            2x2 max pooling where the operations halve; then the channels are shuffled. 1 for all of them.
            PC-DARTS (Xu et al., 2020).
        auxiliary: the weight of a skip beside the operations of every edge, with weights of its own where it halves
            the resolution; the search cannot choose it. None for no such skip. DARTS- (Chu et al., 2021).
        dropout: how much of what a skip connection that keeps the resolution lets through is dropped. None for no
            dropout. P-DARTS (Chen et al., 2019).
        drawn: only operations with a weight run; the weights of the others, zeros, are added to what the edge passes
            on. So the gradient of such a weight is the sum of that for the edge, whatever the operation would have
            computed, and its own weights and batch norms are left as they are. GDAS (Dong & Yang, 2019) as released.

    Raises:
        ValueError: for a share that is not a whole number from 1 on.
    """

    share: int = 1
    auxiliary: float | Schedule | None = None
    dropout: float | Schedule | None = None
    drawn: bool = False

    def __post_init__(self) -> None:
        if self.share < 1 or self.share != int(self.share):
            raise ValueError(f"one in so many channels is a whole number from 1 on, not {self.share}.")

    @property
    def made(self) -> dict[str, Any]:
        """What is not as in DARTS.

        >>> Changes(share=4).made
        {'share': 4}
        """
        return {
            each.name: getattr(self, each.name) for each in fields(self) if getattr(self, each.name) != each.default
        }


UNCHANGED = Changes()


def weave(mix: Tensor, changes: Changes, moment: Moment, strengths: Tensor | None = None) -> Tensor:
    """The weights that a changed supernet takes: those of the operations, and columns for what stands beside them.

    Args:
        mix: the weights of the operations, ``(edges, ops)``.
        changes: the supernet's.
        moment: where the run stands.
        strengths: what every edge is multiplied by, all that stands on it included, ``(edges,)``.

    Returns:
        ``(edges, ops + 0 to 2)``: then that of the auxiliary skip and that of the channels that pass by, if there are.

    >>> start = Moment(epoch=0, step=0, epochs=1, steps=1)
    >>> weave(torch.tensor([[0.4, 0.6]]), Changes(share=4, auxiliary=0.5), start, torch.tensor([0.5]))
    tensor([[0.2000, 0.3000, 0.2500, 0.5000]])
    """
    beside = [] if changes.auxiliary is None else [value(changes.auxiliary, moment)]
    beside += [] if changes.share == 1 else [1.0]
    columns = [mix.new_full((len(mix), 1), weight) for weight in beside]
    whole = torch.cat([mix, *columns], dim=1) if columns else mix
    return whole if strengths is None else whole * strengths.unsqueeze(1)
