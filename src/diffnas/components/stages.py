"""Stages: a search in parts, each with epochs and settings of its own, and what happens while nothing moves.

Most methods have one stage. Where a method has several, a stage may begin with another supernet (P-DARTS), and
decide something before each of its epochs (the selection of DARTS+PT). What it does is told in the verbs of a
``Pause``, as a level is told in those of a ``Step``. The engine supplies the pause.

Epochs count on through the stages in the trace; learning rates, warm-ups and schedules begin anew with each. A
checkpoint holds which stage runs, so a search that is killed goes on within it; what a pause does follows from the
state before it and the seed, and is done again if it was cut short.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from diffnas.components.relaxation import Relaxation
from diffnas.space import SearchSpace


class Pause(Protocol):
    """A search before an epoch, as a stage sees it."""

    @property
    def epoch(self) -> int:
        """The epoch of the stage that is to begin, from 0."""

    @property
    def keep(self) -> Tensor:
        """Operations still in play, ``(edges, ops)``, bool, on the host."""

    @property
    def space(self) -> SearchSpace:
        """What the rows and columns mean."""

    def at_rest(self) -> Relaxation:
        """The relaxation now, in float64, on the host and without sampling."""

    def generator(self, purpose: str) -> torch.Generator:
        """Random numbers of the host that belong to this pause and purpose alone."""

    def accuracy(self, mix: Tensor) -> float:
        """The supernet's accuracy on all held-out pictures under ``mix``, ``(edges, ops)``; nothing moves.

        With batch statistics and augmented as in training; all calls of a pause see the same random numbers.
        """

    def decide(self, keep: Tensor) -> None:
        """Keep only what ``keep`` says, for good; an edge may lose everything."""

    def rebuild(self, keep: Tensor) -> None:
        """A new supernet by the settings of the stage, with new weights, alpha and optimizers, and only ``keep``.

        What was given up earlier may be in ``keep`` again.
        """

    def renew_weight_optimizer(self) -> None:
        """The optimizer of the weights forgets everything and takes the settings of the stage."""

    def note(self, **event: Any) -> None:
        """Plain data for the next line of the trace, among its ``events``."""


Act = Callable[[Pause], None]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of a search.

    Attributes:
        name: what progress and the trace call it.
        epochs: how many.
        settings: what differs from the settings of the search: ``{"depth": 11, "lr": 0.01}``. Sizes of the supernet
            come into force when it is rebuilt, the rest at once.
        enter: what happens before its first epoch.
        before_epoch: what happens before each of its epochs, the first included.
        may_stop: whether the method's stopping rules can end it early. They see the epochs of this stage alone.
    """

    name: str
    epochs: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    enter: Act | None = None
    before_epoch: Act | None = None
    may_stop: bool = True


# From the space and the epochs of the settings to the stages, at least one.
Stages = Callable[[SearchSpace, int], tuple[Stage, ...]]


def one(space: SearchSpace, epochs: int) -> tuple[Stage, ...]:
    """One stage with all the epochs.

    >>> from diffnas.space import s2
    >>> [(stage.name, stage.epochs) for stage in one(s2, 50)]
    [('search', 50)]
    """
    return (Stage(name="search", epochs=epochs),)


def epochs_of(stages: tuple[Stage, ...]) -> int:
    """The epochs of all stages together."""
    return sum(stage.epochs for stage in stages)
