"""Levels: which loss moves alpha and which moves the weights, and in which order.

A level is written as in its paper, in the verbs of a ``Step``. The engine supplies the step.

Some gradients of alpha depend on how the weights follow alpha. They need second derivatives, but only multiplied by a
direction. Such a product is computed as a difference of two first gradients.
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
from diffnas.components.traits import traits

Batch = tuple[Tensor, Tensor]


class Step(Protocol):
    """One optimization step of a search, as a level sees it.

    Attributes:
        train: the batch that moves the weights: pictures ``(B, C, H, W)`` and labels as the task has them, ``(B,)`` or
            ``(B, classes)``.
        held_out: a batch of pictures that never move the weights; only if the level's data is "halves".
    """

    train: Batch
    held_out: Batch

    @property
    def frozen(self) -> bool:
        """True while alpha is warming up and must not move."""

    def alpha_gradient(self, batch: Batch) -> list[Tensor]:
        """Gradients of the loss on ``batch``, penalties included, for alpha and what the weighting learns."""

    def weight_gradient(self, batch: Batch) -> None:
        """Compute the gradients of the loss on ``batch`` and store them as ``grad`` of the weights."""

    def both_gradients(self, batch: Batch) -> list[Tensor]:
        """``alpha_gradient`` and ``weight_gradient`` of one batch, from one forward and one backward pass."""

    def move_alpha(self, gradients: Sequence[Tensor]) -> None:
        """Step alpha; does nothing while alpha is frozen."""

    def move_weights(self) -> None:
        """Clip the weights' gradients and step the weights."""

    # For gradients beyond the first order.

    @property
    def rate(self) -> float:
        """The learning rate of the weights at present."""

    def gradients(self, batch: Batch) -> tuple[list[Tensor], list[Tensor]]:
        """``alpha_gradient``, and the gradients of the same loss for the weights, from one pass."""

    def probe_alpha(self, batch: Batch) -> list[Tensor]:
        """Gradients of the loss on ``batch``, without penalties, for alpha and what the weighting learns.

        A probe changes nothing: not the running statistics, the totals or the random numbers of the search. All probes
        of a step use the same random numbers.
        """

    def probe_weights(self, batch: Batch) -> list[Tensor]:
        """Gradients of the loss on ``batch`` for the weights; changes nothing, as ``probe_alpha``."""

    def descent(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        """What the optimizer would subtract from the weights for these gradients, divided by the learning rate.

        It includes weight decay and the present momentum, but no clipping. The weights do not move.
        """

    def elsewhere(self, away: Sequence[Tensor]) -> AbstractContextManager[None]:
        """A context in which ``away`` is added to the weights. Afterwards the weights are as before, bit for bit."""


@dataclass(frozen=True, kw_only=True)
class Level:
    """A level: its step, and whether it needs a held-out half of the training pictures.

    Attributes:
        step: one optimization step.
        data: "whole" if one stream of training pictures moves everything; "halves" if the weights see the first half
            of the training pictures and alpha sees the second.

    Raises:
        ValueError: if ``data`` is neither, or ``step`` cannot be called with one ``Step``.
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
    """alpha follows the held-out loss, then the weights follow the training loss: DARTS, first order."""
    if not step.frozen:
        step.move_alpha(step.alpha_gradient(step.held_out))
    step.weight_gradient(step.train)
    step.move_weights()


def weights_first_step(step: Step) -> None:
    """The weights follow the training loss, then alpha follows the held-out loss of the new weights."""
    step.weight_gradient(step.train)
    step.move_weights()
    if not step.frozen:
        step.move_alpha(step.alpha_gradient(step.held_out))


def weights_only_step(step: Step) -> None:
    """The weights follow the training loss, and alpha stands still."""
    step.weight_gradient(step.train)
    step.move_weights()


@traits(steps_as_sgd=True)
def unrolled_step(step: Step, *, rate: float | None = None, train_share: float = 0.0, radius: float = 0.01) -> None:
    """alpha follows the losses that the weights will have after their next step, then the weights move.

    Args:
        step: the step.
        rate: the learning rate of that next step, xi in DARTS; None for the present learning rate of the weights.
        train_share: the factor of the training loss, which is added to the held-out loss.
        radius: the norm of the weights' displacement in the finite difference for second derivatives.
    """
    if not step.frozen:
        step.move_alpha(unrolled_gradient(step, rate=rate, train_share=train_share, radius=radius))
    step.weight_gradient(step.train)
    step.move_weights()


def unrolled_gradient(
    step: Step, *, rate: float | None = None, train_share: float = 0.0, radius: float = 0.01
) -> list[Tensor]:
    """The gradient of the loss after one more step of the weights: DARTS (Liu et al., 2019), eq. 7 and 8.

    ``w' = w - xi (momentum + grad L_train(w) + decay)``, without clipping, as in its code. By the chain rule, the
    result is the gradient for alpha at w', minus a correction. The correction is xi times the mixed second derivatives
    of the training loss at w, times the gradient for the weights at w'.
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
        radius: the norm of the weights' displacement in each finite difference for second derivatives.
    """
    if not step.frozen:
        step.move_alpha(amended_gradient(step, rate=rate, radius=radius))
    step.weight_gradient(step.train)
    step.move_weights()


def amended_gradient(step: Step, *, rate: float = 0.1, radius: float = 0.01) -> list[Tensor]:
    """``grad_alpha L_val - rate H_alpha,w (H_w,w grad_w L_val)``, where H is of the training loss (Bi et al., 2019).

    The exact gradient has the inverse of ``H_w,w``. Here ``rate H_w,w`` replaces the inverse.
    """
    for_alpha, for_weights = step.gradients(step.held_out)
    turned = derivative_along(step, step.probe_weights, for_weights, radius=radius)
    return _plus(for_alpha, -rate, derivative_along(step, step.probe_alpha, turned, radius=radius))


def mixed_step(step: Step, *, train_share: float = 1.0) -> None:
    """alpha follows the held-out loss plus a share of the training loss, then the weights follow the training loss.

    MiLeNAS (He et al., 2020), first order, with the steps in the order of its code. Penalties count once.
    """
    if not step.frozen:
        held_out = step.alpha_gradient(step.held_out)
        step.move_alpha(_plus(held_out, train_share, step.probe_alpha(step.train)))
    step.weight_gradient(step.train)
    step.move_weights()


def derivative_along(
    step: Step, probe: Callable[[Batch], list[Tensor]], direction: Sequence[Tensor], *, radius: float = 0.01
) -> list[Tensor]:
    """The derivative of the training gradients of ``probe`` as the weights move along ``direction``.

    A central difference, with a displacement of norm ``radius`` to each side: DARTS (Liu et al., 2019), footnote 2. If
    ``direction`` is zero, so is the result.
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
"""Weights and alpha minimize one training loss (Hou & Jin, 2020; Bezirganyan & Akarmazyan, 2022)."""

bilevel = Level(step=bilevel_step, data="halves")
"""DARTS (Liu et al., 2019), algorithm 1 with xi = 0: the first-order approximation."""

weights_first = Level(step=weights_first_step, data="halves")
"""Two levels, weights first, as in the released code of Path-regularized DARTS (Zhou et al., 2020)."""

weights_only = Level(step=weights_only_step, data="halves")
"""Only the weights move, on one half of the pictures. It suits a selection by the other half that ignores alpha."""

unrolled = Level(step=unrolled_step, data="halves")
"""DARTS (Liu et al., 2019), algorithm 1: the second-order approximation."""

amended = Level(step=amended_step, data="halves")
"""Amended gradients (Bi et al., 2019)."""

mixed = Level(step=mixed_step, data="halves")
"""MiLeNAS (He et al., 2020), first order."""

mixed_unrolled = Level(step=partial(unrolled_step, train_share=1.0), data="halves")
"""MiLeNAS (He et al., 2020), second order: both losses after one more step of the weights.

The product with second derivatives is linear. So one product with the sum of two gradients replaces the paper's two."""
