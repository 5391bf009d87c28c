import pytest
import torch
from torch import nn
from torch.nn import functional as F

from diffnas import skeleton
from diffnas.nets.ops import FactorizedReduce
from diffnas.nets.skeleton import ResidualBlock, Stem, head, plan, preprocess

DARTS = {"normal": 4, "reduce": 4}


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def channels_of(cells):
    return [(c.before, c.previous, c.channels, c.out) for c in cells]


def test_darts_supernet_on_cifar_has_the_published_channels():
    cells = plan(skeleton.DARTS, DARTS, channels=16, depth=8)
    assert channels_of(cells) == [
        (48, 48, 16, 64),
        (48, 64, 16, 64),
        (64, 64, 32, 128),
        (64, 128, 32, 128),
        (128, 128, 32, 128),
        (128, 128, 64, 256),
        (128, 256, 64, 256),
        (256, 256, 64, 256),
    ]
    assert [c.index for c in cells if c.reduces] == [2, 5]
    assert [c.kind for c in cells if c.reduces] == ["reduce", "reduce"]
    assert [c.index for c in cells if c.after_reduction] == [3, 6]


def test_the_imagenet_stem_counts_as_a_reduction_and_does_not_triple_the_channels():
    cells = plan(skeleton.DARTS, DARTS, channels=48, depth=14, stem="imagenet")
    assert channels_of(cells)[:2] == [(48, 48, 48, 192), (48, 192, 48, 192)]
    assert [c.index for c in cells if c.reduces] == [4, 9]
    assert [c.index for c in cells if c.after_reduction] == [0, 5, 10]


def test_nas_bench_201_keeps_the_channels_but_at_residual_blocks():
    cells = plan(skeleton.NAS_BENCH_201, {"normal": 1}, channels=16, depth=17)
    assert [c.index for c in cells if c.kind is None] == [5, 11]
    assert channels_of(cells)[4:7] == [(16, 16, 16, 16), (16, 16, 32, 32), (16, 32, 32, 32)]
    assert cells[-1].out == 64


def test_the_width_of_each_kind_sets_what_comes_after_it():
    cells = plan(skeleton.DARTS, {"normal": 2, "reduce": 3}, channels=8, depth=3)
    assert channels_of(cells) == [(24, 24, 8, 16), (24, 16, 16, 48), (16, 48, 32, 96)]


def test_a_cell_may_have_a_kind_of_its_own():
    widths = {"normal": 4, "reduce": 4, "cell1": 1, "cell3": 2}
    cells = plan(skeleton.DARTS, widths, channels=8, depth=5)
    assert [c.kind for c in cells] == ["normal", "cell1", "normal", "cell3", "normal"]
    assert [c.out // c.channels for c in cells] == [4, 1, 4, 2, 4]


def test_a_kind_without_a_width_is_named():
    with pytest.raises(ValueError, match="unknown kind of cell 'reduce'"):
        plan(skeleton.DARTS, {"normal": 4, "reduction": 4}, channels=8, depth=5)


@pytest.mark.parametrize(
    ("name", "stem", "channels", "size", "older", "newer"),
    [
        ("darts", "cifar", 16, (9, 8), (48, 9, 8), (48, 9, 8)),
        ("darts", "cifar-half", 16, (9, 8), (48, 5, 4), (48, 5, 4)),
        ("darts", "imagenet", 48, (224, 224), (48, 56, 56), (48, 28, 28)),
        ("nas-bench-201", "cifar", 16, (32, 32), (16, 32, 32), (16, 32, 32)),
        ("nas-bench-201", "cifar-half", 16, (32, 32), (16, 16, 16), (16, 16, 16)),
        ("nas-bench-201", "imagenet", 16, (64, 64), (16, 16, 16), (16, 8, 8)),
    ],
)
@pytest.mark.parametrize("in_channels", [1, 3])
def test_stems_give_both_inputs_of_the_first_cell(name, stem, channels, size, older, newer, in_channels):
    first, second = Stem(skeleton.skeleton_of(name), stem, in_channels, channels)(torch.randn(2, in_channels, *size))
    assert (first.shape, second.shape) == ((2, *older), (2, *newer))
    assert (first is second) == (stem != "imagenet")


def test_stems_have_the_published_number_of_parameters():
    assert parameters(Stem(skeleton.DARTS, "cifar", 3, 16)) == 27 * 48 + 2 * 48
    assert parameters(Stem(skeleton.NAS_BENCH_201, "cifar", 3, 16)) == 27 * 16 + 2 * 16
    assert parameters(Stem(skeleton.DARTS, "imagenet", 3, 48)) == 27 * 24 + 48 + 9 * 24 * 48 + 96 + 9 * 48 * 48 + 96


def test_an_unknown_stem_is_named():
    with pytest.raises(ValueError, match=r"unknown stem 'cifar10'\. Did you mean 'cifar'\?"):
        Stem(skeleton.DARTS, "cifar10", 3, 16)  # type: ignore[arg-type]


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


def test_preprocessing_brings_both_inputs_to_the_cells_size():
    cells = plan(skeleton.DARTS, DARTS, channels=16, depth=8)
    for cell in cells:
        older = torch.randn(2, cell.before, 10 if cell.after_reduction else 5, 5 + 5 * cell.after_reduction)
        newer = torch.randn(2, cell.previous, 5, 5)
        modules = preprocess(skeleton.DARTS, cell, 2, affine=False)
        assert [type(m) for m in modules] == [
            FactorizedReduce if cell.after_reduction else nn.Sequential,
            nn.Sequential,
        ]
        assert [m(x).shape for m, x in zip(modules, (older, newer), strict=True)] == [(2, cell.channels, 5, 5)] * 2
        assert parameters(modules) == cell.channels * (cell.before + cell.previous)


def test_a_cell_with_one_input_reads_the_previous_cell_alone():
    cell = plan(skeleton.DARTS, DARTS, channels=16, depth=8)[3]
    (only,) = preprocess(skeleton.DARTS, cell, 1, affine=True)
    assert only(torch.randn(2, cell.previous, 5, 5)).shape == (2, cell.channels, 5, 5)


def test_nas_bench_201_cells_take_their_input_as_it_is():
    cell = plan(skeleton.NAS_BENCH_201, {"normal": 1}, channels=16, depth=5)[0]
    (only,) = preprocess(skeleton.NAS_BENCH_201, cell, 1, affine=False)
    x = torch.randn(2, 16, 5, 5)
    assert only(x) is x


def test_heads_pool_maps_of_any_size():
    x = torch.randn(4, 6, 7, 3)
    darts, bench = head(skeleton.DARTS, 6, 10), head(skeleton.NAS_BENCH_201, 6, 10)
    torch.testing.assert_close(darts(x), darts[-1](x.mean((2, 3))))
    normed = F.relu(F.batch_norm(x, None, None, training=True))
    torch.testing.assert_close(bench(x), bench[-1](normed.mean((2, 3))))
    assert parameters(bench) == parameters(darts) + 12
