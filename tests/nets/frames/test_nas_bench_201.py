import pytest
import torch
from torch import nn
from torch.nn import functional as F

from diffnas.nets.frames.nas_bench_201 import ResidualBlock
from diffnas.nets.supernet import Supernet
from diffnas.space import nas_bench_201, s2


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def test_the_residual_block_is_its_published_layers():
    block = ResidualBlock(4, 8)
    x = torch.randn(3, 4, 8, 8)
    a, b = block.convs[0][1].weight, block.convs[1][1].weight
    inner = F.batch_norm(F.conv2d(F.relu(x), a, stride=2, padding=1), None, None, training=True)
    inner = F.batch_norm(F.conv2d(F.relu(inner), b, padding=1), None, None, training=True)
    torch.testing.assert_close(block(x), inner + F.conv2d(F.avg_pool2d(x, 2), block.shortcut[1].weight))
    assert parameters(block) == 9 * 4 * 8 + 16 + 9 * 8 * 8 + 16 + 32


@pytest.mark.parametrize("size", [(9, 9), (8, 7), (1, 1)])
def test_the_residual_block_takes_odd_sizes(size):
    assert ResidualBlock(4, 8)(torch.randn(3, 4, *size)).shape == (3, 8, *(-(-n // 2) for n in size))


def test_cells_take_their_input_as_it_is():
    net = Supernet(nas_bench_201, classes=3, channels=4, depth=3)
    assert [type(each) for cell in net.cells for each in cell.inputs] == [nn.Identity]


def test_the_head_has_batch_norm_and_pools_maps_of_any_size():
    bench, darts = (Supernet(space, classes=3, channels=4, depth=3).frame.head for space in (nas_bench_201, s2))
    x = torch.randn(4, 16, 7, 3)
    normed = F.relu(F.batch_norm(x, None, None, training=True))
    torch.testing.assert_close(bench(x), bench[-1](normed.mean((2, 3))))
    wide = torch.randn(4, 64, 7, 3)
    torch.testing.assert_close(darts(wide), darts[-1](wide.mean((2, 3))))
