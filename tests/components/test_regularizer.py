"""Penalties against arithmetic written out, and against every state that a small cell's gates can be in."""

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from diffnas.components.gates import HardConcrete, StrongestGates
from diffnas.components.regularizer import (
    Regularizer,
    chains,
    expected_cost,
    group_sparsity,
    hinged_groups,
    longest_chain,
    path_depth,
    path_of_chosen,
    zero_one,
)
from diffnas.components.relaxation import Relaxation, relax
from diffnas.components.schedule import Moment, linear
from diffnas.components.weighting import Weighting, concrete, entmax, gumbel, softmax
from diffnas.space import SPACES, CellGraph, Edge, SearchSpace, darts, dense_cell, nas_bench_201, s1, without

MOMENT = Moment(epoch=0, step=0, epochs=1, steps=1)

# A cell of three edges, 0->1, 0->2 and 1->2, whose chain is the first and the last.
SMALL_OPS = ("none", "skip_connect", "max_pool_3x3", "nor_conv_1x1", "nor_conv_3x3")
SMALL = SearchSpace(
    name="small",
    cells={"normal": dense_cell(inputs=1, nodes=2, ops=SMALL_OPS, output="last")},
    ops=SMALL_OPS,
    skeleton="nas-bench-201",
    depth=3,
)
OPEN = torch.tensor(
    [[0.5, 0.9, 0.1, 0.2, 0.6], [0.3, 0.3, 0.3, 0.3, 0.3], [0.7, 0.6, 0.0, 0.5, 1.0]], dtype=torch.float64
)


def at(likely: Tensor, space: SearchSpace = SMALL, mix: Tensor | None = None, moment: Moment = MOMENT) -> Relaxation:
    keep = torch.tensor(space.offered)
    return Relaxation(
        alpha=likely, mix=likely if mix is None else mix, open=likely, keep=keep, moment=moment, space=space
    )


CHOSEN = torch.tensor(
    [[1, 1, 0, 0, 0], [0, 0, 0, 1, 1], [0, 1, 0, 0, 1]], dtype=torch.float64
)  # on the first edge no convolution takes part
SKIPS, CONVS = (0.9 + 0.3 + 0.6) / 3, ((0.2 + 0.6) / 2, (0.5 + 1.0) / 2)
REST = (0.5 + 0.1 + 0.2 + 0.6 + 4 * 0.3 + 0.7 + 0.0 + 0.5 + 1.0) / 12

BY_HAND: dict[str, tuple[Regularizer, float]] = {
    "both groups": (group_sparsity, 0.01 * SKIPS + 0.005 * REST),
    "skips alone": (partial(group_sparsity, skip=2.0, rest=0.0), 2 * SKIPS),
    "mean over the convolutions": (path_depth, -0.005 * CONVS[0] * CONVS[1]),
    "sum over them": (partial(path_depth, weight=1.0, joined="sum"), -0.8 * 1.5),
    "mean of the logarithms, of all but none": (
        partial(path_depth, weight=1.0, joined="log"),
        -(math.log(1.0) + math.log(1.0)) / 2,
    ),
    "any of them": (partial(path_depth, weight=1.0, joined="any"), -(1 - 0.8 * 0.4) * 1.0),
    # Taking part: skips of the first and last edge; none, and three convolutions; no pool.
    "groups with a hinge": (
        hinged_groups,
        0.01 * ((0.9 + 0.6) / 2 - 0.2) + 0.005 * ((0.5 + 0.3 + 0.3 + 1.0) / 4 - 0.2),
    ),
    "distances to one half": (partial(zero_one, weight=1.0), -(0.42 + 0.16 + 0.51) / 12),
    "the same without squares": (partial(zero_one, weight=2.0, power=1), -2 * (1.2 + 0.8 + 1.1) / 12),
    "nothing above the margin": (partial(hinged_groups, margin=0.99), 0.0),
    "the path of what takes part": (path_of_chosen, -0.005 * 1.0),
}


@pytest.mark.parametrize(("rule", "expected"), BY_HAND.values(), ids=BY_HAND)
def test_a_penalty_is_what_it_comes_to_by_hand(rule: Regularizer, expected: float):
    assert rule(at(OPEN, mix=CHOSEN)).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("rule", [group_sparsity, partial(hinged_groups, margin=0.0)], ids=["groups", "hinge"])
@pytest.mark.parametrize(
    ("name", "skip"), [("darts", "skip_connect"), ("chain", "none"), ("transformer", "none"), ("recurrent", "identity")]
)
def test_the_operation_that_only_bypasses_is_in_the_group_of_skips(rule: Any, name: str, skip: str):
    space = SPACES[name]
    likely = torch.tensor(space.offered).double().requires_grad_()
    rule(at(likely, space), skip=1.0, rest=0.0).backward()
    assert likely.grad is not None
    assert [op for op, pull in zip(space.ops, likely.grad.any(dim=0).tolist(), strict=True) if pull] == [skip]


def states() -> list[tuple[float, Tensor]]:
    """Every state of the gates of the two edges of the chain and its probability; the third edge plays no part."""
    rows = []
    for row in (0, 2):
        likely = OPEN[row].tolist()
        rows.append(
            [
                (_product(p if state else 1 - p for p, state in zip(likely, bits, strict=True)), bits)
                for bits in itertools.product([False, True], repeat=5)
            ]
        )
    return [
        (first * last, torch.tensor([one, [False] * 5, other]))
        for (first, one), (last, other) in itertools.product(*rows)
    ]


def _product(factors: Any) -> float:
    product = 1.0
    for factor in factors:
        product *= factor
    return product


EXPECTED: dict[str, Callable[[Tensor], float]] = {
    "mean": lambda convs: (convs[0].sum() / 2 * convs[2].sum() / 2).item(),
    "sum": lambda convs: (convs[0].sum() * convs[2].sum()).item(),
    "any": lambda convs: float(convs[0].any() and convs[2].any()),
}


@pytest.mark.parametrize("joined", EXPECTED)
def test_the_path_term_is_an_expectation_over_every_state_of_the_gates(joined: Any):
    """1,024 states: how often is the chain whole, or whole with convolutions taken by chance?"""
    listed = states()
    assert sum(probability for probability, _ in listed) == pytest.approx(1.0)
    expected = sum(probability * EXPECTED[joined](state[:, 3:]) for probability, state in listed)
    assert -path_depth(at(OPEN), weight=1.0, joined=joined).item() == pytest.approx(expected, rel=1e-12)


def test_group_sparsity_is_the_expected_share_of_open_gates():
    listed = states()
    shut = OPEN.clone()
    shut[1] = 0.0
    for options, columns in (({"skip": 1.0, "rest": 0.0}, [1]), ({"skip": 0.0, "rest": 1.0}, [0, 2, 3, 4])):
        expected = sum(p * state[:, columns].double().mean().item() for p, state in listed)
        assert group_sparsity(at(shut), **options).item() == pytest.approx(expected, rel=1e-12)


RULES: Mapping[str, Regularizer] = {
    "groups": group_sparsity,
    "groups with a hinge": hinged_groups,
    "path": path_depth,
    "path, sum": partial(path_depth, joined="sum"),
    "path, any": partial(path_depth, joined="any"),
    "path of what takes part": path_of_chosen,
}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("space", [darts, nas_bench_201, s1, SMALL], ids=lambda space: space.name)
def test_a_penalty_is_a_scalar_with_the_gradient_of_finite_differences(rule: Regularizer, space: SearchSpace):
    keep = torch.tensor(space.offered)
    generator = torch.Generator().manual_seed(0)
    alpha = torch.randn(keep.shape, generator=generator, dtype=torch.float64).requires_grad_()
    gates = StrongestGates(gates=HardConcrete(temperature=0.5))
    sample = gates(alpha, keep, Moment(epoch=0, step=0, epochs=1, steps=1, generator=generator)).detach()

    def penalty(alpha: Tensor) -> Tensor:
        return 1e3 * rule(relax(gates, alpha, keep, MOMENT, space, mix=sample))

    assert penalty(alpha).shape == ()
    assert torch.autograd.gradcheck(penalty, (alpha,))
    (gradient,) = torch.autograd.grad(penalty(alpha), alpha, materialize_grads=True)
    assert gradient.any()
    assert (gradient[~keep] == 0).all()


def test_a_removal_leaves_the_pressure_on_the_others_as_it_was():
    keep = torch.tensor(darts.offered)
    alpha = torch.zeros(28, 8, dtype=torch.float64, requires_grad=True)
    fewer = keep.clone()
    fewer[:, 1:3] = False
    gradients = [
        torch.autograd.grad(group_sparsity(relax(HardConcrete(temperature=0.5), alpha, kept, MOMENT, darts)), alpha)[0]
        for kept in (keep, fewer)
    ]
    torch.testing.assert_close(gradients[1], gradients[0] * fewer)


def test_a_skip_is_pressed_harder_than_any_other_operation():
    likely = torch.full((28, 8), 0.5, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(group_sparsity(at(likely, darts)), likely)
    skips = gradient[:, darts.ops.index("skip_connect")]
    others = gradient[:, [op != "skip_connect" for op in darts.ops]]
    torch.testing.assert_close(skips, torch.full((28,), 0.01 / 28, dtype=torch.float64))
    torch.testing.assert_close(others, torch.full((28, 7), 0.005 / 28 / 7, dtype=torch.float64))


def test_only_convolutions_of_the_chain_are_drawn_by_the_path_term_and_the_weakest_edge_most():
    likely = torch.full((28, 8), 0.5, dtype=torch.float64)
    rows = chains(darts)["normal"]
    likely[rows[2]] = 0.1
    likely.requires_grad_()
    (gradient,) = torch.autograd.grad(path_depth(at(likely, darts)), likely)
    drawn = {tuple(place) for place in gradient.nonzero().tolist()}
    convs = [darts.ops.index(op) for op in ("sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5")]
    assert drawn == {(row, column) for kind in chains(darts).values() for row in kind for column in convs}
    assert (gradient <= 0).all()
    assert gradient[rows].sum(dim=1).argmin() == 2


def test_weights_that_compete_have_a_path_that_is_at_most_certain():
    keep = torch.ones(28, 8, dtype=torch.bool)
    alpha = torch.zeros(28, 8, dtype=torch.float64)
    rule = partial(path_depth, weight=1.0, joined="sum")
    even = relax(partial(entmax, order=3.0), alpha, keep, MOMENT, darts)
    assert rule(even).item() == pytest.approx(-((4 / 8) ** 4))
    alpha[:, 4] = 1.0
    assert rule(relax(partial(entmax, order=3.0), alpha, keep, MOMENT, darts)).item() == pytest.approx(-1.0)


def test_scales_may_be_scheduled():
    rising = partial(linear, start=0.0, stop=1.0)
    middle = Moment(epoch=5, step=0, epochs=10, steps=1)
    for rule in (partial(path_depth, weight=rising), partial(group_sparsity, skip=rising, rest=rising)):
        plain = partial(rule.func, **dict.fromkeys(rule.keywords, 0.5))
        assert rule(at(OPEN, moment=middle)).item() == plain(at(OPEN)).item() != 0


# The chain.


def sparse_graph(*edges: tuple[int, int], inputs: int, output: tuple[int, ...], ops: list[str] | None = None):
    offered = [("skip_connect", op) for op in ops or ["sep_conv_3x3"] * len(edges)]
    return CellGraph(inputs=inputs, edges=tuple(Edge(*edge) for edge in edges), ops=tuple(offered), output=output)


CHAINS = {
    "dense, from the latest input": (darts.cells["normal"], [(1, 2), (2, 3), (3, 4), (4, 5)]),
    "one input": (nas_bench_201.cells["normal"], [(0, 1), (1, 2), (2, 3)]),
    "around a missing edge": (
        sparse_graph((0, 1), (0, 2), (1, 3), (2, 3), inputs=1, output=(3,)),
        [(0, 2), (2, 3)],
    ),
    "the longer way": (
        sparse_graph((0, 2), (1, 2), (1, 3), (2, 4), (3, 4), (3, 5), (4, 5), inputs=2, output=(2, 3, 4, 5)),
        [(1, 3), (3, 4), (4, 5)],
    ),
    "not over an edge that cannot learn": (
        sparse_graph(
            (0, 1), (0, 2), (1, 2), inputs=1, output=(2,), ops=["nor_conv_3x3", "nor_conv_3x3", "avg_pool_3x3"]
        ),
        [(0, 2)],
    ),
    "only to the output": (sparse_graph((0, 1), (0, 2), (1, 3), inputs=1, output=(2,)), [(0, 2)]),
    "none": (sparse_graph((0, 1), inputs=1, output=(1,), ops=["max_pool_3x3"]), []),
}


@pytest.mark.parametrize(("graph", "chain"), CHAINS.values(), ids=CHAINS)
def test_the_longest_chain_runs_from_an_input_to_the_output(graph: CellGraph, chain: list[tuple[int, int]]):
    assert [tuple(graph.edges[row]) for row in longest_chain(graph)] == chain


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_every_space_has_a_chain_in_each_kind_of_cell(space: SearchSpace):
    for kind, rows in chains(space).items():
        edges = [space.edges[row] for row in rows]
        if kind not in space.cells:  # a chain of all cells
            assert list(dict.fromkeys(own for own, _ in edges)) == list(space.cells)
            continue
        assert {own for own, _ in edges} == {kind}
        assert all(one.target == other.source for (_, one), (_, other) in itertools.pairwise(edges))


def test_a_space_whose_operations_cannot_learn_has_no_depth_to_reward():
    ops = ("none", "skip_connect")
    cells = {"normal": dense_cell(inputs=1, nodes=2, ops=ops, output="last")}
    space = SearchSpace(name="idle", cells=cells, ops=ops, skeleton="nas-bench-201")
    with pytest.raises(ValueError, match="no operation of normal cells in space 'idle' has weights"):
        path_depth(at(torch.rand(3, 2), space))


def test_the_zero_one_loss_of_fair_darts_is_a_mean_over_196_operations_and_flat_where_it_starts():
    space = without(darts, "none")
    alpha = torch.zeros(28, 7, dtype=torch.float64)
    alpha[3, 2] = math.log(9)  # a sigmoid of 0.9
    alpha.requires_grad_()
    loss = zero_one(at(alpha.sigmoid(), space), weight=10.0)
    assert loss.item() == pytest.approx(-10 * 0.4**2 / 196)
    (gradient,) = torch.autograd.grad(loss, alpha)
    assert gradient[3, 2].item() == pytest.approx(-10 * 2 * 0.4 * 0.9 * 0.1 / 196)
    assert gradient.count_nonzero() == 1


# The expected cost of SNAS, on an edge whose operations have probabilities 1/2, 1/4, 1/4 and cost 0, 2 and 6 millions.
COSTS = torch.tensor([[0.0, 2.0, 6.0]], dtype=torch.float64).expand(6, 3)
LOGITS = torch.tensor([[math.log(2.0), 0.0, 0.0]], dtype=torch.float64).expand(6, 3)
THREE = replace(
    nas_bench_201,
    cells={"normal": dense_cell(inputs=1, nodes=3, ops=nas_bench_201.ops[:3], output="last")},
    ops=nas_bench_201.ops[:3],
)


@pytest.mark.parametrize("weigh", [softmax, concrete, gumbel], ids=["softmax", "concrete", "gumbel"])
@pytest.mark.parametrize(
    ("logarithm", "cost", "gradient"),
    [(False, 2.0, [-1.0, 0.0, 1.0]), (True, math.log(2e6), [-0.5, 0.0, 0.5])],
    ids=["the costs", "their logarithms"],
)
def test_the_expected_cost_and_its_gradient_are_those_of_the_probabilities(
    weigh: Weighting, logarithm: bool, cost: float, gradient: list[float]
):
    """Whatever was drawn. By hand: p (c - 2) for the costs, over 2 for their logarithms."""
    alpha = LOGITS.clone().requires_grad_()
    moment = Moment(epoch=0, step=0, epochs=1, steps=1, generator=torch.Generator().manual_seed(0))
    relaxed = relax(weigh, alpha, torch.ones(6, 3, dtype=torch.bool), moment, THREE, costs=COSTS)
    penalty = expected_cost(relaxed, weight=0.1, logarithm=logarithm)
    assert penalty.item() == pytest.approx(0.1 * 6 * cost)
    (found,) = torch.autograd.grad(penalty, alpha)
    torch.testing.assert_close(found, 0.1 * torch.tensor(gradient, dtype=torch.float64).expand(6, 3))


def test_edges_that_cost_nothing_are_free_and_have_no_gradient():
    alpha = torch.zeros(6, 3, dtype=torch.float64, requires_grad=True)
    for logarithm in (False, True):
        relaxed = relax(softmax, alpha, torch.ones(6, 3, dtype=torch.bool), MOMENT, THREE, costs=0 * COSTS)
        penalty = expected_cost(relaxed, logarithm=logarithm)
        assert penalty.item() == 0
        assert not torch.autograd.grad(penalty, alpha)[0].any()
