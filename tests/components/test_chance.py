"""Random networks of a space."""

from collections import Counter

import pytest
import torch

from diffnas.components.chance import drawn
from diffnas.space import SPACES, darts, nas_bench_201


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_random_networks_are_sound_networks_of_their_space(space):
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        found = drawn(space, generator)
        assert not found.problems()
        assert found.cells.keys() == space.cells.keys()
        for kind, cell in found.cells.items():
            graph = space.cells[kind]
            offered = dict(zip(graph.edges, graph.ops, strict=True))
            assert all(each.op in offered[each.source, each.target] for each in cell.connections)


def test_the_same_generator_draws_the_same_and_goes_on_to_others():
    first, second = (torch.Generator().manual_seed(3) for _ in range(2))
    assert [drawn(darts, first) for _ in range(3)] == [drawn(darts, second) for _ in range(3)]
    assert drawn(darts, first) != drawn(darts, first)


def test_every_operation_is_as_likely_as_any_other():
    generator = torch.Generator().manual_seed(0)
    counts = Counter(each.op for _ in range(300) for each in drawn(darts, generator).cells["normal"].connections)
    # 2,400 draws of 7 operations: 343 each, with a standard deviation of 17.
    assert set(counts) == set(darts.ops) - {"none"}
    assert all(abs(count - 2400 / 7) < 85 for count in counts.values())


def test_where_edges_may_be_absent_none_is_drawn_too():
    generator = torch.Generator().manual_seed(0)
    edges = [len(drawn(nas_bench_201, generator).cells["normal"].connections) for _ in range(50)]
    assert min(edges) < 6
