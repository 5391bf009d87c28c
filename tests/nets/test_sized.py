from dataclasses import replace

import pytest
import torch
from torch import nn

from diffnas.components.discretize import strongest_inputs, survivors, winners
from diffnas.genotype import Genotype, published
from diffnas.nets.network import parameters_of
from diffnas.nets.ops import count_macs
from diffnas.nets.sites import unseen
from diffnas.nets.sized import Size, SizedSpace, is_network
from diffnas.nets.slot import Slot
from diffnas.space import SearchSpace, chain, darts, dense_cell, nas_bench_201, s2, s4, with_own_cells

PUBLISHED = SizedSpace(space=darts, picture=(3, 32, 32), classes=10, size=Size(36, 20))


def own_space(factory) -> SearchSpace:
    cell = dense_cell(inputs=2, nodes=2, ops=["none", "skip_connect", "mine"])
    ops = ("none", "skip_connect", "mine")
    return SearchSpace(name="own", cells={"normal": cell, "reduce": cell}, ops=ops, factories={"mine": factory})


def strided(slot: Slot) -> nn.Module:
    conv = nn.Conv2d(slot.width, slot.width, 1, stride=slot.stride)
    return nn.Sequential(conv, nn.BatchNorm2d(slot.width, affine=slot.affine))


def random_genotypes(space: SearchSpace, count: int) -> list[Genotype]:
    draw = torch.Generator().manual_seed(1)
    keep = torch.tensor(space.offered)
    rules = [winners, strongest_inputs]
    drawn = [
        rules[k % 2](torch.rand(keep.shape, generator=draw, dtype=torch.float64), keep, space) for k in range(count)
    ]
    half = keep & (torch.rand(keep.shape, generator=draw) < 0.5)
    return [each for each in (*drawn, survivors(keep.double(), half, space)) if is_network(each)]


@pytest.mark.parametrize(
    ("space", "size", "picture"),
    [
        (darts, Size(4, 3), (3, 9, 9)),
        (s2, Size(5, 4, "cifar-half"), (1, 8, 8)),
        (s4, Size(4, 5, "imagenet"), (3, 32, 32)),
        (with_own_cells(s2, 3), Size(4, 3), (3, 8, 8)),
        (nas_bench_201, Size(4, 5), (3, 8, 8)),
        (chain, Size(4, 8, "cifar-half"), (3, 9, 9)),
        (own_space(strided), Size(4, 3), (3, 8, 8)),
    ],
    ids=["darts", "s2", "s4", "apart", "nas-bench-201", "chain", "own"],
)
def test_costs_are_those_of_the_network_exactly(space: SearchSpace, size: Size, picture: tuple[int, int, int]):
    sized = SizedSpace(space=space, picture=picture, classes=7, size=size)
    macs, params = sized.additive("macs"), sized.additive("params")
    genotypes = random_genotypes(space, 20)
    assert len(genotypes) > 5
    for genotype in genotypes:
        with unseen(own=bool(space.factories)):
            network = sized.network(genotype)
            counted = count_macs(network, picture)
        assert sized.cost(genotype, "macs") == counted
        assert sized.cost(genotype, "params") == parameters_of(network)
        if all(cell.live == set(range(cell.inputs, cell.nodes)) for cell in genotype.cells.values()):
            assert macs.of(space, genotype) == counted
            assert params.of(space, genotype) == parameters_of(network)


def test_the_published_size_costs_what_the_literature_says():
    macs = PUBLISHED.additive("macs")
    assert macs.base / 1e6 == pytest.approx(227.27, abs=0.005)
    column = {op: k for k, op in enumerate(darts.ops)}
    edges = {op: (macs.ops[0, k] / 1e6, macs.ops[14, k] / 1e6) for op, k in column.items()}
    assert edges["sep_conv_3x3"] == pytest.approx((54.74, 5.81), abs=0.006)
    assert edges["sep_conv_5x5"] == pytest.approx((67.13, 6.69), abs=0.006)
    assert edges["dil_conv_3x3"] == pytest.approx((27.37, 2.90), abs=0.006)
    assert edges["dil_conv_5x5"] == pytest.approx((33.56, 3.35), abs=0.006)
    assert edges["skip_connect"] == pytest.approx((0, 2.65), abs=0.006)
    assert edges["none"] == edges["max_pool_3x3"] == (0, 0)
    known = {"DARTS_V1": 500.99, "DARTS_V2": 528.36, "PC_DARTS_cifar": 556.67, "PDARTS": 532.17}
    for name, cost in known.items():
        assert PUBLISHED.cost(published(name), "macs") / 1e6 == pytest.approx(cost, abs=0.006)
    bench = SizedSpace(space=nas_bench_201, picture=(3, 32, 32), classes=10, size=Size(16, 17)).additive("macs")
    assert (bench.ops[0] / 1e6).tolist() == pytest.approx([0, 0, 3.9322, 35.3894, 0], abs=1e-4)


def test_an_empty_cell_costs_what_is_around_it():
    sized = SizedSpace(space=nas_bench_201, picture=(3, 8, 8), classes=10, size=Size(4, 5))
    keep = torch.tensor(nas_bench_201.offered)
    nothing = winners(torch.eye(5, dtype=torch.float64)[[0] * 6], keep, nas_bench_201)
    assert sized.cost(nothing, "macs") == sized.additive("macs").base


def test_an_operation_that_cannot_be_counted_is_named():
    class Hidden(nn.Module):
        def __init__(self, channels: int, stride: int) -> None:
            super().__init__()
            self.stride, self.weight = stride, nn.Parameter(torch.randn(channels, channels, 1, 1))

        def forward(self, x):
            return nn.functional.conv2d(x, self.weight, stride=self.stride)

    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return 2 * x

        @staticmethod
        def backward(ctx, gradient):
            return 2 * gradient

    class Own(nn.Module):
        def __init__(self, stride: int) -> None:
            super().__init__()
            self.stride = stride

        def forward(self, x):
            return Doubled.apply(x[:, :, :: self.stride, :: self.stride])

    def said(factory):
        return SizedSpace(space=own_space(factory), picture=(3, 8, 8), classes=3, size=Size(4, 3)).uncountable()

    assert said(strided) is None
    assert said(lambda slot: Hidden(slot.width, slot.stride)) == (
        "operation 'mine' multiplies outside of Conv2d and Linear layers"
    )
    assert said(lambda slot: Own(slot.stride)) == ("operation 'mine' computes in an autograd function of its own")


def test_a_size_counts_the_cells_of_a_space_that_has_one_for_each_place():
    sized = SizedSpace(space=with_own_cells(s2, 4), picture=(3, 8, 8), classes=3, size=Size(4, 4))
    whole = replace(sized, space=s2).additive("macs")
    assert sized.additive("macs").base == whole.base
    assert sized.additive("macs").ops.sum() == whole.ops.sum()
