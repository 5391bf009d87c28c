"""Schedules: functions from a moment of a run to a number."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from diffnas.components import contract


@dataclass(frozen=True, kw_only=True)
class Moment:
    """Where a run stands, and the random numbers that belong to this step alone.

    Attributes:
        epoch: from 0.
        step: from 0, within the epoch.
        epochs: how many epochs the run has.
        steps: how many steps an epoch has.
        stage: which stage of the search runs, from 0. The other numbers count within this stage.
        generator: the generator for components that sample; None where nothing may be sampled, as in reading off.
    """

    epoch: int
    step: int
    epochs: int
    steps: int
    stage: int = 0
    generator: torch.Generator | None = None

    @property
    def fraction(self) -> float:
        """How much of the stage is over, counted in steps: 0 at the first step, below 1 at the last."""
        return (self.epoch * self.steps + self.step) / (self.epochs * self.steps)


Schedule = Callable[[Moment], float]


def value(of: float | Schedule, moment: Moment) -> float:
    """A number, or what a schedule gives at this moment.

    Raises:
        ValueError: if a schedule does not return a finite number.
    """
    return contract.number(contract.SCHEDULE, of, moment) if callable(of) else of


def _progress(moment: Moment, every: Literal["step", "epoch"]) -> float:
    return moment.fraction if every == "step" else moment.epoch / moment.epochs


def linear(
    moment: Moment, *, start: float, stop: float, until: float = 1.0, every: Literal["step", "epoch"] = "step"
) -> float:
    """Linearly from ``start`` to ``stop``, which is reached when the fraction ``until`` of the run is over.

    >>> linear(Moment(epoch=3, step=0, epochs=10, steps=5), start=1.0, stop=3.0, until=0.6)
    2.0
    """
    return start + (stop - start) * min(_progress(moment, every) / until, 1.0)


def stairs(moment: Moment, *, start: float, stop: float) -> float:
    """Linearly from ``start`` to ``stop``, constant within an epoch; ``stop`` in the last epoch.

    >>> [stairs(Moment(epoch=epoch, step=1, epochs=3, steps=2), start=10.0, stop=1.0) for epoch in range(3)]
    [10.0, 5.5, 1.0]
    """
    return start + (stop - start) * moment.epoch / max(moment.epochs - 1, 1)


def geometric(moment: Moment, *, start: float, factor: float, epochs: int = 50) -> float:
    """``start`` times ``factor`` to the power of the epochs that are over, in a run of ``epochs`` epochs.

    In a run of another length, the schedule is stretched to that length.

    >>> [geometric(Moment(epoch=epoch, step=1, epochs=4, steps=2), start=8.0, factor=0.5, epochs=4) for epoch in (0, 3)]
    [8.0, 1.0]
    >>> geometric(Moment(epoch=1, step=0, epochs=2, steps=2), start=8.0, factor=0.5, epochs=4)
    2.0
    """
    return start * math.pow(factor, epochs * moment.epoch / moment.epochs)


def cosine(moment: Moment, *, start: float, stop: float) -> float:
    """Half a cosine from ``start`` towards ``stop``, constant within an epoch (Loshchilov & Hutter, 2017).

    As in DARTS, ``stop`` would be reached one epoch after the last.

    >>> cosine(Moment(epoch=5, step=0, epochs=10, steps=1), start=1.0, stop=0.0)
    0.5
    """
    return stop + (start - stop) * (1 + math.cos(math.pi * moment.epoch / moment.epochs)) / 2


def late_cosine(moment: Moment, *, start: float, stop: float) -> float:
    """A quarter of a cosine from ``start`` towards ``stop``: slow at first, fastest at the end, constant in an epoch.

    The slower of the two cosines in the released code of DARTS- (Chu et al., 2021).

    >>> moments = [Moment(epoch=epoch, step=0, epochs=3, steps=1) for epoch in range(3)]
    >>> [round(late_cosine(moment, start=1.0, stop=0.0), 2) for moment in moments]
    [1.0, 0.87, 0.5]
    """
    return stop + (start - stop) * math.cos(math.pi * moment.epoch / (2 * moment.epochs))


def rekindled(moment: Moment, *, starts: Sequence[float], pause: float = 0.4, fall: float = 5.0) -> float:
    """In each stage, a linear fall from its start while alpha stands still, then an exponential fall from its start.

    The dropout on skip connections in the code of P-DARTS (Chen et al., 2019), whose stages have 25 epochs. In stages
    of another length, the schedule is stretched.

    Args:
        moment: where the stage stands.
        starts: the first value of each stage; the last entry is for all later stages too.
        pause: the share of the stage's epochs in which alpha stands still.
        fall: the exponential falls by ``exp(-fall)`` over as many epochs as the stage has.

    >>> moments = [Moment(epoch=epoch, step=0, epochs=25, steps=1, stage=1) for epoch in (0, 9, 10, 24)]
    >>> [round(rekindled(moment, starts=(0.0, 0.4, 0.7)), 4) for moment in moments]
    [0.384, 0.24, 0.4, 0.0243]
    """
    start, waiting = starts[min(moment.stage, len(starts) - 1)], pause * moment.epochs
    if moment.epoch < waiting:
        return start * (moment.epochs - moment.epoch - 1) / moment.epochs
    return start * math.exp(-fall * (moment.epoch - math.ceil(waiting)) / moment.epochs)


def slowing_line(moment: Moment, *, start: float, stop: float, tail: int = 5) -> float:
    """Linearly from ``start`` towards ``stop``, ``tail`` times slower in the last ``tail`` epochs.

    It is constant within an epoch. The learning rate on ImageNet in the released code of Path-regularized DARTS (Zhou
    et al., 2020).

    >>> moments = [Moment(epoch=epoch, step=0, epochs=10, steps=1) for epoch in (0, 4, 5, 9)]
    >>> [round(slowing_line(moment, start=1.0, stop=0.0), 2) for moment in moments]
    [1.0, 0.2, 0.2, 0.04]
    """
    line, left = max(moment.epochs - tail, 1), moment.epochs - moment.epoch
    share = (left - tail) / line if left > tail else left / (line * tail)
    return stop + (start - stop) * min(share, 1.0)
