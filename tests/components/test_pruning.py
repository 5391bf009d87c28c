import pytest
import torch
from torch import Tensor

from diffnas.components.gates import HardConcrete
from diffnas.components.pruning import exact_zero, shut
from diffnas.components.relaxation import Relaxation, relax
from diffnas.components.schedule import Moment
from diffnas.space import SearchSpace, nas_bench_201, s2

KEEP = torch.tensor([[True, True, True], [True, False, True]])


def at(epoch: int, mix: Tensor, keep: Tensor = KEEP, space: SearchSpace = nas_bench_201) -> Relaxation:
    moment = Moment(epoch=epoch, step=0, epochs=10, steps=4)
    return Relaxation(alpha=mix, mix=mix, open=mix, keep=keep, moment=moment, space=space)


def test_only_a_weight_of_exactly_zero_goes():
    mix = torch.tensor([[1.0, 1e-300, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    assert exact_zero(at(0, mix)).tolist() == [[True, True, False], [False, False, True]]


def test_what_is_gone_does_not_come_back():
    assert torch.equal(exact_zero(at(0, torch.full((2, 3), 1 / 3))), KEEP)
    whole = torch.zeros(6, 5, dtype=torch.bool)
    whole[:, 1:3] = True
    assert torch.equal(shut(at(0, torch.ones(6, 5), whole)), whole)


def test_nothing_goes_before_the_start():
    mix = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    assert torch.equal(exact_zero(at(2, mix), start=0.3), KEEP)
    assert exact_zero(at(3, mix), start=0.3).sum() == 2
    keep = torch.ones(6, 5, dtype=torch.bool)
    assert torch.equal(shut(at(2, torch.zeros(6, 5), keep), start=0.3), keep)
    assert shut(at(3, torch.zeros(6, 5), keep), start=0.3).sum() == 12


def test_a_weight_that_is_not_a_number_removes_nothing():
    mix = torch.tensor([[torch.nan, 0.5, 0.5], [torch.nan] * 3])
    assert torch.equal(exact_zero(at(0, mix)), KEEP)
    keep = torch.ones(6, 5, dtype=torch.bool)
    assert torch.equal(shut(at(0, torch.full((6, 5), torch.nan), keep)), keep)


# Columns of NAS-Bench-201: none, skip, 1x1, 3x3, pool.
SHUT = {
    "what is more likely shut than open goes": ([0.9, 0.6, 0.49, 0.5, 0.1], [0, 1, 3]),
    "none costs nothing and stays": ([0.0, 0.6, 0.7, 0.1, 0.1], [0, 1, 2]),
    "the likeliest of an edge stays however unlikely": ([0.9, 0.1, 0.2, 0.3, 0.1], [0, 3]),
    "of equals, the one listed first": ([0.1, 0.2, 0.2, 0.2, 0.2], [0, 1]),
}


@pytest.mark.parametrize(("likely", "stay"), SHUT.values(), ids=SHUT)
def test_gates_leave_once_they_are_more_likely_shut(likely: list[float], stay: list[int]):
    keep = shut(at(0, torch.tensor([likely] * 6), torch.ones(6, 5, dtype=torch.bool)))
    assert [row.nonzero().flatten().tolist() for row in keep] == [stay] * 6


def test_an_edge_keeps_its_last_operation_whether_it_is_none_or_not():
    only = torch.zeros(6, 5, dtype=torch.bool)
    only[:3, 0] = only[3:, 2] = True
    assert torch.equal(shut(at(0, torch.zeros(6, 5), only)), only)
    two = torch.ones(28, 2, dtype=torch.bool)
    assert shut(at(0, torch.zeros(28, 2), two, s2)).sum(dim=1).tolist() == [1] * 28


def test_a_removed_gate_was_exactly_zero_at_rest():
    alpha = torch.linspace(-3, 1, 30, dtype=torch.float64).view(6, 5)
    moment = Moment(epoch=0, step=0, epochs=1, steps=1)
    rested = relax(HardConcrete(temperature=0.5), alpha, torch.ones(6, 5, dtype=torch.bool), moment, nas_bench_201)
    gone = ~shut(rested)
    assert gone.any()
    assert (rested.mix[gone] == 0).all()
    stayed = ~gone & (torch.arange(5) != 0)
    likeliest = torch.zeros_like(gone).scatter(1, rested.open[:, 1:].argmax(dim=1, keepdim=True) + 1, True)
    assert (rested.mix[stayed & ~likeliest] > 0).all()
