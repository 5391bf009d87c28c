"""Gradients beyond the first order, against second derivatives by autograd on a small model in float64."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial

import pytest
import torch
from torch import Tensor

from diffnas.components import level, weighting
from diffnas.components.level import Batch, Step
from diffnas.components.schedule import Moment
from diffnas.components.weighting import Weighting
from diffnas.engine.lookahead import descent, moved

START = Moment(epoch=0, step=0, epochs=1, steps=1)
KEEP = torch.tensor([[True, True, True], [True, True, False]])
OPS: tuple[Callable[[Tensor], Tensor], ...] = (torch.tanh, torch.sigmoid, torch.sin)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def loss_of(weights: Sequence[Tensor], mix: Tensor, batch: Batch) -> Tensor:
    """Two mixed layers: smooth, and both alpha and the weights enter every second derivative."""
    hidden = batch[0]
    for row, weight in zip(mix, weights, strict=True):
        hidden = torch.stack([share * op(hidden @ weight) for share, op in zip(row, OPS, strict=True)]).sum(0)
    return (hidden.sum(1) - batch[1]).square().mean()


class Toy:
    """A step on the model above, with an optimizer that has gathered momentum."""

    frozen = False
    train: Batch = (normal(0, 7, 3), normal(1, 7))
    held_out: Batch = (normal(2, 5, 3), normal(3, 5))

    def __init__(self, weigh: Weighting = weighting.softmax, momentum: bool = True) -> None:
        self.weigh = weigh
        self.alpha = (0.3 * normal(4, 2, 3)).requires_grad_()
        self.weights = [normal(5, 3, 4).requires_grad_(), normal(6, 4, 2).requires_grad_()]
        self.optimizer = torch.optim.SGD(self.weights, lr=0.05, momentum=0.9, weight_decay=0.03)
        if momentum:
            for weight, seed in zip(self.weights, (7, 8), strict=True):
                weight.grad = normal(seed, *weight.shape)
            self.optimizer.step()
            self.optimizer.zero_grad()
        self.moved_alpha: list[Tensor] = []

    rate = 0.05

    def mix(self) -> Tensor:
        return self.weigh(self.alpha, KEEP, START)

    def penalty(self) -> Tensor:
        return self.mix()[:, 0].sum()

    def alpha_gradient(self, batch: Batch) -> list[Tensor]:
        return self.gradients(batch)[0]

    def gradients(self, batch: Batch) -> tuple[list[Tensor], list[Tensor]]:
        found = torch.autograd.grad(loss_of(self.weights, self.mix(), batch) + self.penalty(), self.both)
        return list(found[:1]), list(found[1:])

    def probe_alpha(self, batch: Batch) -> list[Tensor]:
        return list(torch.autograd.grad(loss_of(self.weights, self.mix(), batch), [self.alpha]))

    def probe_weights(self, batch: Batch) -> list[Tensor]:
        return list(torch.autograd.grad(loss_of(self.weights, self.mix(), batch), self.weights))

    @property
    def both(self) -> list[Tensor]:
        return [self.alpha, *self.weights]

    def descent(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        return descent(self.optimizer, gradients)

    def elsewhere(self, away: Sequence[Tensor]) -> AbstractContextManager[None]:
        return moved(self.weights, away)

    def move_alpha(self, gradients: Sequence[Tensor]) -> None:
        self.moved_alpha = list(gradients)

    def weight_gradient(self, batch: Batch) -> None: ...
    def both_gradients(self, batch: Batch) -> list[Tensor]:
        raise AssertionError("not of the first order")

    def move_weights(self) -> None: ...


def unrolled_by_autograd(toy: Toy, rate: float, train_share: float) -> Tensor:
    """The derivative of the losses after one step of SGD, written out and differentiated through."""
    mix = toy.mix()
    slopes = torch.autograd.grad(loss_of(toy.weights, mix, toy.train), toy.weights, create_graph=True)
    ahead = []
    for weight, slope in zip(toy.weights, slopes, strict=True):
        momentum = toy.optimizer.state.get(weight, {}).get("momentum_buffer", torch.zeros_like(weight))
        ahead.append(weight - rate * (0.9 * momentum + slope + 0.03 * weight))
    loss = loss_of(ahead, mix, toy.held_out) + train_share * loss_of(ahead, mix, toy.train) + toy.penalty()
    (gradient,) = torch.autograd.grad(loss, toy.alpha)
    return gradient


WEIGHTINGS: dict[str, Weighting] = {
    "softmax": weighting.softmax,
    "entmax of order 1.5": partial(weighting.entmax, order=1.5),
}
every_weighting = pytest.mark.parametrize("weigh", WEIGHTINGS.values(), ids=WEIGHTINGS)


@every_weighting
@pytest.mark.parametrize("momentum", [False, True], ids=["first step", "with momentum"])
@pytest.mark.parametrize("train_share", [0.0, 0.7])
def test_the_unrolled_gradient_is_the_derivative_through_one_step_of_the_weights(weigh, momentum, train_share):
    toy = Toy(weigh, momentum)
    expected = unrolled_by_autograd(toy, toy.rate, train_share)
    (first_order,) = torch.autograd.grad(
        loss_of(toy.weights, toy.mix(), toy.held_out)
        + train_share * loss_of(toy.weights, toy.mix(), toy.train)
        + toy.penalty(),
        toy.alpha,
    )
    (found,) = level.unrolled_gradient(toy, train_share=train_share, radius=1e-4)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)
    (published,) = level.unrolled_gradient(toy, train_share=train_share)
    torch.testing.assert_close(published, expected, rtol=2e-3, atol=1e-4)
    assert (expected - first_order).abs().max() > 2e-3, "the first order is as good: the test shows nothing"
    assert (found[~KEEP] == 0).all()


def test_the_look_ahead_may_be_of_another_length():
    toy = Toy()
    (found,) = level.unrolled_gradient(toy, rate=0.2, radius=1e-4)
    torch.testing.assert_close(found, unrolled_by_autograd(toy, 0.2, 0.0), rtol=1e-6, atol=1e-8)


@every_weighting
def test_the_amended_gradient_has_the_exact_products_with_second_derivatives(weigh):
    toy = Toy(weigh)
    held_out = loss_of(toy.weights, toy.mix(), toy.held_out)
    slopes = torch.autograd.grad(held_out + toy.penalty(), toy.both)
    train = loss_of(toy.weights, toy.mix(), toy.train)
    trained = torch.autograd.grad(train, toy.weights, create_graph=True)
    turned = torch.autograd.grad(trained, toy.weights, grad_outputs=slopes[1:], retain_graph=True)
    (correction,) = torch.autograd.grad(trained, toy.alpha, grad_outputs=turned)
    (found,) = level.amended_gradient(toy, rate=0.1, radius=1e-4)
    torch.testing.assert_close(found, slopes[0] - 0.1 * correction, rtol=1e-6, atol=1e-8)
    assert correction.abs().max() > 0.05, "the correction is nothing: the test shows nothing"
    assert (found[~KEEP] == 0).all()


def test_milenas_adds_the_training_loss_and_counts_penalties_once():
    toy = Toy()
    losses = [loss_of(toy.weights, toy.mix(), batch) for batch in (toy.held_out, toy.train)]
    (expected,) = torch.autograd.grad(losses[0] + 0.3 * losses[1] + toy.penalty(), toy.alpha)
    level.mixed_step(toy, train_share=0.3)
    torch.testing.assert_close(toy.moved_alpha, [expected])


def test_a_direction_of_zero_has_a_derivative_of_zero():
    toy = Toy()
    (found,) = level.derivative_along(toy, toy.probe_alpha, [torch.zeros_like(weight) for weight in toy.weights])
    assert (found == 0).all()


BEYOND = {
    "unrolled": level.unrolled,
    "amended": level.amended,
    "mixed": level.mixed,
    "mixed unrolled": level.mixed_unrolled,
}


@pytest.mark.parametrize("beyond", BEYOND.values(), ids=BEYOND)
def test_the_weights_are_back_bit_for_bit_and_the_momentum_is_only_read(beyond: level.Level):
    toy = Toy()
    before = [weight.detach().clone() for weight in toy.weights]
    momentum = [toy.optimizer.state[weight]["momentum_buffer"].clone() for weight in toy.weights]
    step: Step = toy
    beyond.step(step)
    assert toy.moved_alpha[0].isfinite().all()
    for weight, was in zip(toy.weights, before, strict=True):
        assert torch.equal(weight, was)
        assert weight.grad is None
    for weight, was in zip(toy.weights, momentum, strict=True):
        assert torch.equal(toy.optimizer.state[weight]["momentum_buffer"], was)


@pytest.mark.parametrize("beyond", BEYOND.values(), ids=BEYOND)
def test_nothing_is_looked_at_while_alpha_is_frozen(beyond: level.Level):
    toy = Toy()
    toy.frozen = True
    beyond.step(toy)
    assert toy.moved_alpha == []
    assert beyond.data == "halves"


def test_weights_come_back_even_from_a_pass_that_failed():
    weight = torch.tensor([0.1], requires_grad=True)
    with pytest.raises(RuntimeError, match="broken"), moved([weight], [torch.ones(1)]):
        raise RuntimeError("broken")
    assert weight.item() == torch.tensor(0.1).item()
