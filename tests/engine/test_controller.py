import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from diffnas.components import discretize, weighting
from diffnas.components.gates import Sigmoid
from diffnas.components.relaxation import Relaxation, relax
from diffnas.components.schedule import Moment
from diffnas.engine.controller import SLOWEST, Controller, Dual
from diffnas.engine.costing import COUNTED, Counting, Reach
from diffnas.engine.target import Target
from diffnas.nets.sized import Additive, Size, SizedSpace
from diffnas.space import DARTS_OPS, SearchSpace, darts, dense_cell, s2

NOW = Moment(epoch=0, step=0, epochs=1, steps=1)
EDGE = SearchSpace(
    name="edge",
    cells={"normal": dense_cell(inputs=1, nodes=1, ops=DARTS_OPS, output="last")},
    ops=DARTS_OPS,
    skeleton="nas-bench-201",
)
COSTS = [0.0, 0.0, 0.0, 1.0, 4.0, 7.0, 3.0, 5.0]
Z1 = [0.30, 0.25, 0.20, 0.10, 0.0, -0.05, -0.10, -0.20]
Z2 = [-0.20, -0.10, -0.05, 0.0, 0.10, 0.30, 0.25, 0.20]


class Listed(Counting):
    """Costs as they are listed."""

    def additive(self, sized: SizedSpace) -> Additive:
        return Additive(base=0.0, ops=torch.tensor([COSTS], dtype=torch.float64))


class Flat(Counting):
    """Operations that cost the same."""

    def additive(self, sized: SizedSpace) -> Additive:
        return Additive(base=0.0, ops=torch.ones(1, 8, dtype=torch.float64))


def controller_of(
    space: SearchSpace, target: Target, rule=discretize.winners, costing=None, said=None, **more
) -> Controller:
    sized = SizedSpace(space=space, picture=(3, 8, 8), classes=3, size=Size(4, 3))
    reach = Reach(costing or COUNTED[target.cost], sized, rule)
    return Controller((target,), {target.cost: reach}, (said if said is not None else []).append, **more)


def relaxed(weigh: weighting.Weighting, alpha: Tensor, space: SearchSpace, keep: Tensor | None = None) -> Relaxation:
    return relax(weigh, alpha, torch.tensor(space.offered) if keep is None else keep, NOW, space)


def entmax(order: float):
    return lambda alpha, keep, moment: weighting.entmax(alpha, keep, moment, order=order)


@pytest.mark.parametrize(
    ("z", "weigh", "expected", "gradient"),
    [
        (Z1, weighting.softmax, 2.150711, [-0.3362, -0.3198, -0.3042, -0.1473, 0.2142, 0.5342, 0.0890, 0.2702]),
        (
            Z1,
            entmax(1.5),
            1.530637,
            [-0.92019, -0.87042, -0.82066, -0.35886, 0.62749, 1.43907, 0.26475, 0.63882],
        ),
        (Z1, entmax(2.0), 0.25, [-1, -1, -1, 0, 3, 0, 0, 0]),
        (Z1, entmax(3.0), 0.0, [0] * 8),
        (Z1, Sigmoid(), 9.61339, [0, 0, 0, 0.24938, 1, 1.74891, 0.74813, 1.23758]),
        (Z2, weighting.softmax, 2.875281, [-0.27261, -0.30128, -0.31673, -0.21717, 0.14395, 0.64477, 0.01855, 0.30053]),
        (Z2, entmax(2.0), 4.85, [0, 0, 0, -3, 0, 3, -1, 1]),
        (Z2, entmax(3.0), 5.23978, [0, 0, 0, 0, 0, 4.46307, -5.23977, 0.7767]),
    ],
)
def test_the_expected_cost_and_its_gradient_are_known(z, weigh, expected: float, gradient: list[float]):
    controller = controller_of(EDGE, Target(cost="macs", value=1.0), costing=Listed("macs"))
    alpha = torch.tensor([z], dtype=torch.float64, requires_grad=True)
    at = relaxed(weigh, alpha, EDGE)
    cost = controller.expected("macs", at)
    assert cost.item() == pytest.approx(expected, abs=1e-5)
    (found,) = torch.autograd.grad(cost, alpha)
    assert found[0].tolist() == pytest.approx(gradient, abs=6e-5)
    # What is dead is not brought back.
    assert bool((found[at.open == 0] == 0).all())


@pytest.mark.parametrize("weigh", [weighting.softmax, entmax(1.5), Sigmoid()], ids=["softmax", "entmax", "gates"])
def test_the_gradient_of_the_expected_cost_is_that_of_finite_differences(weigh):
    controller = controller_of(EDGE, Target(cost="macs", value=1.0), costing=Listed("macs"))
    alpha = torch.tensor([Z1], dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda alpha: controller.expected("macs", relaxed(weigh, alpha, EDGE)), (alpha,))


def test_the_penalty_is_the_multiplier_times_how_far_the_expected_cost_lies_above_the_target():
    controller = controller_of(EDGE, Target(cost="macs", value=2.0), costing=Listed("macs"))
    controller.duals["macs"].multiplier = 3.0
    at = relaxed(weighting.softmax, torch.tensor([Z1], dtype=torch.float64), EDGE)
    assert float(controller.penalty(at)) == pytest.approx(3 * (2.150711 / 2 - 1), abs=1e-5)


def test_a_decided_cell_is_expected_to_cost_what_it_costs_and_an_even_one_the_mean():
    controller = controller_of(s2, Target(cost="macs", value=2e6))
    keep = torch.tensor(s2.offered)
    reach = controller.reaches["macs"]
    alpha = torch.zeros(keep.shape, dtype=torch.float64)
    even = relaxed(weighting.softmax, alpha, s2)
    assert float(controller.expected("macs", even)) == pytest.approx(
        reach.additive.base + float(reach.additive.ops.sum()) / 2
    )
    alpha[:, 1] = 100.0
    decided = relaxed(weighting.softmax, alpha, s2)
    cells = discretize.winners(decided.open, keep, s2)
    assert float(controller.expected("macs", decided)) == pytest.approx(reach.costing.of(reach.sized, cells))


def test_where_nodes_keep_two_inputs_the_expected_cost_counts_two_inputs():
    controller = controller_of(darts, Target(cost="macs", value=1e6), rule=discretize.strongest_inputs)
    assert controller.reaches["macs"].share == pytest.approx(8 / 14)


def test_the_multiplier_moves_by_a_constant_signal_linearly_and_never_below_0():
    dual = Dual(multiplier=1.0, rate=0.5)
    moved = []
    for _ in range(3):
        dual.ascend(0.1)
        moved.append(dual.multiplier)
    assert moved == pytest.approx([1.05, 1.10, 1.15])
    for _ in range(100):
        dual.ascend(-0.9)
    assert dual.multiplier == 0


def test_the_rate_is_halved_whenever_the_signal_crosses_the_target_down_to_a_floor():
    dual = Dual()
    for side in (1, -1, -1, 1):
        dual.ascend(0.1 * side)
    assert dual.rate == 0.25
    for k in range(20):
        dual.ascend(0.1 * (-1) ** k)
    assert dual.rate == SLOWEST


def test_the_signal_is_the_expected_cost_until_choices_are_sharp_and_then_the_cells():
    controller = controller_of(EDGE, Target(cost="macs", value=2e4))
    reach = controller.reaches["macs"]
    at = relaxed(weighting.softmax, torch.zeros(1, 8, dtype=torch.float64), EDGE)
    cells = discretize.winners(at.open, at.keep, EDGE)
    controller.ascend(at, cells)
    expected = float(controller.expected("macs", at)) / 2e4 - 1
    assert controller.duals["macs"].multiplier == pytest.approx(max(0, 1 + expected))
    alpha = torch.zeros(1, 8, dtype=torch.float64)
    alpha[0, 5] = 4.0  # a weight of 0.89
    sharp = relaxed(weighting.softmax, alpha, EDGE)
    cells = discretize.winners(sharp.open, sharp.keep, EDGE)
    controller.duals["macs"] = Dual(multiplier=5.0)
    controller.ascend(sharp, cells)
    read = reach.costing.of(reach.sized, cells) / 2e4 - 1
    assert controller.duals["macs"].multiplier == pytest.approx(5.0 + read)


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.0, 1.0))
def test_no_removals_put_the_target_out_of_reach(seed: int, share: float):
    sized = SizedSpace(space=s2, picture=(3, 8, 8), classes=3, size=Size(4, 3))
    offered = torch.tensor(s2.offered)
    low, high = Reach(COUNTED["macs"], sized, discretize.winners).interval(offered)
    target = Target(cost="macs", value=low + share * (high - low))
    controller = controller_of(s2, target)
    draw = torch.Generator().manual_seed(seed)
    keep = offered.clone()
    for _ in range(8):
        at = relaxed(weighting.softmax, torch.randn(keep.shape, generator=draw, dtype=torch.float64), s2, keep)
        wanted = keep & (torch.rand(keep.shape, generator=draw) < 0.7)
        wanted |= keep & (wanted.sum(dim=1, keepdim=True) == 0)
        kept = controller.guarded(keep, wanted, at)
        assert not bool((kept & ~keep).any())
        assert not bool((wanted & ~kept).any())
        keep = kept
        assert controller.reaches["macs"].interval(keep).low <= target.value * (1 + 1e-9)


def test_pruning_that_is_held_back_raises_the_multiplier_and_is_said_after_three_epochs():
    said: list[str] = []
    sized = SizedSpace(space=s2, picture=(3, 8, 8), classes=3, size=Size(4, 3))
    low, _ = Reach(COUNTED["macs"], sized, discretize.winners).interval(torch.tensor(s2.offered))
    controller = controller_of(s2, Target(cost="macs", value=low * 1.05), said=said)
    offered = torch.tensor(s2.offered)
    at = relaxed(weighting.softmax, torch.zeros(offered.shape, dtype=torch.float64), s2)
    only_dear = offered.clone()
    only_dear[:, 0] = False
    for _ in range(3):
        kept = controller.guarded(offered, only_dear, at)
        assert kept[:, 0].sum() > 20
        controller.end_epoch()
    assert len(said) == 1
    assert "pruning is too fast for the target" in said[0]
    assert "--prune-warmup" in said[0]
    controller.duals["macs"] = Dual(multiplier=2.0, rate=0.0)
    controller.ascend(at, discretize.winners(at.open, at.keep, s2))
    assert controller.duals["macs"].multiplier == pytest.approx(2.2)


def test_a_target_that_leaves_no_choice_is_said():
    said: list[str] = []
    controller = controller_of(s2, Target(cost="macs", value=2e4), said=said)
    at = relaxed(weighting.softmax, torch.zeros(len(s2.edges), 2, dtype=torch.float64), s2)
    for _ in range(20):
        controller.ascend(at, discretize.winners(at.open, at.keep, s2))
    assert "leaves no choice" in said[0]


def test_a_controller_goes_back_to_where_it_was():
    first, second = (controller_of(s2, Target(cost="macs", value=5e4)) for _ in range(2))
    at = relaxed(weighting.softmax, torch.zeros(len(s2.edges), 2, dtype=torch.float64), s2)
    cells = discretize.winners(at.open, at.keep, s2)
    for _ in range(3):
        first.ascend(at, cells)
    second.load_state_dict(first.state_dict())
    assert second.state_dict() == first.state_dict()
    assert second.close(at, cells) == first.close(at, cells)
    before = {
        name: value for name, value in first.state_dict().items() if name in ("duals", "held", "holding", "held_now")
    }
    second.load_state_dict(before)  # of a checkpoint of before
    assert second.state_dict() == first.state_dict()


def test_cells_that_are_no_network_have_no_cost():
    controller = controller_of(darts, Target(cost="macs", value=1e6))
    at = relaxed(weighting.softmax, torch.zeros(28, 8, dtype=torch.float64), darts)
    nothing = discretize.winners(torch.eye(8, dtype=torch.float64)[[0] * 28], at.keep, darts)
    line = controller.close(at, nothing)["macs"]
    assert line["read_off"] is None
    assert line["lo"] < line["hi"]


def test_a_target_that_tightens_falls_from_the_most_to_its_value_by_the_same_share_in_every_step():
    controller = controller_of(EDGE, Target(cost="macs", value=2e4), tightens=True)
    (target,) = controller.targets
    high = controller.reaches["macs"].interval(torch.tensor(EDGE.offered)).high
    wanted = []
    for controller.progress in (0.0, 0.4, 0.6, 0.8, 1.0):
        wanted.append(controller.wanted(target).value)
    assert wanted[:2] == [high, high]
    assert wanted[-1] == pytest.approx(2e4)
    assert wanted[2] / wanted[1] == pytest.approx(wanted[3] / wanted[2]) == pytest.approx((2e4 / high) ** (1 / 3))
    # Both the penalty and the multiplier see the target as it is now.
    controller.progress = 0.0
    at = relaxed(weighting.softmax, torch.zeros(1, 8, dtype=torch.float64), EDGE)
    assert float(controller.penalty(at)) == pytest.approx(float(controller.expected("macs", at)) / high - 1)
    controller.ascend(at, discretize.winners(at.open, at.keep, EDGE))
    assert controller.duals["macs"].multiplier == pytest.approx(float(controller.expected("macs", at)) / high)


def test_by_balance_a_multiplier_begins_where_the_penalty_pulls_as_hard_as_the_loss():
    controller = controller_of(EDGE, Target(cost="macs", value=2.0), costing=Listed("macs"), start=None)
    alpha = torch.tensor([Z1], dtype=torch.float64, requires_grad=True)
    at = relaxed(weighting.softmax, alpha, EDGE)
    (pull,) = torch.autograd.grad(controller.penalty(at), at.open)
    # A gradient of 3 and of 5 times the penalty's, whatever is added to all of an edge.
    for times in (3.0, 5.0):
        controller.weigh(at, times * pull + 17.0)
    controller.balance()
    dual = controller.duals["macs"]
    assert (dual.multiplier, dual.rate) == pytest.approx((4.0, 1.0))
    assert controller.ratios is None
    for k in range(20):
        dual.ascend(0.1 * (-1) ** k)
    assert dual.rate == pytest.approx(1.0 / 16)


def test_a_multiplier_by_balance_can_move_even_if_nothing_was_there_to_be_weighed():
    for costing, gradient in ((Listed("macs"), torch.zeros(1, 8)), (Flat("macs"), torch.ones(1, 8))):
        controller = controller_of(EDGE, Target(cost="macs", value=2.0), costing=costing, start=None)
        at = relaxed(weighting.softmax, torch.zeros(1, 8, dtype=torch.float64), EDGE)
        controller.weigh(at, gradient)
        controller.balance()
        assert 0 < controller.duals["macs"].multiplier <= 1


def test_late_in_a_search_costs_that_are_measured_learn_from_the_cells():
    told: list[str] = []

    class Learning(Listed):
        def learned(self, sized, genotype):
            told.append("learned")
            return Learning("params")

    controller = controller_of(EDGE, Target(cost="macs", value=2e4), costing=Learning("macs"))
    at = relaxed(weighting.softmax, torch.tensor([Z1], dtype=torch.float64), EDGE)
    cells = discretize.winners(torch.eye(8, dtype=torch.float64)[[4]], at.keep, EDGE)
    controller.progress = 0.5
    before = controller.close(at, cells)["macs"]
    assert told == []
    controller.progress = 0.7
    after = controller.close(at, cells)["macs"]
    assert told == ["learned"]
    assert after["read_off"] != before["read_off"]
    assert after["lo"] != before["lo"]
