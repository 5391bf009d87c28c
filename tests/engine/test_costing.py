import itertools
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from diffnas.components import discretize
from diffnas.engine.costing import COUNTED, Reach
from diffnas.genotype import Genotype, published
from diffnas.nets.sized import Size, SizedSpace, is_network
from diffnas.nets.slot import Slot
from diffnas.space import SearchSpace, darts, dense_cell, nas_bench_201, s2


def small(ops: tuple[str, ...], in_degree: int | None = None) -> SearchSpace:
    cell = dense_cell(inputs=1, nodes=2, ops=ops)
    return SearchSpace(name="small", cells={"normal": cell, "reduce": cell}, ops=ops, in_degree=in_degree)


def everything(space: SearchSpace, rule: discretize.Discretize) -> list[Genotype]:
    """All that a rule reads off if one operation of each edge leads, and edges come in any order."""
    edges, ops = len(space.edges), len(space.ops)
    found = []
    half = edges // 2
    for chosen in itertools.product(range(ops), repeat=edges):
        for order in itertools.product(itertools.permutations(range(half)), repeat=2 if space.in_degree else 0):
            scores = torch.zeros(edges, ops, dtype=torch.float64)
            ranks = [*order[0], *order[1]] if order else [0] * edges
            for row, (column, rank) in enumerate(zip(chosen, ranks, strict=True)):
                scores[row, column] = 0.9 + 0.01 * rank
            found.append(rule(scores, torch.tensor(space.offered), space))
    return [each for each in found if is_network(each)]


@pytest.mark.parametrize(
    ("space", "rule"),
    [
        (small(("skip_connect", "sep_conv_3x3", "max_pool_3x3")), discretize.winners),
        (small(("skip_connect", "sep_conv_3x3"), in_degree=1), discretize.strongest_inputs),
    ],
    ids=["winners", "strongest-inputs"],
)
@pytest.mark.parametrize("cost", ["macs", "params"])
def test_the_interval_of_a_cost_is_the_least_and_the_most_over_all_cells(
    space: SearchSpace, rule: discretize.Discretize, cost: str
):
    sized = SizedSpace(space=space, picture=(3, 8, 8), classes=3, size=Size(4, 3))
    reach = Reach(COUNTED[cost], sized, rule)
    costs = [reach.costing.of(sized, cells) for cells in everything(space, rule)]
    assert reach.interval(torch.tensor(space.offered)) == (min(costs), max(costs))


RULES = {
    "winners": discretize.winners,
    "winners-without-none": partial(discretize.winners, none=False),
    "strongest-inputs": discretize.strongest_inputs,
    "strongest-pairs": partial(discretize.strongest_pairs, absent_below=0.5),
    "sure-inputs": discretize.sure_inputs,
    "few-skips": discretize.few_skips,
    "survivors": discretize.survivors,
}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("space", [darts, s2, nas_bench_201], ids=lambda space: space.name)
def test_no_reading_with_all_nodes_alive_lies_outside(space: SearchSpace, rule: discretize.Discretize):
    sized = SizedSpace(space=space, picture=(3, 8, 8), classes=3, size=Size(4, 3))
    reach = Reach(COUNTED["macs"], sized, rule)
    draw = torch.Generator().manual_seed(0)
    offered = torch.tensor(space.offered)
    low, high = reach.interval(offered)
    assert low < high
    for _ in range(10):
        scores = 0.9 + 0.1 * torch.rand(offered.shape, generator=draw, dtype=torch.float64)
        cells = rule(scores, offered, space)
        alive = all(cell.live == set(range(cell.inputs, cell.nodes)) for cell in cells.cells.values())
        if alive and rule is not discretize.few_skips:
            assert low <= sized.cost(cells, "macs") <= high


def test_pruning_never_widens_the_interval_of_a_cost():
    sized = SizedSpace(space=s2, picture=(3, 8, 8), classes=3, size=Size(4, 3))
    reach = Reach(COUNTED["macs"], sized, discretize.winners)
    keep = torch.tensor(s2.offered)
    whole = reach.interval(keep)
    keep[:, 1] = False
    assert reach.interval(keep) == (whole.low, whole.low)


def test_a_network_of_skips_holds_what_its_widest_moment_holds():
    cell = dense_cell(inputs=1, nodes=1, ops=("skip_connect", "nor_conv_3x3"), output="last")
    space = SearchSpace(
        name="one", cells={"normal": cell}, ops=("skip_connect", "nor_conv_3x3"), skeleton="nas-bench-201"
    )
    sized = SizedSpace(space=space, picture=(3, 8, 8), classes=3, size=Size(4, 3))
    reach = Reach(COUNTED["memory"], sized, discretize.winners)
    skip, conv = reach.extremes(torch.tensor(space.offered))
    picture, wide, narrow = 3 * 64, 4 * 64, 8 * 16
    # A residual block: its input, what ReLU made of it, and the first convolution's output, of half the resolution.
    assert COUNTED["memory"].of(sized, skip) == 4 * (picture + wide + wide + narrow)
    # After a convolution the cell's input is another tensor than its output, and a network holds the last two.
    assert COUNTED["memory"].of(sized, conv) == 4 * (picture + wide + wide + wide + narrow)


def test_memory_grows_with_the_width():
    genotype = published("DARTS_V2")
    costs = []
    for channels in (8, 16):
        sized = SizedSpace(space=darts, picture=(3, 16, 16), classes=3, size=Size(channels, 5))
        costs.append(COUNTED["memory"].of(sized, genotype))
    assert 1.8 * costs[0] < costs[1] < 2 * costs[0]


def test_the_memory_of_a_users_own_operation_is_watched():
    def wide(slot: Slot) -> nn.Module:
        first = nn.Conv2d(slot.width, 50 * slot.width, 1, stride=slot.stride)
        return nn.Sequential(first, nn.Conv2d(50 * slot.width, slot.width, 1))

    cell = dense_cell(inputs=2, nodes=1, ops=("skip_connect", "wide"))
    space = SearchSpace(
        name="own", cells={"normal": cell, "reduce": cell}, ops=("skip_connect", "wide"), factories={"wide": wide}
    )
    sized = SizedSpace(space=space, picture=(3, 8, 8), classes=3, size=Size(4, 3))
    low, high = Reach(COUNTED["memory"], sized, discretize.winners).interval(torch.tensor(space.offered))
    assert high > 4 * 50 * 4 * 64 > low


def test_a_rule_of_ones_own_is_asked_like_any_other():
    def first_edge(scores: Tensor, keep: Tensor, space: SearchSpace) -> Genotype:
        return discretize.winners(scores.roll(0, 0), keep, space)

    sized = SizedSpace(space=s2, picture=(3, 8, 8), classes=3, size=Size(4, 3))
    keep = torch.tensor(s2.offered)
    assert Reach(COUNTED["macs"], sized, first_edge).interval(keep) == (
        Reach(COUNTED["macs"], sized, discretize.winners).interval(keep)
    )
