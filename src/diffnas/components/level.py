"""Levels: which loss moves alpha and which moves the weights, and in which order.

A level is told as the paper tells it, in the verbs of a ``Step``. The engine supplies the step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor

Batch = tuple[Tensor, Tensor]


class Step(Protocol):
    """One optimisation step of a search, as a level sees it.

    Attributes:
        train: the batch that moves the weights: pictures ``(B, C, H, W)`` and labels ``(B,)``.
        held_out: a batch of the pictures that the weights never see; only where the level asks for halves.
    """

    train: Batch
    held_out: Batch

    @property
    def frozen(self) -> bool:
        """True while alpha is warming up and must not move."""

    def alpha_gradient(self, batch: Batch) -> list[Tensor]:
        """Gradients of the loss on ``batch``, penalties included, for alpha and what the weighting learns."""

    def weight_gradient(self, batch: Batch) -> None:
        """Leave the gradients of the loss on ``batch`` in the weights."""

    def both_gradients(self, batch: Batch) -> list[Tensor]:
        """Both of the above from one pass forward and one back."""

    def move_alpha(self, gradients: Sequence[Tensor]) -> None:
        """Step alpha; a no-op while it is frozen."""

    def move_weights(self) -> None:
        """Clip the weights' gradients and step the weights."""


@dataclass(frozen=True, kw_only=True)
class Level:
    """A level: how a step goes, and whether it needs a held-out half of the training pictures.

    Attributes:
        step: one optimisation step.
        data: "whole" if one stream of training pictures moves everything; "halves" if the weights see the first
            half of the training pictures and alpha the second.
    """

    step: Callable[[Step], None]
    data: Literal["whole", "halves"]


def single_step(step: Step) -> None:
    """alpha and the weights follow the gradients of one loss on one batch."""
    gradients = step.both_gradients(step.train)
    step.move_alpha(gradients)
    step.move_weights()


def bilevel_step(step: Step) -> None:
    """alpha follows the held-out loss, then the weights the training loss: DARTS, first order."""
    if not step.frozen:
        step.move_alpha(step.alpha_gradient(step.held_out))
    step.weight_gradient(step.train)
    step.move_weights()


def weights_first_step(step: Step) -> None:
    """The weights follow the training loss, then alpha the held-out loss of these new weights."""
    step.weight_gradient(step.train)
    step.move_weights()
    if not step.frozen:
        step.move_alpha(step.alpha_gradient(step.held_out))


single = Level(step=single_step, data="whole")
"""min over weights and alpha of one training loss (Hou & Jin, 2020; Bezirganyan & Akarmazyan, 2022)."""

bilevel = Level(step=bilevel_step, data="halves")
"""DARTS (Liu et al., 2019), algorithm 1 with xi = 0: the first-order approximation."""

weights_first = Level(step=weights_first_step, data="halves")
"""Two levels in the other order, as the released code of Path-regularized DARTS (Zhou et al., 2020) has it."""
