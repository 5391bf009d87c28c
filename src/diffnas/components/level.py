"""Levels: which loss moves alpha and which moves the weights, and in which order.

A level is told as the paper tells it, in the verbs of a ``Step``. The engine supplies the step.

Where alpha's gradient looks at how the weights would follow alpha, second derivatives appear only multiplied by a
direction, and such a product is a difference of two first gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol

import torch
from torch import Tensor

from diffnas.components import contract

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

    # For gradients beyond the first order.

    @property
    def rate(self) -> float:
        """The learning rate of the weights at present."""

    def gradients(self, batch: Batch) -> tuple[list[Tensor], list[Tensor]]:
        """``alpha_gradient``, and beside it the gradients of the same loss for the weights, from one pass."""

    def probe_alpha(self, batch: Batch) -> list[Tensor]:
        """Gradients of the loss on ``batch``, without penalties, for alpha and what the weighting learns.

        A probe leaves no trace: no running statistics, totals or random numbers of the search move. All probes of a
        step see the same random numbers.
        """

    def probe_weights(self, batch: Batch) -> list[Tensor]:
        """Likewise for the weights."""

    def descent(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        """The direction against which the weights would move with these gradients, unclipped; nothing moves.

        With weight decay and the momentum that there is.
        """

    def elsewhere(self, away: Sequence[Tensor]) -> AbstractContextManager[None]:
        """Inside, the weights stand ``away`` from where they are; afterwards they are back, bit for bit."""


@dataclass(frozen=True, kw_only=True)
class Level:
    """A level: how a step goes, and whether it needs a held-out half of the training pictures.

    Attributes:
        step: one optimisation step.
        data: "whole" if one stream of training pictures moves everything; "halves" if the weights see the first
            half of the training pictures and alpha the second.

    Raises:
        ValueError: for other data, or a step that cannot be called with one.
    """

    step: Callable[[Step], None]
    data: Literal["whole", "halves"]

    def __post_init__(self) -> None:
        contract.check_callable(contract.LEVEL, self.step)
        if self.data not in ("whole", "halves"):
            raise ValueError(f"the data of a level is 'whole' or 'halves', got {contract.told(self.data)}.")


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


def weights_only_step(step: Step) -> None:
    """The weights follow the training loss, and alpha stands still."""
    step.weight_gradient(step.train)
    step.move_weights()


def unrolled_step(step: Step, *, rate: float | None = None, train_share: float = 0.0, radius: float = 0.01) -> None:
    """alpha follows the losses that the weights will have after their next step, then the weights move.

    Args:
        step: the step.
        rate: how far ahead to look: the learning rate of that next step, xi in DARTS; None takes the weights'.
        train_share: how much of the training loss is added to the held-out one.
        radius: how far the weights are moved, in norm, for the product with second derivatives.
    """
    if not step.frozen:
        step.move_alpha(unrolled_gradient(step, rate=rate, train_share=train_share, radius=radius))
    step.weight_gradient(step.train)
    step.move_weights()


def unrolled_gradient(
    step: Step, *, rate: float | None = None, train_share: float = 0.0, radius: float = 0.01
) -> list[Tensor]:
    """The gradient of the loss after one more step of the weights: DARTS (Liu et al., 2019), eq. 7 and 8.

    ``w' = w - xi (momentum + grad L_train(w) + decay)``, as in its code without clipping. The chain rule gives the
    gradient for alpha at w', less xi times the mixed second derivatives of the training loss at w, multiplied by
    the gradient for the weights at w'.
    """
    xi = step.rate if rate is None else rate
    ahead = [-xi * direction for direction in step.descent(step.probe_weights(step.train))]
    with step.elsewhere(ahead):
        for_alpha, for_weights = step.gradients(step.held_out)
        if train_share:
            for_alpha = _plus(for_alpha, train_share, step.probe_alpha(step.train))
            for_weights = _plus(for_weights, train_share, step.probe_weights(step.train))
    return _plus(for_alpha, -xi, derivative_along(step, step.probe_alpha, for_weights, radius=radius))


def amended_step(step: Step, *, rate: float = 0.1, radius: float = 0.01) -> None:
    """alpha follows the amended gradient of the held-out loss, then the weights move.

    Args:
        step: the step.
        rate: the scale of the correction, eta in the paper.
        radius: how far the weights are moved, in norm, for each product with second derivatives.
    """
    if not step.frozen:
        step.move_alpha(amended_gradient(step, rate=rate, radius=radius))
    step.weight_gradient(step.train)
    step.move_weights()


def amended_gradient(step: Step, *, rate: float = 0.1, radius: float = 0.01) -> list[Tensor]:
    """``grad_alpha L_val - rate H_alpha,w (H_w,w grad_w L_val)`` with the training loss's H (Bi et al., 2019).

    The exact gradient has the inverse of ``H_w,w``; here a multiple of the matrix itself stands for it.
    """
    for_alpha, for_weights = step.gradients(step.held_out)
    turned = derivative_along(step, step.probe_weights, for_weights, radius=radius)
    return _plus(for_alpha, -rate, derivative_along(step, step.probe_alpha, turned, radius=radius))


def mixed_step(step: Step, *, train_share: float = 1.0) -> None:
    """alpha follows the held-out loss and a share of the training loss, then the weights the training loss.

    MiLeNAS (He et al., 2020), first order, in the order of its code. Penalties count once.
    """
    if not step.frozen:
        held_out = step.alpha_gradient(step.held_out)
        step.move_alpha(_plus(held_out, train_share, step.probe_alpha(step.train)))
    step.weight_gradient(step.train)
    step.move_weights()


def derivative_along(
    step: Step, probe: Callable[[Batch], list[Tensor]], direction: Sequence[Tensor], *, radius: float = 0.01
) -> list[Tensor]:
    """How fast the training gradients of ``probe`` change as the weights move along ``direction``.

    A central difference over ``radius`` in norm to either side, as in DARTS (Liu et al., 2019), footnote 2; zero
    along no direction.
    """
    length = radius / torch.stack([part.norm() for part in direction]).norm().clamp_min(1e-30)
    there = []
    for sign in (1, -1):
        with step.elsewhere([sign * length * part for part in direction]):
            there.append(probe(step.train))
    return [(ahead - behind) / (2 * length) for ahead, behind in zip(*there, strict=True)]


def _plus(first: Sequence[Tensor], scale: float, second: Sequence[Tensor]) -> list[Tensor]:
    return [one + scale * other for one, other in zip(first, second, strict=True)]


single = Level(step=single_step, data="whole")
"""min over weights and alpha of one training loss (Hou & Jin, 2020; Bezirganyan & Akarmazyan, 2022)."""

bilevel = Level(step=bilevel_step, data="halves")
"""DARTS (Liu et al., 2019), algorithm 1 with xi = 0: the first-order approximation."""

weights_first = Level(step=weights_first_step, data="halves")
"""Two levels in the other order, as the released code of Path-regularized DARTS (Zhou et al., 2020) has it."""

weights_only = Level(step=weights_only_step, data="halves")
"""Only the weights move, on one half; for a selection by the other half that does not look at alpha."""

unrolled = Level(step=unrolled_step, data="halves")
"""DARTS (Liu et al., 2019), algorithm 1: the second-order approximation."""

amended = Level(step=amended_step, data="halves")
"""Amended gradients (Bi et al., 2019)."""

mixed = Level(step=mixed_step, data="halves")
"""MiLeNAS (He et al., 2020), first order."""

mixed_unrolled = Level(step=partial(unrolled_step, train_share=1.0), data="halves")
"""MiLeNAS (He et al., 2020), second order: both losses after one more step of the weights.

The product with second derivatives is linear, so one of the sum stands for the paper's two."""
