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


def controller_of(space: SearchSpace, target: Target, rule=discretize.winners, costing=None, said=None) -> Controller:
    sized = SizedSpace(space=space, picture=(3, 8, 8), classes=3, size=Size(4, 3))
    reach = Reach(costing or COUNTED[target.cost], sized, rule)
    return Controller((target,), {target.cost: reach}, (said if said is not None else []).append)


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


def test_cells_that_are_no_network_have_no_cost():
    controller = controller_of(darts, Target(cost="macs", value=1e6))
    at = relaxed(weighting.softmax, torch.zeros(28, 8, dtype=torch.float64), darts)
    nothing = discretize.winners(torch.eye(8, dtype=torch.float64)[[0] * 28], at.keep, darts)
    line = controller.close(at, nothing)["macs"]
    assert line["read_off"] is None
    assert line["lo"] < line["hi"]
