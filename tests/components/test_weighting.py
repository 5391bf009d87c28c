from functools import partial

import pytest
import torch
from torch import Tensor

from diffnas.components import entmax, schedule, weighting
from diffnas.components.gates import Gates
from diffnas.components.relaxation import relax
from diffnas.components.schedule import Moment
from diffnas.components.update import adam, move
from diffnas.components.weighting import LearnedEntmax, Weighting
from diffnas.method import COMPONENTS, METHODS, component, describe
from diffnas.space import nas_bench_201

START = Moment(epoch=0, step=0, epochs=10, steps=10)
RISING = partial(weighting.entmax, order=partial(schedule.linear, start=1.0, stop=3.0, until=0.6))

# Everything that can be named, everything that a method holds, and orders and schedules besides; gates, whose
# weights do not compete, have contracts of their own in test_gates.py.
ALL: dict[str, Weighting] = {
    **{f"component {name}": component("weighting", name) for name in COMPONENTS["weighting"]},
    **{describe(method.weighting): method.weighting for method in METHODS.values()},
    "sharp softmax": partial(weighting.softmax, temperature=0.1),
    "entmax 1": partial(weighting.entmax, order=1.0),
    "entmax 1.5": partial(weighting.entmax, order=1.5),
    "learned entmax 2.5": LearnedEntmax(2.5),
    "rising entmax": RISING,
}
WEIGHTINGS = {name: weigh for name, weigh in ALL.items() if not isinstance(weigh, Gates)}
every_weighting = pytest.mark.parametrize("weigh", WEIGHTINGS.values(), ids=WEIGHTINGS)


def drawn(
    edges: int = 7, ops: int = 5, scale: float = 0.3, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    """Random alpha, and a keep with at least one operation on every edge."""
    generator = torch.Generator().manual_seed(1)
    alpha = scale * torch.randn(edges, ops, generator=generator, dtype=dtype)
    keep = torch.rand(edges, ops, generator=generator) < 0.6
    keep[torch.arange(edges), torch.randint(ops, (edges,), generator=generator)] = True
    return alpha, keep


def at(fraction: float) -> Moment:
    return Moment(epoch=int(fraction * 10), step=0, epochs=10, steps=10)


@every_weighting
@pytest.mark.parametrize("fraction", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_sum_to_one_and_what_is_pruned_weighs_exactly_nothing(weigh: Weighting, fraction: float, dtype):
    alpha, keep = drawn(dtype=dtype)
    mix = weigh(alpha, keep, at(fraction))
    assert (mix.shape, mix.dtype) == (alpha.shape, dtype)
    assert (mix[~keep] == 0).all()
    assert (mix >= 0).all()
    torch.testing.assert_close(mix.sum(dim=1), torch.ones(len(mix), dtype=dtype))


@every_weighting
def test_a_decided_edge_has_weight_exactly_one(weigh: Weighting):
    alpha, _ = drawn(edges=5, dtype=torch.float32)
    keep = torch.eye(5, dtype=torch.bool)
    assert torch.equal(weigh(alpha, keep, at(0.9)), torch.eye(5))


@every_weighting
def test_an_edge_without_operations_gets_zeros_and_no_gradient_that_is_not_a_number(weigh: Weighting):
    alpha, keep = drawn()
    keep[2] = False
    alpha.requires_grad_()
    mix = weigh(alpha, keep, START)
    assert (mix[2] == 0).all()
    if mix.requires_grad:
        (gradient,) = torch.autograd.grad((mix * torch.arange(5.0)).sum(), alpha, materialize_grads=True)
        assert gradient.isfinite().all()
        assert (gradient[2] == 0).all()


@every_weighting
def test_the_gradient_is_that_of_finite_differences_and_nothing_where_pruned(weigh: Weighting):
    alpha, keep = drawn()
    alpha.requires_grad_()
    if weigh is weighting.uniform:
        assert not weigh(alpha, keep, at(0.5)).requires_grad
        return
    if weigh is weighting.simplex:  # its gradient is for the weights, not for the logarithms that alpha holds
        (gradient,) = torch.autograd.grad((weigh(alpha, keep, at(0.5)) * torch.arange(5.0)).sum(), alpha)
        assert torch.equal(gradient, keep * torch.arange(5.0, dtype=torch.float64))
        return
    # Far from every boundary of the support, where the map has a kink.
    assert torch.autograd.gradcheck(lambda alpha: weigh(alpha, keep, at(0.5)), (alpha,), eps=1e-7, atol=1e-4)
    mix = weigh(alpha, keep, at(0.5))
    (gradient,) = torch.autograd.grad((mix * torch.arange(5.0)).sum(), alpha)
    assert (gradient[~keep] == 0).all()


@every_weighting
def test_adding_a_constant_to_alpha_changes_nothing(weigh: Weighting):
    alpha, keep = drawn()
    torch.testing.assert_close(weigh(alpha + 3.0, keep, at(0.5)), weigh(alpha, keep, at(0.5)))


@every_weighting
def test_an_operation_that_was_pruned_has_no_influence(weigh: Weighting):
    alpha, keep = drawn()
    other = torch.where(keep, alpha, torch.full_like(alpha, 50.0))
    assert torch.equal(weigh(other, keep, at(0.5)), weigh(alpha, keep, at(0.5)))


@every_weighting
def test_weights_stay_in_float32_under_autocast(weigh: Weighting):
    alpha, keep = drawn(dtype=torch.float32)
    plain = weigh(alpha, keep, at(0.5))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = weigh(alpha, keep, at(0.5))
    assert cast.dtype == torch.float32
    assert torch.equal(cast, plain)


def test_softmax_agrees_with_exponentials_written_out():
    alpha, keep = drawn(edges=3)
    powers = (alpha / 0.7).exp() * keep
    expected = powers / powers.sum(dim=1, keepdim=True)
    torch.testing.assert_close(weighting.softmax(alpha, keep, START, temperature=0.7), expected)


def test_a_scheduled_temperature_is_the_one_of_the_moment():
    alpha, keep = drawn()
    falling = partial(weighting.softmax, temperature=partial(schedule.linear, start=2.0, stop=1.0))
    assert torch.equal(falling(alpha, keep, at(0.5)), weighting.softmax(alpha, keep, START, temperature=1.5))


def test_a_scheduled_order_begins_as_softmax_and_ends_at_its_stop():
    alpha, keep = drawn(scale=0.01)
    torch.testing.assert_close(RISING(alpha, keep, START), weighting.softmax(alpha, keep, START))
    assert torch.equal(RISING(alpha, keep, at(0.3)), entmax.entmax(alpha, keep, 2.0))
    assert torch.equal(RISING(alpha, keep, at(0.9)), entmax.entmax(alpha, keep, 3.0))


def test_uniform_weights_do_not_hear_alpha():
    keep = torch.tensor([[True, True, True, True, False]])
    assert weighting.uniform(torch.randn(1, 5), keep, START).tolist() == [[0.25, 0.25, 0.25, 0.25, 0.0]]


def test_a_learned_order_starts_where_it_is_told_and_stays_inside_its_bounds():
    learned = LearnedEntmax(2.0, low=1.1, high=3.0)
    assert learned.order.item() == pytest.approx(2.0)
    with torch.no_grad():
        learned.position.fill_(1e3)
        assert learned.order.item() == pytest.approx(3.0)
        learned.position.fill_(-1e3)
        assert learned.order.item() == pytest.approx(1.1)


@pytest.mark.parametrize("order", [1.0, 1.05, 3.5, 4.0])
def test_a_learned_order_cannot_start_outside_its_bounds(order: float):
    with pytest.raises(ValueError, match="must lie between"):
        LearnedEntmax(order)


def test_a_learned_order_gets_the_gradient_of_finite_differences():
    learned = LearnedEntmax(1.7).double()
    alpha, keep = drawn()
    costs = torch.arange(5.0, dtype=torch.float64)

    def loss(position: Tensor) -> Tensor:
        return (torch.func.functional_call(learned, {"position": position}, (alpha, keep, START)) * costs).sum()

    (gradient,) = torch.autograd.grad((learned(alpha, keep, START) * costs).sum(), learned.position)
    with torch.no_grad():
        step = 1e-6
        slope = (loss(learned.position + step) - loss(learned.position - step)) / (2 * step)
    torch.testing.assert_close(gradient, slope, rtol=1e-5, atol=1e-8)
    assert gradient != 0


def test_a_learned_order_moves_with_alpha_in_one_step():
    learned = LearnedEntmax(1.5)
    alpha, keep = drawn(dtype=torch.float32)
    alpha.requires_grad_()
    tensors = [alpha, *weighting.parameters(learned)]
    optimizer = adam(tensors, lr=0.01)
    loss = (learned(alpha, keep, START) * torch.arange(5.0)).sum()
    before, start = learned.order.item(), alpha.detach().clone()
    move(optimizer, tensors, torch.autograd.grad(loss, tensors), keep)
    assert learned.order.item() != before
    assert not torch.equal(alpha, start)


def test_only_a_weighting_with_something_to_learn_has_parameters():
    assert weighting.parameters(weighting.softmax) == []
    assert weighting.parameters(RISING) == []
    assert len(weighting.parameters(LearnedEntmax())) == 1


def drawing(seed: int, epoch: int = 0) -> Moment:
    return Moment(epoch=epoch, step=0, epochs=10, steps=1, generator=torch.Generator().manual_seed(seed))


def test_gumbel_draws_each_operation_as_often_as_softmax_weighs_it_whatever_the_temperature():
    alpha = torch.tensor([1.0, 0.0, -1.0, 0.5]).expand(40_000, 4)
    keep = torch.tensor([True, True, True, False]).expand(40_000, 4)
    expected = weighting.softmax(alpha[:1], keep[:1], START)[0]
    for epoch in (0, 9):
        mix = weighting.gumbel(alpha, keep, drawing(0, epoch))
        assert ((mix == 0) | (mix == 1)).all()
        assert (mix.sum(dim=1) == 1).all()
        # A frequency of 40,000 draws has a standard error of at most 0.0025.
        torch.testing.assert_close(mix.mean(dim=0), expected, rtol=0, atol=0.01)


def test_gumbel_has_the_gradient_of_the_softmax_of_what_was_drawn():
    alpha, keep = drawn()
    alpha.requires_grad_()
    costs = torch.arange(5.0, dtype=torch.float64)
    moment = drawing(3, epoch=5)
    (found,) = torch.autograd.grad((weighting.gumbel(alpha, keep, moment) * costs).sum(), alpha)
    waits = torch.empty_like(alpha).exponential_(generator=torch.Generator().manual_seed(3))
    temperature = 10 + (0.1 - 10) * 5 / 9
    soft = ((alpha - waits.log()) / temperature).masked_fill(~keep, -torch.inf).softmax(dim=1)
    (expected,) = torch.autograd.grad((soft * costs).sum(), alpha)
    torch.testing.assert_close(found, expected)
    assert found.any()


def test_the_temperature_of_gumbel_begins_at_10_and_the_last_epoch_has_a_tenth():
    assert [schedule.value(weighting.COOLING, drawing(0, epoch)) for epoch in (0, 9)] == pytest.approx([10.0, 0.1])


def test_an_edge_without_operations_draws_none():
    keep = torch.tensor([[True, False], [False, False]])
    assert weighting.gumbel(torch.zeros(2, 2), keep, drawing(0)).tolist() == [[1.0, 0.0], [0.0, 0.0]]


DISTRIBUTION = torch.tensor([1.0, 0.0, -1.0, 0.5], dtype=torch.float64)
ALL_BUT_LAST = torch.tensor([True, True, True, False])


@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_concrete_weights_are_the_softmax_of_what_was_drawn_and_so_is_their_gradient(temperature: float):
    alpha, keep = drawn()
    alpha.requires_grad_()
    costs = torch.arange(5.0, dtype=torch.float64)
    mix = weighting.concrete(alpha, keep, drawing(3), temperature=temperature)
    waits = torch.empty_like(alpha).exponential_(generator=torch.Generator().manual_seed(3))
    soft = ((alpha - waits.log()) / temperature).masked_fill(~keep, -torch.inf).softmax(dim=1)
    torch.testing.assert_close(mix, soft)
    found, expected = (torch.autograd.grad((each * costs).sum(), alpha)[0] for each in (mix, soft))
    torch.testing.assert_close(found, expected)
    assert found.any()


def test_cold_concrete_draws_are_one_operation_as_often_as_softmax_weighs_it():
    alpha, keep = DISTRIBUTION.expand(40_000, 4), ALL_BUT_LAST.expand(40_000, 4)
    mix = weighting.concrete(alpha, keep, drawing(0), temperature=1e-3)
    assert ((mix > 0.999).any(dim=1)).double().mean() > 0.99
    expected = weighting.softmax(alpha[:1], keep[:1], START)[0]
    # A frequency of 40,000 draws has a standard error of at most 0.0025.
    torch.testing.assert_close(mix.mean(dim=0), expected, rtol=0, atol=0.01)
    assert torch.equal(weighting.concrete(alpha[:1], keep[:1], START)[0], expected), "at rest: the probabilities"


def test_at_any_temperature_the_largest_concrete_weight_is_as_often_that_of_each_operation():
    alpha, keep = DISTRIBUTION.expand(40_000, 4), ALL_BUT_LAST.expand(40_000, 4)
    for temperature in (0.03, 1.0, 5.0):
        largest = weighting.concrete(alpha, keep, drawing(1), temperature=temperature).argmax(dim=1)
        often = torch.nn.functional.one_hot(largest, 4).double().mean(dim=0)
        torch.testing.assert_close(often, weighting.softmax(alpha[:1], keep[:1], START)[0], rtol=0, atol=0.01)


def test_concrete_weights_of_two_operations_have_the_density_of_their_distribution():
    """A logistic variable squeezed: P(weight <= x) = sigmoid(T logit(x) - (difference of the logits))."""
    alpha = torch.tensor([0.7, 0.0], dtype=torch.float64).expand(40_000, 2)
    mix = weighting.concrete(alpha, torch.ones(40_000, 2, dtype=torch.bool), drawing(2), temperature=0.4)
    for x in (0.05, 0.3, 0.5, 0.8, 0.99):
        likely = torch.sigmoid(0.4 * torch.logit(torch.tensor(x)) - 0.7).item()
        assert (mix[:, 0] <= x).double().mean().item() == pytest.approx(likely, abs=0.01)


def test_the_gradient_of_cold_concrete_draws_is_in_the_mean_that_of_the_expectation():
    """Of a linear cost, whose expectation over one-hot draws is a softmax times costs."""
    alpha = DISTRIBUTION.expand(400_000, 4).clone().requires_grad_()
    keep, costs = ALL_BUT_LAST.expand(400_000, 4), torch.tensor([2.0, -1.0, 0.5, 9.0], dtype=torch.float64)
    mix = weighting.concrete(alpha, keep, drawing(4), temperature=0.1)
    (found,) = torch.autograd.grad((mix * costs).sum(), alpha)
    likely = weighting.softmax(DISTRIBUTION[None], keep[:1], START)[0]
    expected = likely * (costs - (likely * costs).sum())
    torch.testing.assert_close(found.mean(dim=0), expected, rtol=0, atol=0.03)


def test_the_temperature_of_snas_ends_at_three_hundredths_and_pruned_edges_draw_nothing():
    assert [weighting.SHARPENING(drawing(0, epoch)) for epoch in (0, 9)] == pytest.approx([1.0, 0.03])
    keep = torch.tensor([[True, False], [False, False]])
    assert weighting.concrete(torch.zeros(2, 2), keep, drawing(0)).tolist() == [[1.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize("weigh", [weighting.gumbel, partial(weighting.concrete, temperature=0.5)])
def test_what_is_drawn_takes_part_as_likely_as_it_is_at_rest(weigh: Weighting):
    alpha, keep = (torch.zeros(6, 5, dtype=torch.float64), torch.ones(6, 5, dtype=torch.bool))
    alpha[:, 1] = 1.0
    found = relax(weigh, alpha, keep, drawing(0), nas_bench_201)
    assert torch.equal(found.open, weighting.softmax(alpha, keep, START))
    assert not torch.equal(found.mix, found.open)
