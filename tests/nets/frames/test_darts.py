import torch
from torch import nn

from diffnas import skeleton
from diffnas.nets.frames.darts import preprocess
from diffnas.nets.frames.plan import plan
from diffnas.nets.ops import FactorizedReduce

DARTS = {"normal": 4, "reduce": 4}


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def test_preprocessing_brings_both_inputs_to_the_cells_size():
    cells = plan(skeleton.DARTS, DARTS, channels=16, depth=8)
    for cell in cells:
        older = torch.randn(2, cell.before, 10 if cell.after_reduction else 5, 5 + 5 * cell.after_reduction)
        newer = torch.randn(2, cell.previous, 5, 5)
        modules = preprocess(cell, 2, affine=False)
        assert [type(m) for m in modules] == [
            FactorizedReduce if cell.after_reduction else nn.Sequential,
            nn.Sequential,
        ]
        assert [m(x).shape for m, x in zip(modules, (older, newer), strict=True)] == [(2, cell.channels, 5, 5)] * 2
        assert sum(map(parameters, modules)) == cell.channels * (cell.before + cell.previous)


def test_a_cell_with_one_input_reads_the_previous_cell_alone():
    cell = plan(skeleton.DARTS, DARTS, channels=16, depth=8)[3]
    (only,) = preprocess(cell, 1, affine=True)
    assert only(torch.randn(2, cell.previous, 5, 5)).shape == (2, cell.channels, 5, 5)
