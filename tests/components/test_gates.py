"""Hard-concrete gates against their closed forms."""

import math
from functools import partial

import pytest
import torch
from torch import Tensor

from diffnas.components import schedule
from diffnas.components.gates import FALLING, Gates, HardConcrete, Sigmoid, StrongestGates
from diffnas.components.relaxation import relax
from diffnas.components.schedule import Moment
from diffnas.components.traits import traits_of
from diffnas.components.weighting import softmax
from diffnas.method import METHODS
from diffnas.space import nas_bench_201

GATES: dict[str, Gates] = {
    **{name: method.weighting for name, method in METHODS.items() if isinstance(method.weighting, Gates)},
    "warm": HardConcrete(temperature=1.0),
    "cold": HardConcrete(temperature=0.1),
    "lopsided": HardConcrete(temperature=0.7, low=-0.3, high=1.05),
    "one a time": StrongestGates(gates=HardConcrete(temperature=0.5), count=1, exclude=0.0),
}
DRAWN = {name: gates for name, gates in GATES.items() if not isinstance(gates, Sigmoid)}
every_kind = pytest.mark.parametrize("gates", GATES.values(), ids=GATES)
HARD = {name: gates for name, gates in GATES.items() if isinstance(gates, HardConcrete)}


def at(fraction: float, seed: int | None = None) -> Moment:
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    return Moment(epoch=int(fraction * 10), step=0, epochs=10, steps=10, generator=generator)


def drawn(edges: int = 7, ops: int = 5, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    alpha = torch.randn(edges, ops, generator=generator, dtype=dtype)
    keep = torch.rand(edges, ops, generator=generator) < 0.6
    keep[torch.arange(edges), torch.randint(ops, (edges,), generator=generator)] = True
    return alpha, keep


# What holds of every kind.


@every_kind
@pytest.mark.parametrize("seed", [None, 3], ids=["rest", "sample"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gates_lie_between_0_and_1_and_what_is_pruned_is_exactly_shut(gates: Gates, seed: int | None, dtype):
    alpha, keep = drawn(dtype=dtype)
    for found in (gates(alpha, keep, at(0.5, seed)), gates.open(alpha, keep, at(0.5, seed))):
        assert (found.shape, found.dtype) == (alpha.shape, dtype)
        assert ((found >= 0) & (found <= 1)).all()
        assert (found[~keep] == 0).all()


@pytest.mark.parametrize("gates", DRAWN.values(), ids=DRAWN)
def test_a_sample_follows_from_the_generator_and_the_next_one_differs(gates: Gates):
    alpha, keep = drawn(edges=28, ops=8)
    same = [gates(alpha, keep, at(0.5, 3)) for _ in range(2)]
    assert torch.equal(*same)
    moment = at(0.5, 3)
    assert not torch.equal(gates(alpha, keep, moment), gates(alpha, keep, moment))


@every_kind
def test_at_rest_nothing_is_random(gates: Gates):
    alpha, keep = drawn()
    torch.manual_seed(0)
    state = torch.get_rng_state()
    assert torch.equal(gates(alpha, keep, at(0.5)), gates(alpha, keep, at(0.5)))
    assert torch.equal(torch.get_rng_state(), state)


@every_kind
def test_an_edge_without_operations_is_shut_and_gives_no_gradient_that_is_not_a_number(gates: Gates):
    alpha, keep = drawn()
    keep[2] = False
    alpha.requires_grad_()
    (gradient,) = torch.autograd.grad((gates(alpha, keep, at(0.5, 3)) * torch.arange(5.0)).sum(), alpha)
    assert gradient.isfinite().all()
    assert (gradient[2] == 0).all()


@every_kind
def test_the_probability_of_being_open_has_the_gradient_of_finite_differences(gates: Gates):
    alpha, keep = drawn()
    alpha.requires_grad_()
    assert torch.autograd.gradcheck(lambda alpha: gates.open(alpha, keep, at(0.5)), (alpha,))


@every_kind
def test_gates_stay_in_float32_under_autocast(gates: Gates):
    alpha, keep = drawn(dtype=torch.float32)
    plain = gates(alpha, keep, at(0.5, 3))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = gates(alpha, keep, at(0.5, 3))
    assert cast.dtype == torch.float32
    assert torch.equal(cast, plain)


@every_kind
def test_nothing_competes(gates: Gates):
    assert not traits_of(gates).competes
    assert traits_of(softmax).competes


# Hard-concrete gates.


@pytest.mark.parametrize("gates", HARD.values(), ids=HARD)
@pytest.mark.parametrize("logit", [-1.5, -0.2, 0.0, 0.8])
def test_samples_are_shut_open_and_between_as_often_as_in_closed_form(gates: HardConcrete, logit: float):
    """Of 40,000 samples; the standard error of a share is at most 0.0025."""
    temperature = schedule.value(gates.temperature, at(0.5))
    alpha, keep = torch.full((200, 200), logit, dtype=torch.float64), torch.ones(200, 200, dtype=torch.bool)
    sampled = gates(alpha, keep, at(0.5, 0))
    likely = 1 / (1 + math.exp(-(logit - temperature * math.log(-gates.low / gates.high))))
    assert gates.open(alpha, keep, at(0.5))[0, 0].item() == pytest.approx(likely, rel=1e-12)
    assert (sampled > 0).double().mean().item() == pytest.approx(likely, abs=0.01)
    full = 1 / (1 + math.exp(-(logit - temperature * math.log((1 - gates.low) / (gates.high - 1)))))
    assert (sampled == 1).double().mean().item() == pytest.approx(full, abs=0.01)
    # At rest a gate is its own median.
    assert sampled.median().item() == pytest.approx(gates(alpha, keep, at(0.5))[0, 0].item(), abs=0.06)


def test_gates_of_one_edge_and_of_both_kinds_of_cell_are_independent():
    keep = torch.ones(28, 8, dtype=torch.bool)
    moment = at(0.0, 0)
    gates = HardConcrete(temperature=0.5)
    samples = torch.stack([gates(torch.zeros(28, 8), keep, moment).flatten() for _ in range(1000)])
    correlations = torch.corrcoef(samples.T) - torch.eye(28 * 8)
    assert correlations.abs().max() < 0.2  # of 25,000 pairs, each with a standard error of 0.03


@pytest.mark.parametrize("seed", [None, 3], ids=["rest", "sample"])
def test_gates_have_the_gradient_of_finite_differences_where_they_are_not_clipped(seed: int | None):
    alpha, keep = drawn()
    alpha.requires_grad_()
    gates = HardConcrete(temperature=0.3)
    assert torch.autograd.gradcheck(lambda alpha: gates(alpha, keep, at(0.5, seed)), (alpha,), eps=1e-7, atol=1e-5)
    found = gates(alpha, keep, at(0.5, seed))
    (gradient,) = torch.autograd.grad(found.sum(), alpha)
    between = (found > 0) & (found < 1)
    assert (gradient[between] > 0).all()
    assert (gradient[~between] == 0).all()
    assert 0 < between.sum() < keep.sum()


def test_a_gate_at_rest_is_exactly_zero_where_it_is_more_likely_shut_than_open():
    alpha = torch.linspace(-3, 1, 4001, dtype=torch.float64)[None]
    keep = torch.ones_like(alpha, dtype=torch.bool)
    for temperature in (1.0, 0.3, 0.1):
        gates = HardConcrete(temperature=temperature)
        assert torch.equal(gates(alpha, keep, at(0.0)) > 0, gates.open(alpha, keep, at(0.0)) > 0.5)


@pytest.mark.parametrize(("temperature", "shut"), [(0.1, 0.440), (1.0, 0.0833), (10.0, 3.9e-11)])
def test_at_a_high_temperature_every_gate_is_open_and_its_probability_has_no_gradient(temperature: float, shut: float):
    alpha = torch.zeros(1, 1, dtype=torch.float64, requires_grad=True)
    likely = HardConcrete(temperature=temperature).open(alpha, torch.ones(1, 1, dtype=torch.bool), at(0.0))
    (gradient,) = torch.autograd.grad(likely.sum(), alpha)
    assert 1 - likely.item() == pytest.approx(shut, rel=0.01)
    assert gradient.item() == pytest.approx(shut * (1 - shut), rel=0.01)


def test_the_temperature_falls_from_1_to_a_tenth_a_step_an_epoch():
    moments = [Moment(epoch=epoch, step=step, epochs=200, steps=100) for epoch in (0, 100, 199) for step in (0, 99)]
    assert [round(schedule.value(FALLING, moment), 4) for moment in moments] == [1.0, 1.0, 0.5477, 0.5477, 0.1, 0.1]


@pytest.mark.parametrize("options", [{"low": 0.0}, {"high": 1.0}, {"temperature": 0.0}, {"temperature": -1.0}])
def test_gates_that_could_not_open_or_shut_are_refused(options: dict[str, float]):
    with pytest.raises(ValueError, match="gates"):
        HardConcrete(**options)


# The strongest gates.


def test_two_operations_an_edge_weigh_exactly_one_and_pruned_ones_never_win():
    alpha, keep = drawn(edges=40, ops=8, dtype=torch.float32)
    for seed in (None, 0, 1):
        mix = StrongestGates()(alpha, keep, at(0.5, seed))
        assert ((mix == 0) | (mix == 1)).all()
        assert torch.equal(mix.sum(dim=1), keep.sum(dim=1).clamp_max(2).float())
        assert (mix[~keep] == 0).all()


def test_the_gradient_is_that_of_the_gates_that_won():
    alpha, keep = drawn(edges=20, ops=8)
    alpha.requires_grad_()
    strongest = StrongestGates(gates=HardConcrete(temperature=0.7))
    costs = torch.arange(8.0, dtype=torch.float64)
    mix = strongest(alpha, keep, at(0.0, 3))
    (found,) = torch.autograd.grad((mix * costs).sum(), alpha)
    gates = strongest.gates(alpha, keep, at(0.0, 3))  # the gates are drawn first, so from the same numbers
    (expected,) = torch.autograd.grad((gates * mix.detach() * costs).sum(), alpha)
    torch.testing.assert_close(found, expected)
    assert found.any()


def test_an_operation_is_set_back_as_often_as_it_is_told():
    """With one operation far ahead of two that never open, it is beaten only when it alone is set back."""
    alpha = torch.tensor([[20.0, -20.0, -20.0]]).expand(20_000, 3)
    keep = torch.ones(20_000, 3, dtype=torch.bool)
    chosen = StrongestGates(gates=HardConcrete(temperature=1.0), count=1, exclude=0.4)(alpha, keep, at(0.0, 0))
    # Set back, it ties with a rival that is not: 0 against 0. It loses such a tie of n by chance, (n - 1) / n.
    lost = 0.4 * (0.6**2 * 2 / 3 + 2 * 0.6 * 0.4 / 2)
    assert 1 - chosen[:, 0].mean().item() == pytest.approx(lost, abs=0.012)


def test_ties_fall_by_chance_and_at_rest_to_the_operation_listed_first():
    alpha, keep = torch.full((6000, 4), 9.0), torch.ones(6000, 4, dtype=torch.bool)
    strongest = StrongestGates(gates=HardConcrete(temperature=0.1), exclude=0.0)
    shares = strongest(alpha, keep, at(0.0, 0)).mean(dim=0)
    torch.testing.assert_close(shares, torch.full((4,), 0.5), rtol=0, atol=0.03)
    assert strongest(alpha[:1], keep[:1], at(0.0)).tolist() == [[1.0, 1.0, 0.0, 0.0]]


@pytest.mark.parametrize("options", [{"count": 0}, {"exclude": 1.0}, {"exclude": -0.1}])
def test_strongest_gates_that_could_not_be_chosen_are_refused(options: dict[str, float]):
    with pytest.raises(ValueError, match="at least 1 operation"):
        StrongestGates(**options)


# Sigmoids.


def test_sigmoids_are_the_logistic_function_written_out_and_each_hears_its_own_alpha_only():
    alpha, keep = drawn()
    alpha.requires_grad_()
    for seed in (None, 3):
        torch.testing.assert_close(Sigmoid()(alpha, keep, at(0.5, seed)), keep / (1 + (-alpha).exp()))
    jacobian = torch.autograd.functional.jacobian(lambda alpha: Sigmoid()(alpha, keep, at(0.5)), alpha)
    square = jacobian.reshape(alpha.numel(), alpha.numel())
    assert torch.equal(square, square.diagonal().diag())


# The relaxation.


def test_the_relaxation_has_the_closed_form_for_gates_and_the_weights_themselves_for_the_rest():
    alpha, keep = torch.randn(6, 5, generator=torch.Generator().manual_seed(0)), torch.ones(6, 5, dtype=torch.bool)
    gates = HardConcrete(temperature=partial(schedule.linear, start=1.0, stop=0.1))
    gated = relax(gates, alpha, keep, at(0.5, 0), nas_bench_201)
    torch.testing.assert_close(gated.open, torch.sigmoid(alpha + 0.55 * math.log(11)))
    assert torch.equal(gated.mix, gates(alpha, keep, at(0.5, 0)))
    plain = relax(softmax, alpha, keep, at(0.5, 0), nas_bench_201, mix=softmax(alpha, keep, at(0.5)))
    assert plain.open is plain.mix
