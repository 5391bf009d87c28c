"""What a convolution that was made from another one computes, against the other: number by number."""

import math

import pytest
import torch
from torch import nn

from diffnas.convolutions import CONVOLUTIONS, changed
from diffnas.nets.inherit import inherit_
from diffnas.nets.links import links
from diffnas.nets.ops import build
from diffnas.nets.slot import Slot

C = 6


def made(name: str, seed: int = 0, stride: int = 1) -> nn.Module:
    torch.manual_seed(seed)
    return build(name, Slot(width=C, stride=stride)).double()


def pair(child: str, parent: str, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    one, other = made(child, 1, stride), made(parent, 2, stride)
    with torch.no_grad():
        for name, buffer in other.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.uniform_(0.5, 2.0)
    inherit_(one, other)
    return one, other


def pictures(positive: bool = False) -> torch.Tensor:
    x = torch.randn(2, C, 9, 8, generator=torch.Generator().manual_seed(3)).double()
    return x.abs() if positive else x


LARGER = [
    (op, other) for op in CONVOLUTIONS for other in changed(op) if CONVOLUTIONS[other].kernel > CONVOLUTIONS[op].kernel
]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("parent", "child"), LARGER, ids=str)
def test_a_larger_kernel_computes_the_same(parent, child, stride):
    one, other = pair(child, parent, stride)
    x = pictures()
    torch.testing.assert_close(one(x), other(x), rtol=1e-12, atol=1e-12)  # in training, by the batch's statistics
    torch.testing.assert_close(one.eval()(x), other.eval()(x), rtol=1e-12, atol=1e-12)  # and by the averages


def test_a_smaller_kernel_is_the_middle_of_the_larger_one():
    parent = made("sep_conv_5x5_layers1")
    with torch.no_grad():
        parent.depthwise.weight.copy_(torch.arange(25.0).view(1, 1, 5, 5).expand(C, 1, 5, 5))
    child = made("sep_conv_3x3_layers1", 1)
    inherit_(child, parent)
    assert child.depthwise.weight[4, 0].tolist() == [[6, 7, 8], [11, 12, 13], [16, 17, 18]]
    assert torch.equal(child.pointwise.weight, parent.pointwise.weight)


def test_a_dense_kernel_is_padded_too_and_its_bias_goes_along():
    one, other = pair("nor_conv_1x1", "nor_conv_3x3")
    assert torch.equal(one[1].weight[:, :, 0, 0], other[1].weight[:, :, 1, 1])
    assert torch.equal(one[1].bias, other[1].bias)


@pytest.mark.parametrize(
    ("child", "parent"), [("dil_conv_5x5", "sep_conv_5x5_layers1"), ("sep_conv_3x3", "dil_conv_3x3_layers2")]
)
def test_a_dilation_keeps_the_weights(child, parent):
    one, other = pair(child, parent)
    for (name, weight), (same, known) in zip(one.state_dict().items(), other.state_dict().items(), strict=True):
        assert name == same
        assert torch.equal(weight, known)


@pytest.mark.parametrize(
    ("child", "parent"), [("sep_conv_5x5", "sep_conv_5x5_layers1"), ("dil_conv_3x3_layers2", "dil_conv_3x3")]
)
def test_a_new_layer_passes_on_what_is_positive(child, parent):
    one, other = pair(child, parent)
    first, last = one
    x = pictures(positive=True)
    torch.testing.assert_close(first(pictures()), other(pictures()))
    (link,) = links(last)
    torch.testing.assert_close(link.convolve(x), x, rtol=0, atol=0)
    torch.testing.assert_close(link.convolve(-x), torch.zeros_like(x), rtol=0, atol=0)  # but for its ReLU


@pytest.mark.parametrize("width", [1, 2, 4])
def test_a_wider_layer_computes_the_same_with_new_channels_that_nobody_reads_yet(width):
    names = ["sep_conv_3x3", *(f"sep_conv_3x3_width{times}" for times in (2, 3, 4, 5))]
    one, other = pair(names[width], names[width - 1])
    x, before = pictures(), width * C
    torch.testing.assert_close(one(x), other(x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(one.eval()(x), other.eval()(x), rtol=1e-12, atol=1e-12)
    (_, made_by), (depthwise, read_by) = (link.modules for link in links(one))
    assert (read_by.weight[:, before:] == 0).all()
    assert made_by.weight.shape[:2] == (before + C, C)
    for new in (made_by.weight[before:], depthwise.weight[before:]):
        assert (new != 0).all()


def test_new_channels_are_drawn_as_xavier_has_it():
    torch.manual_seed(0)
    parent, child = (build(name, Slot(width=64)) for name in ("sep_conv_5x5", "sep_conv_5x5_width2"))
    inherit_(child, parent)
    (_, made_by), (depthwise, _) = (link.modules for link in links(child))
    # sqrt(2 / (inputs + outputs)), each times the pixels of the kernel.
    assert made_by.weight[64:].std().item() == pytest.approx(math.sqrt(2 / (64 + 64)), rel=0.05)
    assert depthwise.weight[64:].std().item() == pytest.approx(math.sqrt(2 / (25 * (1 + 64))), rel=0.1)


def test_averages_of_batch_norms_go_along_and_those_of_new_channels_are_standard():
    one, other = pair("sep_conv_3x3_width3", "sep_conv_3x3_width2")
    known, grown = other[0].norm, one[0].norm
    assert torch.equal(grown.running_mean, torch.cat([known.running_mean, torch.zeros(C)]))
    assert torch.equal(grown.running_var, torch.cat([known.running_var, torch.ones(C)]))
