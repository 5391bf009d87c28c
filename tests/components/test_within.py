"""Reading off under a target, against all networks in turn."""

import itertools

import pytest
import torch
from torch import Tensor

from diffnas.components.within import within
from diffnas.genotype import to_text
from diffnas.space import chain_space

SPACE = chain_space((2, 1, 1))
KEEP = torch.tensor(SPACE.offered)
COSTS = torch.rand(4, 5, generator=torch.Generator().manual_seed(5)) * torch.tensor([0.0, 9, 4, 7, 5])


def best(scores: Tensor, target: float) -> list[int]:
    """The likeliest choice of all."""
    rows = [[column for column in range(5) if KEEP[row, column]] for row in range(4)]
    found = [
        (sum(float(scores[edge, op].log()) for edge, op in enumerate(ops)), list(ops))
        for ops in itertools.product(*rows)
        if abs(1 + sum(float(COSTS[edge, op]) for edge, op in enumerate(ops)) - target) <= 0.05 * target
    ]
    return max(found)[1]


@pytest.mark.parametrize("seed", range(6))
def test_it_finds_what_trying_all_finds(seed: int) -> None:
    scores = torch.rand(4, 5, generator=torch.Generator().manual_seed(seed)).double().softmax(1)
    found = within(scores, KEEP, SPACE, costs=COSTS.tolist(), base=1.0, target=12.0)
    wanted = [SPACE.ops[op] for op in best(scores, 12.0)]
    assert to_text(found).split(" | ")[1:] == wanted


def test_a_target_out_of_reach_is_refused_with_what_can_be_reached() -> None:
    with pytest.raises(ValueError, match=r"the cheapest costs .* the dearest .* the nearest"):
        within(KEEP.double(), KEEP, SPACE, costs=COSTS.tolist(), base=1.0, target=1e6)
