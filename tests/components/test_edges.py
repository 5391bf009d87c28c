import math

import pytest
import torch

from diffnas.components import edges, update, weighting
from diffnas.components.schedule import Moment
from diffnas.space import darts, nas_bench_201, s1

START = Moment(epoch=0, step=0, epochs=1, steps=1)


def table(space, values: list[float]) -> torch.Tensor:
    """What strengths are made of, from a number for each edge; noise where there is no edge."""
    made = torch.randn(torch.tensor(edges.inputs(space)).shape, generator=torch.Generator().manual_seed(0))
    left, row = iter(values), 0
    for cell in space.cells.values():
        for target in range(cell.inputs, cell.nodes):
            for place in cell.incoming(target):
                made[row, cell.edges[place].source] = next(left)
            row += 1
    return made


@pytest.mark.parametrize("space", [darts, s1, nas_bench_201], ids=lambda space: space.name)
def test_strengths_are_a_softmax_over_the_edges_into_each_node(space):
    values = torch.randn(len(space.edges), generator=torch.Generator().manual_seed(1)).tolist()
    expected = []
    for (kind, edge), value in zip(space.edges, values, strict=True):
        rivals = [
            math.exp(other)
            for (of, rival), other in zip(space.edges, values, strict=True)
            if (of, rival.target) == (kind, edge.target)
        ]
        expected.append(math.exp(value) / sum(rivals))
    found = edges.strengths(weighting.softmax, table(space, values), START, space)
    assert found.tolist() == pytest.approx(expected, rel=1e-5)


def test_the_darts_space_has_a_row_for_each_of_its_eight_nodes():
    assert torch.tensor(edges.inputs(darts)).sum(1).tolist() == [2, 3, 4, 5] * 2


def test_on_the_simplex_strengths_move_by_exponentiated_gradients():
    beta = torch.zeros(3, 3, requires_grad=True)
    offered = torch.tensor(edges.inputs(nas_bench_201))
    optimizer = update.exponentiated([beta], lr=0.5)
    update.forget(optimizer, beta, ~offered)
    slopes = torch.tensor([2.0, 0.3, -0.4, 1.0, 0.0, -2.0])
    expected = [torch.tensor([1.0]), torch.full((2,), 1 / 2), torch.full((3,), 1 / 3)]
    for _ in range(3):
        (edges.strengths(weighting.simplex, beta, START, nas_bench_201) * slopes).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        moved = [old * (-0.5 * part).exp() for old, part in zip(expected, slopes.split([1, 2, 3]), strict=True)]
        expected = [part / part.sum() for part in moved]
    found = edges.strengths(weighting.simplex, beta.detach(), START, nas_bench_201)
    torch.testing.assert_close(found, torch.cat(expected))
