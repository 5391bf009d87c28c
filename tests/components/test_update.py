import math
from functools import partial

import pytest
import torch
from torch import Tensor

from diffnas.components import entmax, update, weighting
from diffnas.components.schedule import Moment

RATE, BETAS, DECAY = 3e-4, (0.5, 0.999), 1e-3


def adam_by_hand(start: list[float], gradients: list[list[float]]) -> list[float]:
    """Kingma & Ba (2015), algorithm 1, with L2 added to the gradient; one number at a time."""
    values, first, second = list(start), [0.0] * len(start), [0.0] * len(start)
    for time, gradient in enumerate(gradients, start=1):
        for i, g in enumerate(gradient):
            g = g + DECAY * values[i]
            first[i] = BETAS[0] * first[i] + (1 - BETAS[0]) * g
            second[i] = BETAS[1] * second[i] + (1 - BETAS[1]) * g * g
            fair_first = first[i] / (1 - BETAS[0] ** time)
            fair_second = second[i] / (1 - BETAS[1] ** time)
            values[i] -= RATE * fair_first / (math.sqrt(fair_second) + 1e-8)
    return values


def test_alpha_moves_as_adam_written_out_by_hand():
    generator = torch.Generator().manual_seed(0)
    alpha = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    gradients = torch.randn(25, 2, 3, generator=generator, dtype=torch.float64)
    expected = adam_by_hand(alpha.flatten().tolist(), gradients.flatten(1).tolist())
    alpha.requires_grad_()
    optimizer = update.adam([alpha])
    for gradient in gradients:
        update.move(optimizer, [alpha], [gradient], torch.ones(2, 3, dtype=torch.bool))
    assert alpha.flatten().tolist() == pytest.approx(expected, rel=1e-10)


def moments(optimizer: torch.optim.Optimizer, alpha: Tensor) -> list[Tensor]:
    return [part for part in optimizer.state[alpha].values() if part.shape == alpha.shape]


OPTIMIZERS = {
    "adam": update.adam,
    "adam that remembers the worst": lambda tensors: update.adam(tensors, amsgrad=True),
    "exponentiated gradient": update.exponentiated,
    "sgd with momentum": lambda tensors: torch.optim.SGD(tensors, lr=0.1, momentum=0.9, weight_decay=0.1),
}


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_what_is_pruned_or_decided_stands_still_and_is_forgotten(make):
    generator = torch.Generator().manual_seed(0)
    alpha = torch.randn(3, 4, generator=generator).requires_grad_()
    optimizer = make([alpha])
    for _ in range(5):  # everything gathers momentum first
        update.move(optimizer, [alpha], [torch.randn(3, 4, generator=generator)], torch.ones(3, 4, dtype=torch.bool))
    keep = torch.tensor([[True] * 4, [True, True, False, False], [False, False, True, False]])
    frozen = torch.tensor([[False] * 4, [False, False, True, True], [True] * 4])
    before = alpha.detach().clone()
    for _ in range(5):
        update.move(optimizer, [alpha], [torch.randn(3, 4, generator=generator)], keep)
    assert torch.equal(alpha[frozen], before[frozen])
    assert (alpha[~frozen] != before[~frozen]).all()
    assert len(moments(optimizer, alpha)) >= 1
    for moment in moments(optimizer, alpha):
        assert (moment[frozen] == 0).all()
        assert (moment[~frozen] != 0).all()


def test_a_dead_operation_never_revives_and_nothing_about_it_moves():
    """200 random steps with weight decay and sticky pruning, as a search takes them."""
    generator = torch.Generator().manual_seed(0)
    alpha = (1e-3 * torch.randn(14, 8, generator=generator)).requires_grad_()
    preference = torch.randn(14, 8, generator=generator)
    keep = torch.ones(14, 8, dtype=torch.bool)
    optimizer = update.adam([alpha], lr=1e-2)
    died_at = torch.full((14, 8), torch.nan)
    for step in range(200):
        gradient = torch.randn(14, 8, generator=generator) + preference
        update.move(optimizer, [alpha], [gradient], keep)
        mix = entmax.entmax(alpha.detach().double(), keep, 3.0)
        assert (mix[~keep] == 0).all(), f"an operation came back in step {step}"
        smaller = keep & (mix != 0)
        update.forget(optimizer, alpha, ~update.movable(smaller))
        died_at = torch.where(keep & ~smaller, alpha.detach(), died_at)
        keep = smaller
        dead = ~keep
        assert keep.any(dim=1).all()
        assert torch.equal(alpha[dead], died_at[dead]), f"a dead entry of alpha moved in step {step}"
        assert all((moment[~update.movable(keep)] == 0).all() for moment in moments(optimizer, alpha))
    assert (keep.sum(dim=1) == 1).any(), "no edge was decided: the test shows nothing"
    assert (keep.sum(dim=1) > 1).any(), "no edge was left open: the test shows nothing"


def test_the_last_gate_of_an_edge_goes_on_moving_where_nothing_competes():
    alpha, keep = torch.zeros(1, 2, requires_grad=True), torch.tensor([[True, False]])
    optimizer = update.adam([alpha])
    update.move(optimizer, [alpha], [torch.ones(1, 2)], keep, competing=False)
    assert alpha.flatten().tolist() == pytest.approx([-RATE, 0.0], rel=1e-4)


def test_other_tensors_of_the_weighting_move_with_alpha():
    alpha, order = torch.zeros(1, 2, requires_grad=True), torch.zeros((), requires_grad=True)
    optimizer = update.adam([alpha, order])
    update.move(optimizer, [alpha, order], [torch.ones(1, 2), torch.tensor(1.0)], torch.tensor([[True, False]]))
    assert alpha.tolist() == [[0.0, 0.0]]
    assert order.item() == pytest.approx(-RATE, rel=1e-4)


def test_gradients_are_gone_after_a_step():
    alpha = torch.zeros(1, 2, requires_grad=True)
    update.move(update.adam([alpha]), [alpha], [torch.ones(1, 2)], torch.ones(1, 2, dtype=torch.bool))
    assert alpha.grad is None


def exponentiated_by_hand(theta: list[float], gradient: list[float], rate: float, floor: float) -> list[float]:
    """GAEA (Li et al., 2021) in three lines."""
    grown = [max(share * math.exp(-rate * g), floor) for share, g in zip(theta, gradient, strict=True)]
    return [share / sum(grown) for share in grown]


@pytest.mark.parametrize("floor", [1e-12, 1e-5])
def test_weights_on_the_simplex_move_as_exponentiated_gradients_written_out_by_hand(floor: float):
    generator = torch.Generator().manual_seed(0)
    costs = torch.randn(40, 4, generator=generator, dtype=torch.float64) + torch.tensor([0.0, 1.0, -0.5, 0.2])
    alpha, keep = (
        torch.zeros(2, 4, dtype=torch.float64, requires_grad=True),
        torch.tensor([[True] * 4, [True] * 3 + [False]]),
    )
    optimizer = update.exponentiated([alpha], lr=0.3, floor=floor)
    update.forget(optimizer, alpha, ~keep)
    whole, part = [0.25] * 4, [1 / 3] * 3
    touched = False
    for cost in costs:
        mix = weighting.simplex(alpha, keep, Moment(epoch=0, step=0, epochs=1, steps=1))
        (gradient,) = torch.autograd.grad((mix * cost).sum(), alpha)
        update.move(optimizer, [alpha], [gradient], keep)
        whole = exponentiated_by_hand(whole, cost.tolist(), 0.3, floor)
        part = exponentiated_by_hand(part, cost[:3].tolist(), 0.3, floor)
        touched = touched or min(whole) < 1.1 * floor
        mix = weighting.simplex(alpha, keep, Moment(epoch=0, step=0, epochs=1, steps=1)).detach()
        assert mix[0].tolist() == pytest.approx(whole, rel=1e-10)
        assert mix[1].tolist() == pytest.approx([*part, 0.0], rel=1e-10)
    assert touched == (floor > 1e-6), "the floor was reached in the wrong one of the two cases"


def test_an_operation_pruned_later_leaves_its_share_to_the_others():
    alpha = torch.tensor([[0.1, 0.2, 0.7]], dtype=torch.float64).log().requires_grad_()
    optimizer = update.exponentiated([alpha], lr=1.0)
    keep = torch.tensor([[True, False, True]])
    update.forget(optimizer, alpha, ~keep)
    update.move(optimizer, [alpha], [torch.tensor([[1.0, 9.0, 0.0]], dtype=torch.float64)], keep)
    mix = weighting.simplex(alpha, keep, Moment(epoch=0, step=0, epochs=1, steps=1)).detach()
    expected = exponentiated_by_hand([0.125, 0.875], [1.0, 0.0], 1.0, 1e-5)
    assert mix[0, [0, 2]].tolist() == pytest.approx(expected)
    assert alpha[0, 1].item() == pytest.approx(math.log(0.2))


def test_a_rate_is_multiplied_and_one_that_is_not_there_is_asked_for():
    assert update.rate(update.adam, times=10) == 0.003
    assert update.rate(partial(update.adam, lr=6e-4), times=10) == 0.006
    with pytest.raises(ValueError, match="no learning rate of its own; say --alpha-lr"):
        update.rate(lambda tensors, lr: torch.optim.SGD(tensors, lr), times=10)
