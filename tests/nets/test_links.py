import gc
import pickle
from copy import deepcopy
from weakref import ref

import pytest
import torch
from torch import nn

from diffnas.convolutions import CONVOLUTIONS
from diffnas.nets.geometry import DENSE, PAIRS, POINTWISE, SEPARABLE
from diffnas.nets.links import chain_key, links
from diffnas.nets.ops import OPS, build, relu_conv_norm
from diffnas.nets.ops.transformer import TRANSFORMER
from diffnas.nets.slot import Slot

KINDS = {
    "sep_conv_3x3": [SEPARABLE, SEPARABLE],
    "sep_conv_5x5": [SEPARABLE, SEPARABLE],
    "sep_conv_7x7": [SEPARABLE, SEPARABLE],
    "dil_conv_3x3": [SEPARABLE],
    "dil_conv_5x5": [SEPARABLE],
    "nor_conv_1x1": [POINTWISE],
    "nor_conv_3x3": [DENSE],
}
# Those of the family that DARTS has not.
KINDS |= {name: [SEPARABLE] * of.layers for name, of in CONVOLUTIONS.items() if name not in KINDS}


@pytest.mark.parametrize("op", sorted(OPS.keys() - TRANSFORMER.keys()))
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
    found = chain_key(links(module), (4, *size))
    assert found.strides[0] == stride
    assert found.result == module(torch.zeros(2, 4, *size)).shape[1:]


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm2d(4),
        nn.BatchNorm2d(4, affine=False, eps=1e-3),
        nn.BatchNorm2d(4, affine=False, track_running_stats=False),
        nn.BatchNorm2d(4, affine=False, momentum=None),
        nn.BatchNorm2d(4, affine=False),
        nn.InstanceNorm2d(4),
    ],
    ids=str,
)
def test_an_operation_in_which_a_norm_was_exchanged_is_left_to_its_module(norm):
    op = relu_conv_norm(4, 4, 1, affine=False)
    op[2] = norm
    assert links(op) is None


def test_a_norm_that_was_changed_is_left_to_its_module():
    op = relu_conv_norm(4, 4, 1, affine=False)
    op[2].eps = 1e-3
    assert links(op) is None


def test_nothing_is_guessed_of_an_operation_of_a_users_own():
    assert links(nn.Sequential(nn.ReLU(), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, affine=False))) is None


def test_a_copy_has_links_of_its_own_modules():
    op = build("sep_conv_3x3", Slot(width=4))
    x = torch.ones(1, 4, 5, 5)
    for copied in (deepcopy(op), pickle.loads(pickle.dumps(op))):
        first, second = links(copied)
        assert first.modules == (copied[0].depthwise.conv, copied[0].pointwise)
        assert second.norm is copied[1].norm is not op[1].norm
        torch.testing.assert_close(first.convolve(x), links(op)[0].convolve(x))


@pytest.mark.parametrize("name", ["sep_conv_3x3", "nor_conv_3x3", "skip_connect"])
def test_an_operation_is_freed_as_soon_as_nobody_has_it(name):
    op = build(name, Slot(width=4, stride=2))
    held = ref(op)
    gc.disable()
    del op
    try:
        assert held() is None
    finally:
        gc.enable()


def test_a_map_of_other_channels_is_an_error():
    chain = links(relu_conv_norm(4, 6, 1, affine=False))
    with pytest.raises(ValueError, match=r"expected a map of 4 channels, got 5\."):
        chain_key(chain, (5, 8, 8))


def test_a_map_smaller_than_the_kernel_is_an_error():
    chain = links(relu_conv_norm(4, 4, 5, affine=False, padding=0))
    with pytest.raises(ValueError, match="spans more than 4 pixels; pad more"):
        chain_key(chain, (4, 8, 4))
