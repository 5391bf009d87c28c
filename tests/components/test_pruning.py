import torch

from diffnas.components.pruning import exact_zero
from diffnas.components.schedule import Moment

KEEP = torch.tensor([[True, True, True], [True, False, True]])


def at(epoch: int) -> Moment:
    return Moment(epoch=epoch, step=0, epochs=10, steps=4)


def test_only_a_weight_of_exactly_zero_goes():
    mix = torch.tensor([[1.0, 1e-300, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    assert exact_zero(mix, KEEP, at(0)).tolist() == [[True, True, False], [False, False, True]]


def test_what_is_gone_does_not_come_back():
    assert torch.equal(exact_zero(torch.full((2, 3), 1 / 3), KEEP, at(0)), KEEP)


def test_nothing_goes_before_the_start():
    mix = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    assert torch.equal(exact_zero(mix, KEEP, at(2), start=0.3), KEEP)
    assert exact_zero(mix, KEEP, at(3), start=0.3).sum() == 2


def test_a_weight_that_is_not_a_number_removes_nothing():
    mix = torch.tensor([[torch.nan, 0.5, 0.5], [torch.nan] * 3])
    assert torch.equal(exact_zero(mix, KEEP, at(0)), KEEP)
