from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor

from diffnas.components.gates import HardConcrete
from diffnas.components.pruning import exact_zero, shut, threshold
from diffnas.components.relaxation import Relaxation, relax
from diffnas.components.schedule import Moment, linear
from diffnas.space import SearchSpace, dense_cell, nas_bench_201, s2

ONE_AND_TWO = dense_cell(
    inputs=1, nodes=2, ops=[["skip_connect"], *[["skip_connect", "nor_conv_3x3"]] * 2], output="last"
)
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
    assert torch.equal(threshold(at(0, torch.full((6, 5), torch.nan), keep)), keep)


def test_a_threshold_is_a_share_of_an_even_weight_among_all_that_the_edge_ever_offered():
    keep = torch.ones(6, 5, dtype=torch.bool)
    keep[1:, 4] = keep[2:, 3] = False
    mix = torch.tensor([[0.0799, 0.0801, 0.08, 0.5, 0.26]] * 6, dtype=torch.float64) * keep
    # 0.4 / 5, whatever is left of the edge.
    assert [row.nonzero().flatten().tolist() for row in threshold(at(0, mix, keep))] == [
        [1, 2, 3, 4],
        [1, 2, 3],
        *[[1, 2]] * 4,
    ]


def test_a_threshold_counts_the_operations_of_each_edge_and_may_be_scheduled():
    space = replace(nas_bench_201, cells={"normal": ONE_AND_TWO}, ops=("skip_connect", "nor_conv_3x3"))
    keep = torch.tensor(space.offered)
    mix = torch.tensor([[1.0, 0.0], [0.29, 0.71], [0.19, 0.81]])
    rising = partial(linear, start=0.4, stop=0.9)
    assert threshold(at(0, mix, keep, space)).tolist() == [[True, False], [True, True], [False, True]]
    assert threshold(at(4, mix, keep, space), share=rising).tolist() == [[True, False], [False, True], [False, True]]


@pytest.mark.parametrize("left", range(1, 6))
def test_a_threshold_never_takes_the_strongest_of_an_edge(left: int):
    keep = torch.zeros(6, 5, dtype=torch.bool)
    keep[:, :left] = True
    even = keep.double() / left
    assert torch.equal(threshold(at(0, even, keep), share=0.999), keep)


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
