import pytest
import torch

from diffnas import skeleton
from diffnas.nets.frames.parts import Stem
from diffnas.nets.frames.plan import plan


def parameters(module):
    return sum(p.numel() for p in module.parameters())


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
    out = plan(skeleton.skeleton_of(name), {"normal": 1, "reduce": 1}, channels, 3, stem)[0].previous
    first, second = Stem(stem, in_channels, out)(torch.randn(2, in_channels, *size))
    assert (first.shape, second.shape) == ((2, *older), (2, *newer))
    assert (first is second) == (stem != "imagenet")


def test_stems_have_the_published_number_of_parameters():
    assert parameters(Stem("cifar", 3, 48)) == 27 * 48 + 2 * 48
    assert parameters(Stem("cifar", 3, 16)) == 27 * 16 + 2 * 16
    assert parameters(Stem("imagenet", 3, 48)) == 27 * 24 + 48 + 9 * 24 * 48 + 96 + 9 * 48 * 48 + 96


def test_an_unknown_stem_is_named():
    with pytest.raises(ValueError, match=r"unknown stem 'cifar10'\. Did you mean 'cifar'\?"):
        Stem("cifar10", 3, 48)  # type: ignore[arg-type]
