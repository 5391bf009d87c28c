"""Stages: a search in parts, each with epochs and settings of its own, and what happens while nothing moves.

Most methods have one stage. Where a method has several, a stage may begin with another supernet (P-DARTS) or with other
operations in it (Prune and Replace NAS), and decide something before each of its epochs (the selection of DARTS+PT).
What it does is told in the verbs of a ``Pause``, as a level is told in those of a ``Step``. The engine supplies the
pause.

Epochs count on through the stages in the trace; learning rates, warm-ups and schedules begin anew with each. A
checkpoint holds which stage runs, so a search that is killed goes on within it; what a pause does follows from the
state before it and the seed, and is done again if it was cut short.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, NamedTuple, Protocol

import torch
from torch import Tensor

from diffnas.components.relaxation import Relaxation
from diffnas.space import SearchSpace
from diffnas.values import check_fields, real, whole


class HeldOutScore(NamedTuple):
    """How good a supernet is on some samples.

    Attributes:
        loss: the mean of a sample.
        score: the metric that decides, turned so that higher is better: the accuracy of a classifier.
    """

    loss: float
    score: float


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

    def measure(self, mix: Tensor) -> HeldOutScore:
        """Loss and score of the supernet on all held-out pictures under ``mix``, ``(edges, ops)``; nothing moves.

        With batch statistics and augmented as in training; all calls of a pause see the same random numbers.
        """

    def decide(self, keep: Tensor) -> None:
        """Keep only what ``keep`` says, for good; an edge may lose everything, and is gone then."""

    def rebuild(self, keep: Tensor) -> None:
        """A new supernet by the settings of the stage, with new weights, alpha and optimizers, and only ``keep``.

        What was given up earlier may be in ``keep`` again.
        """

    def replace(self, keep: Tensor, parents: Mapping[tuple[int, int], int]) -> None:
        """Keep exactly what ``keep`` says: operations may go, and others come in.

        The supernet, alpha and the optimizers stay. An operation that comes in begins with weights of its own, or
        those of its parent.

        Args:
            keep: ``(edges, ops)``, bool, on the host.
            parents: for the places (row, column) of new operations, the column of the one on the same edge, still in
                play or just taken out, that they were made from: see ``diffnas.convolutions.changed``.
        """

    def renew_alpha(self) -> None:
        """Alpha and all that moves with it begin anew, and so does their optimizer."""

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
        deeper: how many times the cells of the search its supernet has, once it is rebuilt; rounded.
        ops: the operations in play at first, where edges offer them, if the search begins with it or its supernet is
            rebuilt; None for all.
        enter: what happens before its first epoch.
        before_epoch: what happens before each of its epochs, the first included.
        may_stop: whether the method's stopping rules can end it early. They see the epochs of this stage alone.

    Raises:
        ValueError: for epochs or a depth out of their bounds.
    """

    name: str
    epochs: Annotated[int, whole(1, 1_000_000)]
    settings: Mapping[str, Any] = field(default_factory=dict)
    deeper: Annotated[float, real(0, 1_000, above=True)] = 1.0
    ops: tuple[str, ...] | None = None
    enter: Act | None = None
    before_epoch: Act | None = None
    may_stop: bool = True

    def __post_init__(self) -> None:
        check_fields(self)


# From the space and the epochs of the settings to the stages, at least one.
Stages = Callable[[SearchSpace, int], tuple[Stage, ...]]


def one(space: SearchSpace, epochs: int) -> tuple[Stage, ...]:
    """One stage with all the epochs.

    >>> from diffnas.space import s2
    >>> [(stage.name, stage.epochs) for stage in one(s2, 50)]
    [('search', 50)]
    """
    return (Stage(name="search", epochs=epochs),)


def progressive(
    space: SearchSpace, epochs: int, *, deeper: Sequence[float] = (1.0, 2.2, 3.4), ops: Sequence[int] = (5, 3)
) -> tuple[Stage, ...]:
    """Stages of equal length, each with a new and deeper supernet of fewer operations: P-DARTS (Chen et al., 2019).

    Weights and alpha begin anew. In the paper 5, 11 and 17 cells have up to 8, 5 and 3 operations on every edge.

    Args:
        space: what may be found; not looked at.
        epochs: of all stages together; what cannot be shared out goes to the last stage.
        deeper: for each stage, how many times the cells of the first its supernet has.
        ops: for each stage but the first, how many operations each edge keeps, those with the largest weights.

    Raises:
        ValueError: for fewer epochs than stages, or other numbers of stages in ``deeper`` and ``ops``.

    >>> from diffnas.space import darts
    >>> [(stage.name, stage.epochs, round(5 * stage.deeper)) for stage in progressive(darts, 75)]
    [('stage 1 of 3', 25, 5), ('stage 2 of 3', 25, 11), ('stage 3 of 3', 25, 17)]
    """
    count = len(deeper)
    if len(ops) != count - 1:
        raise ValueError(f"{count} stages narrow the choice {count - 1} times, not {len(ops)}.")
    if epochs < count:
        raise ValueError(f"{count} stages need {count} epochs or more, not {epochs}.")
    lengths = [epochs // count] * (count - 1) + [epochs - epochs // count * (count - 1)]
    enters = [None, *(partial(_narrow, ops=left) for left in ops)]
    return tuple(
        Stage(name=f"stage {n} of {count}", epochs=length, deeper=times, enter=enter)
        for n, (length, times, enter) in enumerate(zip(lengths, deeper, enters, strict=True), 1)
    )


def _narrow(pause: Pause, *, ops: int) -> None:
    at = pause.at_rest()
    pause.rebuild(strongest(at.open, at.keep, ops))


def strongest(scores: Tensor, keep: Tensor, count: int) -> Tensor:
    """What each edge keeps if it keeps ``count`` operations, those that score highest; ties to those listed first.

    Args:
        scores: ``(edges, ops)``.
        keep: operations still in play, ``(edges, ops)``, bool; an edge with no more than ``count`` keeps them.
        count: how many.

    Returns:
        ``(edges, ops)``, bool.

    >>> strongest(torch.tensor([[0.1, 0.6, 0.1, 0.2]]), torch.tensor([[True, True, True, False]]), 2)
    tensor([[ True,  True, False, False]])
    """
    order = scores.masked_fill(~keep, -torch.inf).argsort(dim=1, descending=True, stable=True)
    return keep & torch.zeros_like(keep).scatter(1, order[:, :count], True)


def epochs_of(stages: tuple[Stage, ...]) -> int:
    """The epochs of all stages together."""
    return sum(stage.epochs for stage in stages)
