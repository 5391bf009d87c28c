from unittest.mock import patch

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from diffnas.genotype import PUBLISHED, Cell, Connection, Genotype, parse, published
from diffnas.genotype.published import SEQUENCES
from diffnas.nets.auxiliary import AuxiliaryHead
from diffnas.nets.network import Network, _droppable, parameters_of
from diffnas.nets.ops import count_macs

# Parameters without the auxiliary head: CIFAR-10 and CIFAR-100 at 36 channels and 20 cells, ImageNet at 48 and 14.
SIZES = {
    "DARTS_V1": (3_169_414, 3_221_344, 4_510_432),
    "DARTS_V2": (3_349_342, 3_401_272, 4_718_752),
    "PC_DARTS_cifar": (3_634_678, 3_686_608, 5_270_560),
    "PC_DARTS_image": (3_721_510, 3_773_440, 5_342_464),
    "PDARTS": (3_433_798, 3_485_728, 4_944_352),
    "GDAS_V1": (3_368_782, 3_420_712, 4_969_216),
    "SNAS_mild": (2_661_382, 2_713_312, 3_939_328),
    "SNAS_moderate": (2_847_358, 2_899_288, 4_312_576),
    "MdeNAS": (3_783_286, 3_835_216, 5_325_760),
    "NASNet": (3_830_950, 3_895_840, 5_564_320),
    "AmoebaNet": (3_145_078, 3_184_048, 4_627_360),
    "ENASNet": (4_020_166, 4_085_056, 5_908_768),
    "DARTS-_cifar10_s0_0": (3_454_318, 3_506_248, 4_860_256),
    "DARTS-_cifar10_s0_1": (3_634_246, 3_686_176, 5_068_576),
    "DARTS-_cifar10_s0_2": (3_739_222, 3_791_152, 5_210_080),
    "DARTS-_cifar10_s0_3": (3_437_038, 3_488_968, 4_847_968),
    "DARTS-_cifar10_s0_4": (3_446_110, 3_498_040, 4_804_768),
    "DARTS-_cifar100_s0_0": (3_368_998, 3_420_928, 4_790_368),
    "DARTS-_cifar100_s0_1": (3_421_918, 3_473_848, 4_783_264),
    "DARTS-_cifar100_s0_2": (3_244_150, 3_296_080, 4_600_096),
    "DARTS-_cifar100_s0_3": (3_355_174, 3_407_104, 4_771_936),
    "PT_darts_pt_s5_0": (2_851_246, 2_903_176, 4_228_576),
    "PT_darts_pt_s5_1": (3_053_206, 3_105_136, 4_510_816),
    "PT_darts_pt_s5_2": (2_658_142, 2_710_072, 4_035_712),
    "PT_darts_pt_s5_3": (3_328_174, 3_380_104, 4_779_712),
    "PT_blank_pt_s5_0": (3_039_598, 3_091_528, 4_448_128),
    "PT_blank_pt_s5_1": (3_148_030, 3_199_960, 4_594_240),
    "PT_blank_pt_s5_2": (2_581_894, 2_633_824, 3_922_624),
    "PT_blank_pt_s5_3": (3_404_854, 3_456_784, 4_871_968),
    "MiLeNAS_r101_e50_48_n7r3": (3_874_222, 3_926_152, 5_380_000),
    "MiLeNAS_r118_e100_92_n4r1": (2_866_150, 2_918_080, 4_192_288),
    "MiLeNAS_v2_r5_e200": (2_089_846, 2_141_776, 3_260_512),
    "MiLeNAS_GDAS_MIXED_LEVEL2": (4_033_198, 4_085_128, 5_594_272),
    "GAEA_edarts4": (1_938_214, 1_990_144, 3_101_440),
    "FairDARTS_a": (2_360_782, 2_399_752, 3_472_000),
    "FairDARTS_b": (3_407_878, 3_459_808, 4_865_248),
    "FairDARTS_c": (2_598_814, 2_637_784, 3_859_264),
    "FairDARTS_d": (3_365_542, 3_417_472, 4_785_760),
    "FairDARTS_e": (2_643_742, 2_682_712, 3_773_824),
    "FairDARTS_f": (3_151_054, 3_202_984, 4_542_112),
    "FairDARTS_g": (2_899_054, 2_938_024, 4_094_944),
    "PR_DARTS": (3_444_814, 3_496_744, 4_981_312),
}
RESNET = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|"
CONVOLUTIONS = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"


def on_meta(genotype, **settings):
    # What has no numbers needs no initialization, which takes most of the time.
    nothing = dict.fromkeys(
        ("kaiming_uniform_", "uniform_", "ones_", "zeros_"), lambda tensor, *args, **settings: tensor
    )
    with torch.device("meta"), patch.multiple(nn.init, **nothing):
        return Network(genotype, **settings)


def cell(*connections, inputs=2, nodes=4, output=(2, 3)):
    return Cell(inputs=inputs, nodes=nodes, connections=tuple(Connection(*c) for c in connections), output=output)


def darts(**cells):
    return Genotype(skeleton="darts", cells=cells)


def tiny(genotype=None, **settings):
    torch.manual_seed(0)
    return Network(genotype or published("DARTS_V2"), **{"classes": 7, "channels": 4, "depth": 5, **settings})


def pictures(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


# Of the cells of UnNAS no sizes are published.
ON_PICTURES = [name for name in PUBLISHED if not name.endswith(SEQUENCES) and not name.startswith("UNNAS")]


@pytest.mark.parametrize("name", ON_PICTURES)
def test_published_cells_have_the_published_number_of_parameters(name):
    cifar = on_meta(published(name), classes=10)
    found = [parameters_of(cifar)]
    cifar.frame.head[-1] = nn.Linear(cifar.frame.head[-1].in_features, 100, device="meta")
    found += [parameters_of(cifar), parameters_of(on_meta(published(name), classes=1000, stem="imagenet"))]
    assert tuple(found) == SIZES[name]


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|", (73_306, 79_156, 80_456)),
        (
            "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|",
            (73_306, 79_156, 80_456),
        ),
        (CONVOLUTIONS, (1_531_546, 1_537_396, 1_538_696)),
        (RESNET, (559_386, 565_236, 566_536)),
        (  # the best cells of the benchmark on CIFAR-10 and on CIFAR-100
            "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|",
            (1_073_466, None, None),
        ),
        (
            "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|",
            (None, 1_294_356, None),
        ),
    ],
)
def test_nas_bench_201_networks_have_the_benchmarks_number_of_parameters(text, sizes):
    for classes, size in zip((10, 100, 120), sizes, strict=True):
        assert size is None or parameters_of(on_meta(parse(text), classes=classes)) == size


def test_multiply_adds_agree_with_those_published_for_the_pr_darts_cell():
    genotype = published("PR_DARTS")
    assert round(count_macs(on_meta(genotype, classes=10, auxiliary=True), (3, 32, 32)) / 1e6) == 530
    assert round(count_macs(on_meta(genotype, classes=1000, stem="imagenet"), (3, 224, 224)) / 1e6) == 543


def test_the_auxiliary_head_has_the_published_size_and_is_not_counted_unless_asked_for():
    plain, with_head = (on_meta(published("DARTS_V2"), classes=10, auxiliary=flag) for flag in (False, True))
    assert parameters_of(with_head) == parameters_of(plain)
    assert parameters_of(with_head, auxiliary=True) - parameters_of(plain) == 476_426
    imagenet = on_meta(published("DARTS_V2"), classes=1000, stem="imagenet", auxiliary=True)
    # 768 channels come in; no batch norm follows the second convolution.
    size = 768 * 128 + 256 + 128 * 768 * 4 + 769 * 1000
    assert parameters_of(imagenet, auxiliary=True) - parameters_of(imagenet) == size


@pytest.mark.parametrize("text", ["DARTS_V2", "AmoebaNet", "FairDARTS_g", RESNET, CONVOLUTIONS])
@pytest.mark.parametrize(
    ("in_channels", "size", "stem"),
    [
        (1, (8, 8), "cifar"),
        (3, (9, 9), "cifar"),
        (1, (28, 28), "cifar-half"),
        (3, (32, 32), "cifar"),
        (3, (13, 10), "cifar-half"),
        (3, (64, 64), "imagenet"),
    ],
)
def test_networks_train_on_pictures_of_any_size(text, in_channels, size, stem):
    genotype = published(text) if text in PUBLISHED else parse(text)
    on_darts = genotype.skeleton == "darts"
    net = tiny(genotype, in_channels=in_channels, stem=stem, auxiliary=on_darts)
    logits, auxiliary = net(pictures(4, in_channels, *size), drop_path=0.2, generator=torch.Generator())
    assert logits.shape == (4, 7)
    assert auxiliary is None if not on_darts else auxiliary.shape == (4, 7)
    (logits.sum() + (auxiliary.sum() if on_darts else 0)).backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in net.frame.head.parameters())
    assert net.frame.stem.first[0].weight.grad.abs().sum() > 0


def test_the_auxiliary_head_runs_in_training_mode_only():
    net = tiny(auxiliary=True)
    assert net(pictures(2, 3, 8, 8)).auxiliary is not None
    assert net.eval()(pictures(2, 3, 8, 8)).auxiliary is None
    assert tiny()(pictures(2, 3, 8, 8)).auxiliary is None


def test_the_auxiliary_head_reads_the_second_reduction_cell():
    net = tiny(auxiliary=True, depth=8)
    seen = []
    net.cells[5].register_forward_hook(lambda module, inputs, output: seen.append(output))
    net.frame.auxiliary.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    net(pictures(2, 3, 16, 16))
    assert seen[0] is seen[1]


@pytest.mark.parametrize(("imagenet", "stride", "sizes"), [(False, 3, (8, 9, 10)), (True, 2, (7, 8))])
def test_the_auxiliary_head_pools_as_published_where_that_gives_2x2_and_takes_all_other_maps_too(
    imagenet, stride, sizes
):
    auxiliary = AuxiliaryHead(6, 5, imagenet=imagenet).eval()
    for size in range(1, 15):
        x = pictures(2, 6, size, size)
        pooled = F.avg_pool2d(F.relu(x), 5, stride) if size in sizes else F.adaptive_avg_pool2d(F.relu(x), 2)
        torch.testing.assert_close(auxiliary(x), auxiliary.features(pooled))


def test_nas_bench_201_has_no_auxiliary_head():
    with pytest.raises(ValueError, match="'nas-bench-201' skeleton has no auxiliary head"):
        tiny(parse(RESNET), auxiliary=True)


def slow_cell(module, genotype_cell, older, newer):
    """The definition: in order of the nodes, the sum of what each live source sends."""
    nodes = {i: bring(x) for i, (bring, x) in enumerate(zip(module.inputs, (older, newer), strict=True))}
    ops = iter(module.edges)
    for target in range(2, genotype_cell.nodes):
        arriving = [c for c in genotype_cell.connections if c.target == target and c.source in nodes]
        if arriving:
            nodes[target] = sum(next(ops)(nodes[c.source], None) for c in arriving)
    return torch.cat([nodes[n] for n in genotype_cell.output if n in nodes], dim=1)


@pytest.mark.parametrize("name", ["DARTS_V2", "NASNet", "AmoebaNet", "FairDARTS_a", "FairDARTS_c", "FairDARTS_g"])
def test_cells_compute_what_their_genotype_says(name):
    genotype = published(name)
    net = tiny(genotype).eval()
    older, newer = net.frame.stem(pictures(2, 3, 16, 16))
    for module, kind in zip(net.cells, ("normal", "reduce", "normal", "reduce", "normal"), strict=True):
        expected = slow_cell(module, genotype.cells[kind], older, newer)
        older, newer = newer, module((older, newer))
        torch.testing.assert_close(newer, expected)


def test_reduction_cells_have_stride_2_at_their_inputs_alone():
    module = tiny().cells[1]
    strides = {}
    for (source, _), edge in zip(module.graph.edges, module.edges, strict=True):
        strides[type(edge.op), source] = getattr(edge.op, "stride", None)
    assert strides == {(nn.MaxPool2d, 0): 2, (nn.MaxPool2d, 1): 2, (nn.Identity, 2): None}


def test_an_edge_may_have_several_operations_and_a_node_any_number_of_inputs():
    many = cell(
        ("skip_connect", 0, 2),
        ("sep_conv_3x3", 0, 2),
        ("avg_pool_3x3", 1, 2),
        ("skip_connect", 2, 3),
        output=(2, 3),
    )
    net = tiny(darts(normal=many, reduce=many)).eval()
    older, newer = net.frame.stem(pictures(2, 3, 8, 8))
    module = net.cells[0]
    a, b = module.inputs[0](older), module.inputs[1](newer)
    node = a + module.edges[1].op(a) + module.edges[2].op(b)
    torch.testing.assert_close(module((older, newer)), torch.cat([node, node], 1))


def test_dead_nodes_and_what_reads_them_are_left_out():
    dead = cell(("sep_conv_3x3", 0, 2), ("sep_conv_5x5", 3, 4), ("skip_connect", 2, 5), nodes=6, output=(2, 3, 4, 5))
    plain = cell(("sep_conv_3x3", 0, 2), ("skip_connect", 2, 3), output=(2, 3))
    nets = [tiny(darts(normal=c, reduce=c)).eval() for c in (dead, plain)]
    assert parameters_of(nets[0]) == parameters_of(nets[1])
    x = pictures(2, 3, 8, 8)
    assert torch.equal(nets[0](x).logits, nets[1](x).logits)


def test_a_cell_that_passes_nothing_on_is_refused_by_name():
    alive, dead = cell(("skip_connect", 0, 2)), cell(("skip_connect", 2, 3))
    with pytest.raises(ValueError, match=r"the cell 'reduce' passes nothing on: .* output nodes 2, 3\."):
        tiny(darts(normal=alive, reduce=dead))


def test_a_nas_bench_201_cell_without_a_path_gives_constant_logits():
    net = tiny(parse("|none~0|+|none~0|none~1|+|none~0|none~1|nor_conv_3x3~2|"))
    x = pictures(3, 3, 8, 8)
    logits = net.eval()(x).logits
    assert torch.equal(logits[0], logits[1])
    # The convolution that reads zeros is there nonetheless: its batch norm learns a constant.
    module = net.cells[0]
    assert parameters_of(module) == 9 * 16 + 8


def test_cells_with_one_input_read_the_previous_cell_alone():
    single = cell(("sep_conv_3x3", 0, 1), ("skip_connect", 1, 2), inputs=1, nodes=3, output=(1, 2))
    net = tiny(darts(normal=single, reduce=single)).eval()
    assert net(pictures(2, 3, 9, 9)).logits.shape == (2, 7)
    seen = []
    net.cells[2].register_forward_pre_hook(lambda module, inputs: seen.extend(inputs[0]))
    net.cells[1].register_forward_hook(lambda module, inputs, output: seen.append(output))
    net(pictures(2, 3, 8, 8))
    assert len(seen) == 2
    assert seen[0] is seen[1]


def test_a_users_own_operation_can_be_built_in():
    own = cell(("my_conv", 0, 2), ("skip_connect", 1, 2), output=(2,))
    factories = {"my_conv": lambda slot: nn.Conv2d(slot.width, slot.width, 3, slot.stride, padding=1)}
    net = tiny(darts(normal=own, reduce=own), factories=factories)
    assert isinstance(net.cells[0].edges[0].op, nn.Conv2d)
    with pytest.raises(ValueError, match="'my_conv' is none of diffnas"):
        tiny(darts(normal=own, reduce=own))


def test_drop_path_drops_whole_pictures_at_the_given_rate_and_keeps_the_mean():
    pool = cell(("avg_pool_3x3", 0, 2), output=(2,))
    net = tiny(darts(normal=pool, reduce=pool), depth=3)
    module = net.cells[0].eval()
    older, newer = net.frame.stem(torch.ones(2000, 3, 2, 2))
    kept = module((older, newer)).abs().amax((1, 2, 3))[0]
    masks = net._masks(older, 0.3, torch.Generator().manual_seed(0))
    values = module((older, newer), masks).abs().amax((1, 2, 3))
    dropped = values == 0
    assert abs(dropped.float().mean() - 0.3) < 0.04
    torch.testing.assert_close(values[~dropped], (kept / 0.7).expand(int((~dropped).sum())))


def test_drop_path_spares_the_identity_but_not_the_strided_skip():
    skips = cell(("skip_connect", 0, 2), ("skip_connect", 1, 3))
    net = tiny(darts(normal=skips, reduce=skips), depth=5)
    assert [sum(map(_droppable, module.edges)) for module in net.cells] == [0, 2, 0, 2, 0]
    older, newer = net.frame.stem(pictures(4, 3, 8, 8))
    normal = net.cells[0]
    masks = [torch.zeros(4)] * 2
    assert torch.equal(net.cells[1]((older, normal((older, newer))), masks), torch.zeros(4, 16, 4, 4))


def test_every_connection_and_picture_is_dropped_on_its_own():
    net = tiny(depth=3)
    first, second, *rest = net._masks(torch.zeros(500, 3, 8, 8), 0.5, torch.Generator().manual_seed(0))
    assert len(rest) + 2 == sum(_droppable(edge) for module in net.cells for edge in module.edges)
    assert first.shape == (500,)
    assert set(first.unique().tolist()) == {0.0, 2.0}
    assert 0.4 < (first == second).float().mean() < 0.6


def test_drop_path_is_repeatable_and_for_training_alone():
    net, x = tiny(), pictures(4, 3, 8, 8)

    def run(seed, rate=0.5):
        return net(x, rate, torch.Generator().manual_seed(seed)).logits

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))
    assert torch.equal(run(1, rate=0.0), net(x).logits)
    net.eval()
    assert torch.equal(run(1), net(x).logits)


def test_drop_path_is_a_probability_below_1():
    for rate in (1.0, -0.1):
        with pytest.raises(ValueError, match="drop_path is a probability below 1"):
            tiny()(pictures(2, 3, 8, 8), rate)


def test_drop_path_keeps_half_precision():
    net = tiny(depth=3).bfloat16()
    assert net(pictures(2, 3, 8, 8).bfloat16(), 0.3, torch.Generator()).logits.dtype == torch.bfloat16


def test_networks_work_in_the_channels_last_format_throughout():
    net = tiny().to(memory_format=torch.channels_last)
    formats = []
    for module in net.cells:
        module.register_forward_hook(
            lambda module, inputs, output: formats.append(output.is_contiguous(memory_format=torch.channels_last))
        )
    net(pictures(2, 3, 16, 16).contiguous(memory_format=torch.channels_last), 0.2, torch.Generator())
    assert formats == [True] * 5


def test_all_batch_norms_are_affine_and_no_convolution_has_a_bias():
    for genotype in (published("DARTS_V2"), parse(CONVOLUTIONS)):
        modules = list(on_meta(genotype, classes=10).modules())
        assert all(m.affine for m in modules if isinstance(m, nn.BatchNorm2d))
        assert all(m.bias is None for m in modules if isinstance(m, nn.Conv2d))


def test_a_network_of_cells_of_their_own_has_each_at_its_place():
    names = ("DARTS_V2", "AmoebaNet", "FairDARTS_a")
    own = {f"cell{i}": published(name).cells["normal"] for i, name in enumerate(names)}
    genotype = Genotype(skeleton="darts", cells=own)
    net = Network(genotype, classes=10, channels=4).eval()
    older, newer = net.frame.stem(pictures(2, 3, 16, 16))
    for module, made in zip(net.cells, own.values(), strict=True):
        expected = slow_cell(module, made, older, newer)
        older, newer = newer, module((older, newer))
        torch.testing.assert_close(newer, expected)
    assert len(Network(genotype, classes=10, channels=4, depth=3).cells) == 3
    with pytest.raises(ValueError, match="one cell for each of 3 places, so its network cannot have 20"):
        Network(genotype, classes=10, channels=4, depth=20)
