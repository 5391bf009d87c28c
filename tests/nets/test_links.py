import pytest
import torch
from torch import nn

from diffnas.convolutions import CONVOLUTIONS
from diffnas.nets.links import DENSE, DEPTHWISE, PAIRS, POINTWISE, links, outline
from diffnas.nets.ops import OPS, build, relu_conv_norm
from diffnas.nets.slot import Slot

KINDS = {
    "sep_conv_3x3": [DEPTHWISE, DEPTHWISE],
    "sep_conv_5x5": [DEPTHWISE, DEPTHWISE],
    "sep_conv_7x7": [DEPTHWISE, DEPTHWISE],
    "dil_conv_3x3": [DEPTHWISE],
    "dil_conv_5x5": [DEPTHWISE],
    "nor_conv_1x1": [POINTWISE],
    "nor_conv_3x3": [DENSE],
}
# Those of the family that DARTS has not.
KINDS |= {name: [DEPTHWISE] * of.layers for name, of in CONVOLUTIONS.items() if name not in KINDS}


@pytest.mark.parametrize("op", OPS)
def test_an_operation_is_read_or_left_to_its_module(op):
    found = links(build(op, Slot(width=4)))
    assert [link.geometry.kind for link in found or ()] == KINDS.get(op, [])


def test_a_skip_that_halves_the_resolution_is_a_link():
    (link,) = links(build("skip_connect", Slot(width=5, stride=2))) or ()
    assert link.geometry.kind == PAIRS
    assert (link.before, link.channels) == (5, 5)


@pytest.mark.parametrize("op", ["sep_conv_3x3", "skip_connect", "nor_conv_3x3"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(9, 8), (1, 5), (2, 2)])
def test_an_outline_knows_the_shape_of_the_result(op, stride, size):
    if (op, stride) == ("skip_connect", 1):
        op = "nor_conv_1x1"
    module = build(op, Slot(width=4, stride=stride))
    found = outline(links(module), (4, *size))
    assert found.stride == stride
    assert found.result == module(torch.zeros(2, 4, *size)).shape[1:]


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm2d(4),
        nn.BatchNorm2d(4, affine=False, eps=1e-3),
        nn.BatchNorm2d(4, affine=False, track_running_stats=False),
        nn.BatchNorm2d(4, affine=False, momentum=None),
        nn.InstanceNorm2d(4),
    ],
    ids=str,
)
def test_another_norm_is_left_to_its_module(norm):
    assert links(nn.Sequential(nn.ReLU(), nn.Conv2d(4, 4, 1), norm)) is None


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": (1, 3), "padding": (0, 1)},
        {"kernel_size": 3, "padding": "same"},
        {"kernel_size": 3, "groups": 2},
        {"kernel_size": 3, "padding": 1, "padding_mode": "circular"},
        {"kernel_size": 1, "padding": 1},
        {"kernel_size": 3, "padding": 3},
        {"kernel_size": 3, "padding": 1, "stride": (1, 2)},
    ],
    ids=str,
)
def test_another_convolution_is_left_to_its_module(options):
    assert links(nn.Sequential(nn.ReLU(), nn.Conv2d(4, 4, **options), nn.BatchNorm2d(4, affine=False))) is None


def test_a_map_of_other_channels_is_an_error():
    chain = links(relu_conv_norm(4, 6, 1, affine=False))
    with pytest.raises(ValueError, match=r"expected a map of 4 channels, got 5\."):
        outline(chain, (5, 8, 8))


def test_a_map_smaller_than_the_kernel_is_an_error():
    chain = links(nn.Sequential(nn.ReLU(), nn.Conv2d(4, 4, 5), nn.BatchNorm2d(4, affine=False)))
    with pytest.raises(ValueError, match="spans more than 4 pixels; pad more"):
        outline(chain, (4, 8, 4))


def test_a_batch_norm_of_other_channels_than_its_convolution_is_left_to_pytorch() -> None:
    odd = nn.Sequential(nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(2, affine=False))
    assert links(odd) is None
