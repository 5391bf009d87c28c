import pytest

from diffnas import skeleton
from diffnas.nets.frames.plan import plan

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
