from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from diffnas.components.discretize import discarded, few_skips, strongest_inputs, strongest_pairs, sure_inputs, winners
from diffnas.components.gates import HardConcrete
from diffnas.components.schedule import Moment
from diffnas.components.weighting import softmax
from diffnas.genotype import Genotype
from diffnas.space import SPACES, SearchSpace, darts, dense_cell, nas_bench_201, s1, without

NB_NONE, NB_SKIP, NB_CONV1, NB_CONV3, NB_POOL = range(5)


def scored(
    space: SearchSpace, scores: Mapping[tuple[str, int, int], Mapping[str, float]], floor: float = 0.01
) -> Tensor:
    """Scores with ``floor`` everywhere but where (kind, source, target) says otherwise."""
    table = torch.full((len(space.edges), len(space.ops)), floor)
    for row, (kind, edge) in enumerate(space.edges):
        for op, score in scores.get((kind, edge.source, edge.target), {}).items():
            table[row, space.ops.index(op)] = score
    return table


def read(genotype: Genotype, kind: str = "normal") -> list[tuple[str, int, int]]:
    return [tuple(connection) for connection in genotype.cells[kind].connections]


def into(genotype: Genotype, target: int, kind: str = "normal") -> list[tuple[str, int]]:
    return [(op, source) for op, source, into in read(genotype, kind) if into == target]


EVERYTHING = torch.ones(28, 8, dtype=torch.bool)


def test_a_node_keeps_its_two_strongest_inputs_strongest_first():
    scores = scored(
        darts,
        {
            ("normal", 0, 3): {"sep_conv_3x3": 0.2},
            ("normal", 1, 3): {"dil_conv_5x5": 0.4, "sep_conv_3x3": 0.39},
            ("normal", 2, 3): {"skip_connect": 0.3},
        },
    )
    assert into(strongest_inputs(scores, EVERYTHING, darts), 3) == [("dil_conv_5x5", 1), ("skip_connect", 2)]


def test_ties_go_to_the_lower_source_and_to_the_operation_listed_first():
    found = strongest_inputs(torch.full((28, 8), 0.125), EVERYTHING, darts)
    expected = [("max_pool_3x3", source, target) for target in (2, 3, 4, 5) for source in (0, 1)]
    assert read(found) == read(found, "reduce") == expected


def test_a_tie_between_later_sources_keeps_the_lower_of_them():
    tied = {"sep_conv_5x5": 0.5, "dil_conv_3x3": 0.5}
    scores = scored(darts, {("reduce", 1, 5): tied, ("reduce", 3, 5): tied, ("reduce", 4, 5): tied})
    found = strongest_inputs(scores, EVERYTHING, darts)
    assert into(found, 5, "reduce") == [("sep_conv_5x5", 1), ("sep_conv_5x5", 3)]


def test_none_cannot_be_chosen_but_takes_its_share_of_the_softmax():
    """An edge with the larger convolution in alpha loses to one whose ``none`` is weaker."""
    alpha = scored(
        darts,
        {
            ("normal", 0, 3): {"none": 5.0, "sep_conv_3x3": 2.0},
            ("normal", 1, 3): {"none": -5.0, "sep_conv_3x3": 1.0},
            ("normal", 2, 3): {"none": -5.0, "sep_conv_5x5": 1.5},
        },
        floor=0.0,
    )
    moment = Moment(epoch=0, step=0, epochs=1, steps=1)
    mixed = strongest_inputs(softmax(alpha, EVERYTHING, moment), EVERYTHING, darts)
    assert into(mixed, 3) == [("sep_conv_5x5", 2), ("sep_conv_3x3", 1)]
    shut = EVERYTHING.clone()
    shut[:, 0] = False
    alone = strongest_inputs(softmax(alpha, shut, moment), shut, darts)
    assert into(alone, 3) == [("sep_conv_3x3", 0), ("sep_conv_5x5", 2)]


def test_a_node_with_few_inputs_left_keeps_fewer():
    keep = EVERYTHING.clone()
    for row, (_, edge) in enumerate(darts.edges):
        if edge.target == 4 and edge.source != 1:
            keep[row] = torch.tensor([True] + [False] * 7)
    found = strongest_inputs(torch.full((28, 8), 0.125), keep, darts)
    assert into(found, 4) == [("max_pool_3x3", 1)]
    assert len(into(found, 5)) == 2


def test_pruned_operations_cannot_win_whatever_their_score():
    scores, keep = torch.rand(56 // 2, 8), EVERYTHING.clone()
    scores[:, 4] = 2.0
    keep[:, 4] = False
    for found in (strongest_inputs(scores, keep, darts), winners(scores, keep, darts)):
        assert all(op != "sep_conv_3x3" for kind in ("normal", "reduce") for op, _, _ in read(found, kind))


def test_nas_bench_201_takes_the_argmax_of_every_edge_with_none_among_them():
    scores = torch.eye(5)[[NB_CONV3, NB_NONE, NB_CONV1, NB_SKIP, NB_NONE, NB_POOL]]
    expected = [("nor_conv_3x3", 0, 1), ("nor_conv_1x1", 1, 2), ("skip_connect", 0, 3), ("avg_pool_3x3", 2, 3)]
    keep = torch.ones(6, 5, dtype=torch.bool)
    assert read(strongest_inputs(scores, keep, nas_bench_201)) == expected
    assert read(winners(scores, keep, nas_bench_201)) == expected


def test_winners_keep_any_number_of_inputs():
    scores = scored(
        darts,
        {(kind, s, t): {"none": 0.9} for kind in ("normal", "reduce") for s in range(5) for t in (2, 4)}
        | {("normal", s, 5): {"sep_conv_3x3": 0.5} for s in range(5)}
        | {("normal", s, 3): {"skip_connect": 0.5} for s in range(2)},
    )
    found = winners(scores, EVERYTHING, darts)
    degrees = [len(into(found, target)) for target in (2, 3, 4, 5)]
    assert degrees == [0, 2, 0, 5]
    assert into(found, 3) == [("skip_connect", 0), ("skip_connect", 1)]


def test_winners_without_none_take_the_best_other_operation_that_is_left():
    scores = scored(darts, {("normal", 0, 2): {"none": 0.9, "dil_conv_3x3": 0.3}, ("normal", 1, 2): {"none": 0.9}})
    keep = EVERYTHING.clone()
    keep[1, 1:] = False  # only none is left on normal 1->2
    found = winners(scores, keep, darts, none=False)
    assert into(found, 2) == [("dil_conv_3x3", 0)]
    assert into(winners(scores, keep, darts), 2) == []


def test_a_node_of_a_recurrent_cell_keeps_its_strongest_edge_although_none_wins_all_of_them():
    space = SPACES["recurrent"]
    scores = torch.full((len(space.edges), len(space.ops)), 0.1)
    scores[:, space.column("tanh")] = 0.3
    scores[space.rows["recurrent"].start + 4, space.column("relu")] = 0.35  # from node 1 to node 3
    scores[:, space.column("none")] = 0.4
    found = winners(scores, torch.ones_like(scores, dtype=torch.bool), space)
    assert found.problems() == ()
    into = {node: [(each.op, each.source) for each in found.cells["recurrent"].incoming(node)] for node in range(1, 9)}
    assert into == {node: [("relu", 1) if node == 3 else ("tanh", 0)] for node in into}


def test_a_node_of_which_nothing_is_left_but_none_stays_without_edges():
    space = SPACES["recurrent"]
    scores = torch.ones(len(space.edges), len(space.ops))
    keep = torch.zeros_like(scores, dtype=torch.bool)
    keep[:, space.column("none")] = True
    assert winners(scores, keep, space).cells["recurrent"].connections == ()


def test_exact_ties_of_winners_go_to_the_operation_listed_first():
    even = torch.full((6, 5), 0.2)
    keep = torch.ones(6, 5, dtype=torch.bool)
    assert read(winners(even, keep, nas_bench_201)) == []
    skips = [("skip_connect", *edge) for _, edge in nas_bench_201.edges]
    assert read(winners(even, keep, nas_bench_201, none=False)) == skips


def test_an_edge_offers_only_its_own_operations():
    keep = torch.tensor(s1.offered)
    found = winners(torch.rand(28, len(s1.ops)), keep, s1)
    for kind, graph in s1.cells.items():
        offered = dict(zip(graph.edges, graph.ops, strict=True))
        assert len(read(found, kind)) == 14
        assert all(op in offered[source, target] for op, source, target in read(found, kind))


def test_spaces_of_other_sizes_are_read_too():
    graph = dense_cell(inputs=2, nodes=2, ops=["skip_connect", "sep_conv_3x3"])
    space = SearchSpace(
        name="small", cells={"normal": graph, "reduce": graph}, ops=("skip_connect", "sep_conv_3x3"), in_degree=1
    )
    found = strongest_inputs(torch.rand(10, 2), torch.ones(10, 2, dtype=torch.bool), space)
    assert [target for _, _, target in read(found)] == [2, 3]
    assert without(darts, "none").column("none") is None


def test_discarded_is_the_share_of_the_weight_beside_the_strongest_kept_operation():
    mix = torch.tensor([[0.5, 0.3, 0.2], [0.0, 1.0, 0.0], [0.9, 0.6, 0.1]])
    keep = torch.tensor([[True, True, True], [False, True, False], [False, True, True]])
    torch.testing.assert_close(discarded(mix, keep), torch.tensor([0.5, 0.0, 0.1 / 0.7]))


def test_a_node_keeps_its_two_strongest_pairs_even_from_one_input():
    scores = scored(
        darts,
        {
            ("normal", 0, 3): {"sep_conv_3x3": 0.9, "dil_conv_5x5": 0.8, "none": 1.0},
            ("normal", 2, 3): {"skip_connect": 0.7},
        },
    )
    assert into(strongest_pairs(scores, EVERYTHING, darts), 3) == [("sep_conv_3x3", 0), ("dil_conv_5x5", 0)]
    assert into(strongest_inputs(scores, EVERYTHING, darts), 3) == [("sep_conv_3x3", 0), ("skip_connect", 2)]
    keep = EVERYTHING.clone()
    keep[2, darts.ops.index("dil_conv_5x5")] = False
    assert into(strongest_pairs(scores, keep, darts), 3) == [("sep_conv_3x3", 0), ("skip_connect", 2)]


def test_shares_of_the_odds_rank_gates_by_the_softmax_of_alpha():
    alpha = scored(
        darts,
        {
            ("normal", 0, 3): {"sep_conv_3x3": 3.0, "sep_conv_5x5": 2.9, "none": 3.0},
            ("normal", 1, 3): {"dil_conv_3x3": 2.0},
            ("normal", 2, 3): {"dil_conv_5x5": 1.0},
        },
        floor=0.0,
    ).double()
    likely = HardConcrete(temperature=0.1).open(alpha, EVERYTHING, Moment(epoch=0, step=0, epochs=1, steps=1))
    assert into(strongest_pairs(likely, EVERYTHING, darts), 3) == [("sep_conv_3x3", 0), ("sep_conv_5x5", 0)]
    shares = alpha.softmax(dim=1)
    found = strongest_pairs(likely, EVERYTHING, darts, shares=True)
    assert found == strongest_pairs(shares, EVERYTHING, darts)
    assert into(found, 3) == [("dil_conv_3x3", 1), ("sep_conv_3x3", 0)]


def test_shares_are_those_of_what_is_kept_and_never_not_a_number():
    likely = torch.rand(28, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    keep = torch.rand(28, 8, generator=torch.Generator().manual_seed(1)) < 0.5
    keep[3] = False
    likely[0, :2] = torch.tensor([0.0, 1.0])
    likely = likely * keep
    found = strongest_pairs(likely, keep, darts, shares=True)
    odds = likely.clamp(1e-15, 1 - 1e-15)
    odds = odds / (1 - odds) * keep
    assert found == strongest_pairs(odds / odds.sum(dim=1, keepdim=True).clamp_min(1e-300), keep, darts)


@pytest.mark.parametrize("shares", [False, True])
def test_without_an_in_degree_an_edge_is_absent_if_all_its_gates_are_shut(shares: bool):
    likely = torch.tensor(
        [
            [0.9, 0.1, 0.6, 0.7, 0.2],
            [0.9, 0.1, 0.2, 0.3, 0.4],
            [0.0, 0.5, 0.1, 0.1, 0.1],
            [0.9, 0.0, 0.0, 0.0, 0.0],
            [0.1, 0.8, 0.8, 0.1, 0.1],
            [0.9, 0.1, 0.1, 0.1, 0.95],
        ]
    )
    keep = torch.ones(6, 5, dtype=torch.bool)
    found = strongest_pairs(likely, keep, nas_bench_201, shares=shares, absent_below=0.5)
    assert read(found) == [
        ("nor_conv_3x3", 0, 1),
        ("skip_connect", 1, 2),
        ("skip_connect", 1, 3),
        ("avg_pool_3x3", 2, 3),
    ]
    everywhere = strongest_pairs(likely, keep, nas_bench_201, shares=shares)
    assert len(read(everywhere)) == 6


def test_only_sure_operations_feed_a_node_and_it_may_have_none():
    scores = scored(
        darts,
        {
            ("normal", 0, 2): {"sep_conv_3x3": 0.86, "none": 0.99},
            ("normal", 0, 3): {"skip_connect": 0.85, "sep_conv_3x3": 0.9},
            ("normal", 1, 3): {"dil_conv_5x5": 0.95},
            ("normal", 2, 3): {"max_pool_3x3": 0.89},
            ("normal", 3, 4): {"sep_conv_5x5": 0.84},
        },
    )
    found = sure_inputs(scores, EVERYTHING, darts)
    assert into(found, 2) == [("sep_conv_3x3", 0)]
    assert into(found, 3) == [("dil_conv_5x5", 1), ("sep_conv_3x3", 0)]
    assert into(found, 4) == into(found, 5) == []
    assert into(sure_inputs(scores, EVERYTHING, darts, at_least=0.8), 4) == [("sep_conv_5x5", 3)]


def test_without_an_in_degree_a_least_score_may_stand_for_none():
    scores = scored(
        nas_bench_201,
        {
            ("normal", 0, 1): {"none": 0.9, "skip_connect": 0.6},
            ("normal", 0, 2): {"none": 0.1, "nor_conv_3x3": 0.4},
            ("normal", 1, 2): {"avg_pool_3x3": 0.5},
        },
    )
    keep = torch.ones(6, 5, dtype=torch.bool)
    expected = [("skip_connect", 0, 1), ("avg_pool_3x3", 1, 2)]
    assert read(strongest_inputs(scores, keep, nas_bench_201, absent_below=0.5)) == expected
    assert read(sure_inputs(scores, keep, nas_bench_201, at_least=0.5)) == expected
    assert ("nor_conv_3x3", 0, 2) in read(strongest_inputs(scores, keep, nas_bench_201))


SKIPPING = {
    ("normal", 0, 2): {"skip_connect": 0.9, "sep_conv_3x3": 0.3},
    ("normal", 1, 2): {"skip_connect": 0.4, "max_pool_3x3": 0.1},
    ("normal", 0, 3): {"skip_connect": 0.8, "sep_conv_5x5": 0.35},
    ("normal", 1, 3): {"dil_conv_3x3": 0.5},
    ("normal", 2, 3): {"dil_conv_5x5": 0.37},
    ("normal", 0, 4): {"skip_connect": 0.7},
    ("normal", 1, 4): {"sep_conv_3x3": 0.6},
    ("reduce", 0, 2): {"skip_connect": 0.9},
    ("reduce", 1, 2): {"skip_connect": 0.9},
    ("reduce", 0, 3): {"skip_connect": 0.9},
}


def skips(genotype: Genotype, kind: str = "normal") -> list[tuple[int, int]]:
    return [(source, target) for op, source, target in read(genotype, kind) if op == "skip_connect"]


@pytest.mark.parametrize(
    ("most", "expected"),
    [
        (4, [(0, 2), (0, 3), (0, 4), (1, 2)]),
        (3, [(0, 2), (0, 3), (0, 4)]),
        (2, [(0, 2), (0, 3)]),
        (1, [(0, 2)]),
        (0, []),
    ],
)
def test_the_weakest_skips_of_the_normal_cell_give_way(most: int, expected: list[tuple[int, int]]):
    found = few_skips(scored(darts, SKIPPING), EVERYTHING, darts, most=most)
    assert sorted(skips(found)) == expected
    assert len(skips(found, "reduce")) == 3, "reduction cells keep theirs"


def test_an_edge_that_loses_its_skip_competes_with_what_it_has_left():
    found = few_skips(scored(darts, SKIPPING), EVERYTHING, darts, most=1)
    # Node 3: its skip at 0.8 is gone, and 0.35 is less than what the other two edges have.
    assert into(found, 3) == [("dil_conv_3x3", 1), ("dil_conv_5x5", 2)]
    assert into(found, 2) == [("skip_connect", 0), ("max_pool_3x3", 1)]


def limited(weights: list[list[float]], most: int) -> list[tuple[str, int, int]]:
    """The normal cell by the released rule, written with lists: zero the weakest selected skip, choose again."""
    edges = darts.cells["normal"].edges
    while True:
        best = [max(range(1, 8), key=lambda op, row=row: row[op]) for row in weights]
        chosen = []
        for target in range(2, 6):
            rows = [row for row, edge in enumerate(edges) if edge.target == target]
            chosen += sorted(rows, key=lambda row: -weights[row][best[row]])[:2]
        selected = [row for row in chosen if darts.ops[best[row]] == "skip_connect"]
        if len(selected) <= most:
            return [(darts.ops[best[row]], edges[row].source, edges[row].target) for row in chosen]
        weights[min(selected, key=lambda row: weights[row][3])][3] = 0.0


@pytest.mark.parametrize("seed", range(20))
def test_limited_skips_are_those_of_the_released_rule(seed: int):
    scores = torch.rand(28, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    scores[:, 3] += 0.5  # skips lead
    before = scores.clone()
    for most in (0, 2, 5):
        assert read(few_skips(scores, EVERYTHING, darts, most=most)) == limited(scores[:14].tolist(), most)
    assert torch.equal(scores, before)


def test_a_cell_that_offers_only_skips_keeps_them():
    keep = torch.zeros(28, 8, dtype=torch.bool)
    keep[:, 3] = True
    assert len(skips(few_skips(torch.ones(28, 8), keep, darts))) == 8


def test_on_nas_bench_201_skips_give_way_to_the_next_operation():
    scores = torch.tensor([[0.1, 0.5 + row / 100, 0.0, 0.2, 0.0] for row in range(6)])
    found = few_skips(scores, torch.ones(6, 5, dtype=torch.bool), nas_bench_201)
    assert skips(found) == [(1, 3), (2, 3)]
    assert [op for op, *_ in read(found)].count("nor_conv_3x3") == 4
