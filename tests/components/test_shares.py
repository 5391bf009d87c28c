"""GOLD-NAS: shares, the penalty on resources, what controls it, what leaves, when it ends, and what is kept."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from diffnas.components.control import growing
from diffnas.components.family import alone, quiet
from diffnas.components.gates import Sigmoid
from diffnas.components.pruning import smallest_shares
from diffnas.components.regularizer import resources
from diffnas.components.relaxation import Relaxation, relax
from diffnas.components.schedule import Moment
from diffnas.components.shares import shares
from diffnas.components.stopping import all_single, few_macs, macs_left
from diffnas.space import SearchSpace, gold_nas, nas_bench_201, s2, with_own_cells

LAST = Moment(epoch=0, step=4, epochs=10, steps=5)
MIDDLE = Moment(epoch=0, step=3, epochs=10, steps=5)

# Three nodes of one cell: 0 -> 1, then 0 and 1 -> 2, then 0, 1 and 2 -> 3; five operations, the first is none.
ROWS = {1: [0], 2: [1, 2], 3: [3, 4, 5]}


def everything(space: SearchSpace) -> Tensor:
    return torch.tensor(space.offered)


def at(
    open_: Tensor, keep: Tensor, space: SearchSpace = nas_bench_201, moment: Moment = LAST, **more: Any
) -> Relaxation:
    return Relaxation(alpha=open_, mix=open_, open=open_, keep=keep, moment=moment, space=space, **more)


def drawn(space: SearchSpace, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Probabilities and what is kept, every node keeping something."""
    generator = torch.Generator().manual_seed(seed)
    shape = len(space.edges), len(space.ops)
    keep = torch.rand(shape, generator=generator) < 0.7
    keep[:, -1] = True
    return torch.rand(shape, generator=generator, dtype=torch.float64) * keep, keep


def test_shares_are_parts_of_all_that_enters_a_node_and_none_is_no_part():
    open_EO, keep = drawn(nas_bench_201)
    found = shares(open_EO, keep, nas_bench_201)
    for rows in ROWS.values():
        total = sum(float(open_EO[row, column]) for row in rows for column in range(1, 5))
        for row in rows:
            expected = [0.0, *(float(open_EO[row, column]) / total for column in range(1, 5))]
            assert found[row].tolist() == pytest.approx(expected)


def test_the_same_node_of_two_cells_is_two_nodes():
    for space in (s2, with_own_cells(s2, 3)):
        open_EO, keep = drawn(space)
        total = shares(open_EO, keep, space).sum()
        assert float(total) == pytest.approx(4 * len(space.cells))


def test_a_node_that_has_lost_everything_has_no_shares():
    keep = everything(s2)
    keep[:2] = False
    found = shares(torch.ones(28, 2), keep, s2)
    assert found[:2].tolist() == [[0.0, 0.0]] * 2
    assert found.isfinite().all()


@pytest.mark.parametrize("mu", [0.0, 0.3])
def test_the_penalty_is_the_sum_written_out_and_alpha_follows_it(mu: float):
    generator = torch.Generator().manual_seed(1)
    alpha = torch.randn(6, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    keep = torch.rand(6, 5, generator=generator) < 0.8
    keep[:, 3] = True
    costs = torch.rand(6, 5, generator=generator, dtype=torch.float64) * 10

    def penalty(of: Tensor) -> Tensor:
        return resources(relax(Sigmoid(), of, keep, LAST, nas_bench_201, costs=costs), weight=0.5, mu=mu)

    expected, live, logits = 0.0, keep.tolist(), alpha.tolist()
    for rows in ROWS.values():
        inside = [(row, column) for row in rows for column in range(1, 5) if live[row][column]]
        sigmoids = {(row, column): 1 / (1 + math.exp(-logits[row][column])) for row, column in inside}
        for place in inside:
            ratio = sigmoids[place] / sum(sigmoids.values())
            expected += 0.5 * math.log(1 + len(inside) * ratio) * (1 + mu * float(costs[place]))
    assert penalty(alpha).item() == pytest.approx(expected)
    assert torch.autograd.gradcheck(penalty, alpha)
    (gradient,) = torch.autograd.grad(penalty(alpha), alpha)
    assert (gradient[~keep] == 0).all()
    assert (gradient[:, 0] == 0).all()


def test_the_penalty_favors_the_few_and_the_cheap():
    keep = everything(s2)
    even, uneven = torch.full((28, 2), 0.5), torch.tensor([[0.9, 0.1]] * 28)
    assert resources(at(uneven, keep, s2), weight=1.0) < resources(at(even, keep, s2), weight=1.0)
    costs = torch.tensor([[0.0, 5.0]] * 28)
    cheap, dear = (resources(at(x, keep, s2, costs=costs), weight=1.0, mu=1.0) for x in (uneven, uneven.flip(1)))
    assert cheap < dear


def history(*left: int) -> list[dict[str, Any]]:
    return [{"indicators": {"live_ops": count}} for count in left]


def test_the_weight_of_the_penalty_follows_a_scripted_search():
    """Of 56 operations the epochs remove 0, 0, 3, 4, 0, 5, 6, 0; 4 are enough."""
    script = history(56, 56, 53, 49, 49, 44, 38, 38)
    expected, lam, delta = [0.0], 0.0, 1e-5
    for gone in (0, 0, 3, 4, 0, 5, 6, 0):
        if gone >= 4:
            delta, lam = 1e-5, lam / 2
        else:
            delta = 2 * delta
            lam = lam + delta
        expected.append(lam)
    assert expected[3] == pytest.approx(14e-5)
    assert [growing(script[:epochs], s2) for epochs in range(9)] == pytest.approx(expected)
    penalty = [resources(at(*drawn(s2), s2, history=script[:epochs])) for epochs in range(9)]
    unit = resources(at(*drawn(s2), s2), weight=1.0)
    assert [float(each / unit) for each in penalty] == pytest.approx(expected)


# The shares of one node with three edges and two operations, the smallest ones told apart.
NODE = [0.012, 0.03, 0.04, 0.049, 0.3, 0.569]


def node_of(parts: list[float]) -> tuple[Tensor, Tensor]:
    """Probabilities in space s2 that give node 3 of the normal cell (rows 2 to 4) these shares; all else is even."""
    open_EO = torch.full((28, 2), 0.5, dtype=torch.float64)
    open_EO[2:5] = torch.tensor(parts, dtype=torch.float64).view(3, 2)
    return open_EO, everything(s2)


def left(keep: Tensor) -> list[int]:
    return keep[2:5].flatten().nonzero().flatten().tolist()


@pytest.mark.parametrize(
    ("parts", "moment", "count", "stay"),
    [
        (NODE, LAST, 1, [1, 2, 3, 4, 5]),
        # As the others leave, the shares of the rest grow: 0.049 / 0.918 is above the bound.
        (NODE, LAST, 4, [3, 4, 5]),
        (NODE, MIDDLE, 4, [0, 1, 2, 3, 4, 5]),
        ([0.01, 0.009, 0.2, 0.2, 0.281, 0.3], MIDDLE, 4, [2, 3, 4, 5]),
        ([0.01, 0.009, 0.005, 0.005, 0.005, 0.966], LAST, 1, [5]),
        ([0.2, 0.2, 0.2, 0.2, 0.1, 0.1], LAST, 4, [0, 1, 2, 3, 4, 5]),
        ([1.0, 1e-9, 1e-9, 1e-9, 1e-9, 1e-9], MIDDLE, 4, [0]),
    ],
)
def test_small_shares_leave_at_once_and_the_smallest_at_the_end_of_an_epoch(
    parts: list[float], moment: Moment, count: int, stay: list[int]
):
    open_EO, keep = node_of(parts)
    found = smallest_shares(at(open_EO, keep, s2, moment), count=count)
    assert left(found) == stay
    others = torch.ones(28, dtype=torch.bool)
    others[2:5] = False
    assert found[others].all()


def test_an_edge_may_lose_everything_and_a_node_keeps_its_strongest():
    open_EO, keep = node_of([1e-4, 1e-4, 1e-4, 2e-4, 1.0, 0.9])
    assert smallest_shares(at(open_EO, keep, s2)).sum(dim=1).tolist()[2:5] == [0, 0, 2]
    strongest = torch.full((6, 5), 1e-30, dtype=torch.float64)
    found = smallest_shares(at(strongest, everything(nas_bench_201), moment=MIDDLE), least=1.0)
    assert [found[rows, 1:].any() for rows in ROWS.values()] == [True] * 3
    assert found[:, 0].all(), "none costs nothing and stays"


def test_what_left_does_not_come_back_and_no_number_removes_nothing():
    open_EO, keep = node_of(NODE)
    keep[0, 0] = keep[3] = False
    assert not (smallest_shares(at(open_EO * keep, keep, s2)) & ~keep).any()
    lost = torch.full((28, 2), torch.nan)
    assert torch.equal(smallest_shares(at(lost, everything(s2), s2)), everything(s2))


def test_the_cells_that_stood_still_for_more_than_three_epochs_are_kept():
    script = history(56, 56, 56, 56, 52, 52, 52, 52, 50, 50, 50, 50, 50, 49)
    assert quiet(script, s2) == [3, 12]
    assert quiet(script, s2, epochs=2) == [3, 7, 12]
    assert quiet(script[:-1], s2) == [3]
    assert quiet([], s2) == alone(script, s2) == []


def test_a_search_ends_once_no_node_can_lose_more():
    keep = everything(s2)
    keep[:] = False
    nodes = {(kind, edge.target): row for row, (kind, edge) in enumerate(s2.edges)}
    keep[list(nodes.values()), 1] = True
    assert all_single([{"keep": keep.tolist()}], s2) == "every node has one operation left"
    keep[0, 0] = True
    assert all_single([{"keep": keep.tolist()}], s2) is None
    assert all_single([], s2) is None
    with_none = everything(nas_bench_201)
    with_none[:, 1:] = False
    assert all_single([{"keep": with_none.tolist()}], nas_bench_201) is not None


@pytest.mark.parametrize(("rule", "name", "floor"), [(macs_left, "share", 0.2), (few_macs, "macs", 0.2)])
def test_a_search_ends_at_its_floor_of_multiply_adds(rule: Any, name: str, floor: float):
    entry = {"share": "macs_left", "macs": "macs"}[name]
    assert rule([], s2, **{name: floor}) is None
    assert rule([{entry: 0.1}, {entry: 0.21}], s2, **{name: floor}) is None
    assert "wanted" in rule([{entry: 0.21}, {entry: 0.2}], s2, **{name: floor})


def test_the_space_of_gold_nas_is_that_of_s2_without_a_rule_for_inputs():
    assert replace(gold_nas, name="s2", channels=16, depth=8, in_degree=2) == s2
    assert (gold_nas.channels, gold_nas.depth, gold_nas.in_degree) == (36, 14, None)
    assert len(with_own_cells(gold_nas).edges) == 14 * 14
