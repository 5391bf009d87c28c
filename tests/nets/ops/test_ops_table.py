import pytest
import torch
from torch import nn
from torch.nn import functional as F

from diffnas import space
from diffnas.nets.ops import (
    OPS,
    Depthwise,
    FactorizedReduce,
    Noise,
    Separable,
    build,
    count_macs,
    draw_noise_from,
    drawing,
)
from diffnas.nets.ops.recurrent import RECURRENT
from diffnas.nets.ops.transformer import TRANSFORMER
from diffnas.nets.slot import Slot

SIZES = [(8, 8), (9, 7), (2, 2), (1, 1)]
ON_MAPS = sorted(OPS.keys() - TRANSFORMER.keys())
SEPARABLE = {"sep_conv_3x3": (3, 1), "sep_conv_5x5": (5, 1), "dil_conv_3x3": (3, 2), "dil_conv_5x5": (5, 2)}


def pictures(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("op", ON_MAPS)
def test_every_operation_divides_the_size_by_the_stride_and_rounds_up(op, stride, size):
    out = build(op, Slot(width=4, stride=stride))(pictures(3, 4, *size))
    assert out.shape == (3, 4, *(-(-n // stride) for n in size))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("op", ON_MAPS)
def test_no_operation_changes_its_input(op, stride):
    x = pictures(2, 4, 8, 8)
    build(op, Slot(width=4, stride=stride, affine=True))(x)
    assert torch.equal(x, pictures(2, 4, 8, 8))


@pytest.mark.parametrize("op", ON_MAPS)
def test_operations_keep_the_memory_format(op):
    x = pictures(2, 4, 8, 8).contiguous(memory_format=torch.channels_last)
    for stride in (1, 2):
        assert build(op, Slot(width=4, stride=stride, affine=True))(x).is_contiguous(memory_format=torch.channels_last)


def test_every_operation_of_the_known_spaces_can_be_built():
    assert {op for known in space.SPACES.values() for op in known.ops} <= {*OPS, *RECURRENT}


@pytest.mark.parametrize(
    ("op", "stride", "free", "affine"),
    [  # C = 8 channels: depthwise 8 k^2, pointwise 64; batch norm adds 16 where it is affine
        ("none", 1, 0, 0),
        ("none", 2, 0, 0),
        ("noise", 2, 0, 0),
        ("max_pool_3x3", 2, 0, 0),
        ("avg_pool_3x3", 1, 0, 0),
        ("skip_connect", 1, 0, 0),
        ("skip_connect", 2, 64, 16),
        ("sep_conv_3x3", 1, 2 * (72 + 64), 32),
        ("sep_conv_5x5", 2, 2 * (200 + 64), 32),
        ("sep_conv_7x7", 1, 2 * (392 + 64), 32),
        ("dil_conv_3x3", 2, 72 + 64, 16),
        ("dil_conv_5x5", 1, 200 + 64, 16),
        ("conv_7x1_1x7", 2, 2 * 7 * 64, 16),
        # These have a bias of 8 exactly where batch norm is not affine.
        ("nor_conv_1x1", 1, 64 + 8, 16 - 8),
        ("nor_conv_3x3", 1, 9 * 64 + 8, 16 - 8),
    ],
)
def test_operations_have_the_published_number_of_parameters(op, stride, free, affine):
    sizes = [
        sum(p.numel() for p in build(op, Slot(width=8, stride=stride, affine=flag)).parameters())
        for flag in (False, True)
    ]
    assert sizes == [free, free + affine]


def test_none_stops_what_is_not_finite():
    x = torch.full((1, 2, 4, 4), float("nan"))
    assert torch.equal(build("none", Slot(width=2, stride=2))(x), torch.zeros(1, 2, 2, 2))


def test_average_pooling_leaves_the_padding_out():
    assert torch.equal(
        build("avg_pool_3x3", Slot(width=2, affine=True))(torch.ones(1, 2, 4, 4)), torch.ones(1, 2, 4, 4)
    )


def test_noise_is_the_same_in_every_layout():
    drawn = []
    for layout in (torch.contiguous_format, torch.channels_last):
        noise = Noise(2)
        noise.generator = torch.Generator().manual_seed(3)
        drawn.append(noise(torch.zeros(2, 4, 8, 8).to(memory_format=layout)))
        assert drawn[-1].is_contiguous(memory_format=layout)
    assert torch.equal(*drawn)


def test_noise_is_standard_normal_fresh_and_repeatable():
    net = nn.Sequential(nn.Identity(), Noise(2))
    x = torch.full((8, 16, 32, 32), 5.0)
    draws = []
    for _ in range(2):
        draw_noise_from(drawing(net), torch.Generator().manual_seed(3))
        draws += [net(x), net(x)]
    assert draws[0].shape == (8, 16, 16, 16)
    assert abs(draws[0].mean()) < 0.03
    assert abs(draws[0].std() - 1) < 0.03
    assert not torch.equal(draws[0], draws[1])
    assert torch.equal(draws[0], draws[2])
    assert torch.equal(draws[1], draws[3])


def published_reduce(module, x):
    x = F.relu(x)
    halves = [
        F.conv2d(x, module.even.weight, stride=2),
        F.conv2d(x[:, :, 1:, 1:], module.odd.weight, stride=2),
    ]
    return F.batch_norm(torch.cat(halves, 1), None, None, training=True)


@pytest.mark.parametrize("size", [(8, 8), (4, 6)])
def test_factorized_reduce_is_the_published_formula_at_even_sizes(size):
    module = FactorizedReduce(6, 8, affine=False).double()
    x = pictures(3, 6, *size).double().requires_grad_()
    out, expected = module(x), published_reduce(module, x)
    torch.testing.assert_close(out, expected)
    weight = pictures(*out.shape, seed=1).double()
    inputs = [x, module.even.weight, module.odd.weight]
    for ours, theirs in zip(
        torch.autograd.grad(out, inputs, weight), torch.autograd.grad(expected, inputs, weight), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("size", [(9, 9), (7, 8), (8, 5), (1, 1)])
def test_factorized_reduce_pads_odd_sizes_at_their_end(size):
    module = FactorizedReduce(6, 8, affine=False)
    x = pictures(3, 6, *size)
    padded = torch.zeros(3, 6, *(n + n % 2 for n in size))
    padded[:, :, : size[0], : size[1]] = x
    torch.testing.assert_close(module(x), published_reduce(module, padded))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("op", SEPARABLE)
def test_separable_convolutions_are_their_published_layers(op, stride):
    kernel, dilation = SEPARABLE[op]
    module = build(op, Slot(width=4, stride=stride))
    x = expected = pictures(3, 4, 9, 8)
    strides = [stride, 1] if dilation == 1 else [stride]
    blocks = [block for block in module.modules() if isinstance(block, Separable)]
    for block, step in zip(blocks, strides, strict=True):
        layer = nn.Conv2d(
            4, 4, kernel, step, padding=dilation * (kernel - 1) // 2, dilation=dilation, groups=4, bias=False
        )
        layer.load_state_dict({"weight": block.depthwise.weight})
        expected = F.conv2d(layer(F.relu(expected)), block.pointwise.weight)
        expected = F.batch_norm(expected, None, None, training=True)
    torch.testing.assert_close(module(x), expected)


def test_a_depthwise_convolution_starts_as_torchs_own_does():
    torch.manual_seed(5)
    ours = Depthwise(6, 5, stride=2, dilation=2).weight
    torch.manual_seed(5)
    theirs = nn.Conv2d(6, 6, 5, stride=2, dilation=2, groups=6, bias=False).weight
    assert torch.equal(ours, theirs)


def test_batch_norm_follows_the_pools_only_where_asked_for():
    x = pictures(4, 3, 6, 6) + 3
    for op in ("max_pool_3x3", "avg_pool_3x3"):
        plain, normed = build(op, Slot(width=3, stride=2)), build(op, Slot(width=3, stride=2, pool_norm=True))
        torch.testing.assert_close(normed(x), F.batch_norm(plain(x), None, None, training=True))
        assert list(normed.parameters()) == []
    assert not any(isinstance(m, nn.Sequential) for m in build("skip_connect", Slot(width=3, affine=True)).modules())


def test_a_users_own_operation_is_taken_as_it_is():
    own = {"pool": lambda slot: nn.AvgPool2d(slot.stride), "twice": OPS["sep_conv_3x3"]}
    assert isinstance(build("pool", Slot(width=3, stride=2, pool_norm=True), factories=own), nn.AvgPool2d)
    assert isinstance(build("twice", Slot(width=3, stride=2), factories=own), nn.Sequential)
    assert isinstance(build("max_pool_3x3", Slot(width=3, stride=2), factories=own), nn.MaxPool2d)


def test_a_users_own_operation_cannot_have_the_name_of_one_of_diffnas():
    with pytest.raises(ValueError) as error:
        build("skip_connect", Slot(width=3), factories={"skip_connect": lambda slot: nn.Identity()})
    assert str(error.value) == (
        "'skip_connect' is the name of an operation of diffnas; choose another name in factories."
    )


def test_an_unknown_operation_gets_a_suggestion_that_counts_the_users_own():
    with pytest.raises(
        ValueError, match=r"'sep_conv_3x' is none of diffnas\. Did you mean 'sep_conv_3x3'\? If it is your own"
    ):
        build("sep_conv_3x", Slot(width=4, affine=True))
    with pytest.raises(ValueError, match=r"Did you mean 'my_conv'\?"):
        build("my_con", Slot(width=4, affine=True), factories={"my_conv": OPS["none"]})
    with pytest.raises(ValueError) as error:
        build("shift", Slot(width=4))
    assert str(error.value) == (
        "the operation 'shift' is none of diffnas. If it is your own, give it in Python: factories={'shift': ...}."
    )


@pytest.mark.parametrize(
    ("op", "stride", "macs"),
    [  # 8 channels on 6x6 maps
        ("none", 1, 0),
        ("max_pool_3x3", 2, 0),
        ("skip_connect", 2, 9 * 64),
        ("sep_conv_3x3", 1, 36 * 2 * (72 + 64)),
        ("dil_conv_5x5", 2, 9 * (200 + 64)),
        ("conv_7x1_1x7", 2, 18 * 7 * 64 + 9 * 7 * 64),
        ("nor_conv_3x3", 1, 36 * 9 * 64),
    ],
)
def test_multiply_adds_are_counted_by_the_book(op, stride, macs):
    assert count_macs(build(op, Slot(width=8, stride=stride)), (8, 6, 6)) == macs


def test_counting_multiply_adds_leaves_no_trace():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8).eval(), nn.Flatten(), nn.Linear(8 * 16, 5))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    assert count_macs(net, (3, 6, 6)) == 27 * 8 * 16 + 8 * 16 * 5
    assert [part.training for part in net] == [True, False, True, True]
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not any(part._forward_hooks for part in net)


def test_counting_multiply_adds_does_not_move_the_noise():
    net = nn.Sequential(Noise(1), nn.Conv2d(3, 8, 1))
    generator = torch.Generator().manual_seed(1)
    before, globally = generator.get_state(), torch.get_rng_state()
    for source in (generator, None):
        draw_noise_from(drawing(net), source)
        assert count_macs(net, (3, 4, 4)) == 24 * 16
        assert net[0].generator is source
    assert torch.equal(generator.get_state(), before)
    assert torch.equal(torch.get_rng_state(), globally)
    assert count_macs(net.to("meta"), (3, 4, 4)) == 24 * 16
