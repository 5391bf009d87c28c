"""Stages: the parts of a search, each with its own epochs and settings, and what a stage does between epochs.

Most methods have one stage. In others, a stage may begin with a new supernet (P-DARTS) or with new operations in the
supernet (Prune and Replace NAS). It may also decide something before each of its epochs (DARTS+PT). A stage acts by
the verbs of a ``Pause``, as a level acts by those of a ``Step``. The engine supplies the pause.

In the trace, epochs are counted through all stages. Learning rates, warm-ups and schedules begin anew in each stage. A
checkpoint says which stage runs, so a killed search resumes within it. What happens in a pause depends only on the
state before it and on the seed. So a pause that was cut short is repeated on resume.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, NamedTuple, Protocol

import torch
from torch import Tensor

from diffnas.components.pretext import Pretext
from diffnas.components.relaxation import Relaxation
from diffnas.space import SearchSpace
from diffnas.values import check_fields, real, whole


class HeldOutScore(NamedTuple):
    """How good a supernet is on held-out samples.

    Attributes:
        loss: the mean loss per sample.
        score: the first metric of the task, with its sign changed if lower is better; the accuracy of a classifier.
    """

    loss: float
    score: float


class Pause(Protocol):
    """A search between two epochs, as a stage sees it."""

    @property
    def epoch(self) -> int:
        """The epoch that is about to begin, counted from 0 within the stage."""

    @property
    def keep(self) -> Tensor:
        """Operations still in play, ``(edges, ops)``, bool, on the host."""

    @property
    def space(self) -> SearchSpace:
        """The space of the rows and columns."""

    def at_rest(self) -> Relaxation:
        """The present relaxation, in float64, on the host and without sampling."""

    def generator(self, purpose: str) -> torch.Generator:
        """A generator on the host that only this pause uses, and only for this purpose."""

    def measure(self, mix: Tensor) -> HeldOutScore:
        """Loss and score of the supernet on all held-out pictures under ``mix``, ``(edges, ops)``. Changes nothing.

        Pictures are augmented, and batch norms use batch statistics, as in training. All calls of a pause use the same
        random numbers.
        """

    def decide(self, keep: Tensor) -> None:
        """Remove for good all operations that are not in ``keep``. An edge that loses everything is absent."""

    def rebuild(self, keep: Tensor) -> None:
        """Build a new supernet with the settings of the stage and only the operations in ``keep``.

        Weights, alpha and optimizers are new too. ``keep`` may hold operations that were removed earlier.
        """

    def replace(self, keep: Tensor, parents: Mapping[tuple[int, int], int]) -> None:
        """Change the operations in play to those in ``keep``: some may leave, and others may enter.

        The supernet, alpha and the optimizers stay. An operation that enters has new weights, or inherits those of its
        parent.

        Args:
            keep: ``(edges, ops)``, bool, on the host.
            parents: from the place (row, column) of a new operation to the column of its parent. A parent is on the
                same edge, and is still in play or was just removed. See ``diffnas.convolutions.changed``.
        """

    def renew_alpha(self) -> None:
        """Begin alpha, what is learned beside it, and their optimizer anew."""

    def renew_weight_optimizer(self) -> None:
        """Begin the optimizer of the weights anew, with the settings of the stage."""

    def note(self, **event: Any) -> None:
        """Add plain data to the ``events`` in the next line of the trace."""


Act = Callable[[Pause], None]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of a search.

    Attributes:
        name: its name in progress and trace.
        epochs: how many epochs it has.
        settings: settings that differ from those of the search, such as ``{"depth": 11, "lr": 0.01}``. Sizes of the
            supernet take effect when it is rebuilt, all others when the stage begins.
        deeper: the depth of a rebuilt supernet divided by that of the search; the depth is rounded.
        ops: the operations in play at first, on edges that offer them; None for all. Used if this is the first stage,
            or if the supernet is rebuilt.
        enter: runs before the first epoch.
        before_epoch: runs before each epoch, also before the first.
        may_stop: whether the method's stopping rules can end the stage early. The rules see only epochs of this stage.
        pretext: what the weights learn in the stage in place of the task. The search puts such a stage before those of
            the method, if it has a pretext.

    Raises:
        ValueError: if ``epochs`` or ``deeper`` is out of its bounds.
    """

    name: str
    epochs: Annotated[int, whole(1, 1_000_000)]
    settings: Mapping[str, Any] = field(default_factory=dict)
    deeper: Annotated[float, real(0, 1_000, above=True)] = 1.0
    ops: tuple[str, ...] | None = None
    enter: Act | None = None
    before_epoch: Act | None = None
    may_stop: bool = True
    pretext: Pretext | None = None

    def __post_init__(self) -> None:
        check_fields(self)


# A function from the space and the number of epochs to the stages, at least one.
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

    Weights and alpha begin anew in each. In the paper, supernets of 5, 11 and 17 cells have up to 8, 5 and 3 operations
    on each edge.

    Args:
        space: ignored.
        epochs: the epochs of all stages together. The last stage gets the remainder.
        deeper: the depth of each stage's supernet, divided by that of the first.
        ops: how many operations each edge keeps, for each stage after the first. Those with the largest weights stay.

    Raises:
        ValueError: if there are fewer epochs than stages, or ``ops`` does not have one entry less than ``deeper``.

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
    """The ``count`` operations of each edge that score highest; of equals, those that are listed first.

    Args:
        scores: ``(edges, ops)``.
        keep: operations still in play, ``(edges, ops)``, bool. An edge with ``count`` or fewer keeps all of them.
        count: how many operations stay on an edge.

    Returns:
        Which operations stay, ``(edges, ops)``, bool.

    >>> strongest(torch.tensor([[0.1, 0.6, 0.1, 0.2]]), torch.tensor([[True, True, True, False]]), 2)
    tensor([[ True,  True, False, False]])
    """
    order = scores.masked_fill(~keep, -torch.inf).argsort(dim=1, descending=True, stable=True)
    return keep & torch.zeros_like(keep).scatter(1, order[:, :count], True)


def epochs_of(stages: tuple[Stage, ...]) -> int:
    """The epochs of all stages together."""
    return sum(stage.epochs for stage in stages)
