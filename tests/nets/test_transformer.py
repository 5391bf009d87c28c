"""Transformers: whole networks against counts by arithmetic, and what holds of supernets and networks."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from diffnas.genotype import Genotype, handmade, parse
from diffnas.nets.frames.chain import Chain
from diffnas.nets.frames.transformer import AttentionPool
from diffnas.nets.network import Network, parameters_of
from diffnas.nets.ops import count_macs
from diffnas.nets.ops.attention import Table
from diffnas.nets.ops.transformer import Branch, TokenNorm
from diffnas.nets.sized import Size, SizedSpace
from diffnas.nets.supernet import MixedEdge, Supernet
from diffnas.space import SearchSpace, transformer, transformer_graph, transformer_space, with_own_cells, without

OWN = with_own_cells(transformer_space(width=8), depth=2)


def supernet(space: SearchSpace = OWN, picture: tuple[int, int] = (8, 8), seed: int = 0) -> Supernet:
    torch.manual_seed(seed)
    return Supernet(space, classes=3, in_channels=1, channels=8, depth=space.own_depth or 2, picture=picture)


def evenly(space: SearchSpace = OWN) -> Tensor:
    offered = torch.tensor(space.offered, dtype=torch.float32)
    return offered / offered.sum(dim=1, keepdim=True)


def pictures(count: int = 4, channels: int = 1, height: int = 8, width: int = 8) -> Tensor:
    return torch.randn(count, channels, height, width, generator=torch.Generator().manual_seed(0))


def network(genotype: Genotype | str, picture: tuple[int, int] = (8, 8), **options) -> Network:
    torch.manual_seed(0)
    found = parse(genotype) if isinstance(genotype, str) else genotype
    sizes = {"classes": 3, "in_channels": 1, "channels": 8, "depth": found.depth or 2, "picture": picture}
    return Network(found, **{**sizes, **options}).eval()


def test_a_network_has_the_parameters_and_multiply_adds_of_arithmetic() -> None:
    with torch.device("meta"):
        net = Network(handmade("deit-like"), classes=10, channels=128, depth=8)
    assert parameters_of(net) == 8 * 198_660 + 8 * 512 + 8 * 256 + 75_840 + 8_192 + 256 + 1_290 == 1_681_002
    stem = 256 * 27 * 64 + 64 * 9 * 64 * 128
    assert count_macs(net, (3, 32, 32)) == stem + 8 * (5_242_880 + 8_388_608) + 1_280


def test_the_shape_of_deit_tiny_has_the_published_size() -> None:
    with torch.device("meta"):
        net = Network(
            parse("transformer | attn_3 | mlp_4"),
            classes=1000, channels=192, depth=12, stem="patch", picture=(224, 224),
        )  # fmt: skip
    ours = 12 * 3 * 27**2 + 24 * 192  # relative biases and scales, which DeiT has not
    assert parameters_of(net) - ours + 192 + 192 == 5_717_416  # with its class token and the position of that
    # The class token is one token more in each layer, and none in the patches.
    layer = 12 * (197 * 12 * 192**2 + 2 * 197**2 * 192)
    assert layer + 196 * 768 * 192 + 192_000 == 1_253_683_200
    assert count_macs(net, (3, 224, 224)) == 12 * (196 * 12 * 192**2 + 2 * 196**2 * 192) + 196 * 768 * 192 + 192_000


@pytest.mark.parametrize(("width", "params", "macs"), [(96, 366_844, 25.3e6), (128, 644_108, 43.68e6)])
def test_a_layer_of_the_supernet_has_the_parameters_and_multiply_adds_of_the_table(width, params, macs) -> None:
    space = with_own_cells(transformer, 1)
    with torch.device("meta"):
        net = Supernet(space, classes=10, channels=width, depth=1)
    assert (
        sum(each.numel() for each in net.cells[0].parameters())
        + sum(each.numel() for each in net.cells[1].parameters())
        == params
    )
    counted = sum(count_macs(op, (width, 8, 8)) for cell in net.cells for op in cell.edges[0].ops.values())
    assert counted == pytest.approx(macs, rel=2e-3)


def test_branches_that_are_all_none_leave_stem_positions_and_head_exactly() -> None:
    net, x, mix = supernet(), pictures(), torch.zeros(len(OWN.edges), len(OWN.ops))
    mix[:, OWN.ops.index("none")] = 1.0
    frame = net.frame
    assert isinstance(frame, Chain)
    assert torch.equal(net(x, mix), frame.head(frame.stem(x)))


@torch.no_grad()
def test_the_scale_of_an_operation_cannot_undo_its_mixing_weight_in_a_supernet_and_counts_in_a_network() -> None:
    net, x, mix = supernet().eval(), pictures(), evenly()
    _grow(_grow(net))  # so far that the constant under the root of the norm does not show
    before = net(x, mix)
    _grow(net)
    assert float((net(x, mix) - before).norm() / before.norm()) < 1e-4
    alone = network("transformer | attn_4 | mlp_4")
    was = alone(x).logits
    _grow(alone)
    assert float((alone(x).logits - was).norm() / was.norm()) > 1e-2


@torch.no_grad()
def _grow(net: nn.Module) -> nn.Module:
    for name, weight in net.named_parameters():
        if name.endswith("op.last.weight"):
            weight.mul_(100)
    return net


def test_a_supernet_computes_the_same_in_training_and_in_evaluation_beyond_the_stem() -> None:
    net, mix = supernet(), evenly()
    frame = net.frame
    assert isinstance(frame, Chain)
    frame.stem = nn.Sequential(nn.Conv2d(1, 8, 2, 2))
    assert torch.equal(net.train()(pictures(), mix), net.eval()(pictures(), mix))


@pytest.mark.parametrize("space", [transformer, OWN, transformer_graph], ids=["kinds", "own", "graph"])
def test_removing_a_dead_operation_changes_no_bit_and_frees_its_parameters(space: SearchSpace) -> None:
    net, x, mix = supernet(space), pictures(), evenly(space)
    column = space.ops.index("sepconv_7")
    mix[:, column] = 0.0
    keep = torch.tensor(space.offered)
    keep[:, column] = False
    before, params = net(x, mix), sum(each.numel() for each in net.parameters())
    net.prune_(keep)
    assert torch.equal(net(x, mix), before)
    edges = sum(isinstance(each, MixedEdge) and "sepconv_7" in each.offered for each in net.modules())
    assert params - sum(each.numel() for each in net.parameters()) == edges * (4 * 64 + 2 * 8 * 49 + 5 * 8)


def test_the_norm_before_a_branch_is_computed_once_for_all_its_operations_and_not_for_none(monkeypatch) -> None:
    net, calls = supernet(), []
    plain = TokenNorm.forward

    def counted(self, x: Tensor) -> Tensor:
        calls.append(self.centered)
        return plain(self, x)

    monkeypatch.setattr(TokenNorm, "forward", counted)
    net(pictures(), evenly())
    assert calls.count(True) == len(OWN.edges) + 1  # and that of the head
    keep = torch.tensor(OWN.offered)
    keep[:2, 1:] = False
    net.prune_(keep)
    calls.clear()
    net(pictures(), evenly())
    assert calls.count(True) == len(OWN.edges) - 2 + 1


def test_an_absent_branch_has_no_parameters_in_a_network() -> None:
    whole, less = (network(f"transformer | attn_4 | mlp_4 | {op} | mlp_1") for op in ("attn_2", "none"))
    gone = 4 * 64 + 4 * 8 + 2 * 7**2 + 2 * 8 + 8  # attention, its bias, norm and scale
    assert parameters_of(whole) - parameters_of(less) == gone


@pytest.mark.parametrize("picture", [(1, 1), (14, 10), (8, 8), (33, 41)], ids=str)
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_of_any_size_and_batches_of_one_work(picture: tuple[int, int], channels: int) -> None:
    x = pictures(1, channels, *picture)
    net = network("transformer | window_4 | glu_2 | attn_2 | none", picture, in_channels=channels)
    assert net(x).logits.isfinite().all()
    torch.manual_seed(0)
    mixed = Supernet(OWN, classes=3, in_channels=channels, channels=8, depth=2, picture=picture).eval()
    assert mixed(x, evenly()).isfinite().all()


def test_a_network_takes_pictures_of_another_size_by_interpolating_its_tables() -> None:
    net = network("transformer | attn_4 | mlp_1")
    assert net(pictures(2, 1, 12, 10)).logits.isfinite().all()


@torch.no_grad()
def test_positions_matter_unless_they_are_zero_and_only_attention_without_bias_mixes() -> None:
    net, x = network("transformer | attn_4 | mlp_4"), pictures(height=8, width=8)
    frame = net.frame
    assert isinstance(frame, Chain)
    *first, positions = frame.stem.get_submodule("first").children()
    table = positions.table.values
    before = net(x).logits
    order = torch.randperm(16, generator=torch.Generator().manual_seed(1))
    table.copy_(table.flatten(1)[:, order].view_as(table))
    assert not torch.allclose(net(x).logits, before)
    for each in net.modules():
        if isinstance(each, Table):
            each.values.zero_()
    grid, head = nn.Sequential(*first)(x), frame.head
    permuted = grid.flatten(2)[:, :, order].view_as(grid)
    outs = []
    for tokens in (grid, permuted):
        for cell in frame.cells:
            tokens = tokens + cell((tokens,))
        outs.append(head(tokens))
    torch.testing.assert_close(*outs)


def test_non_finite_pictures_give_non_finite_logits() -> None:
    assert not network("transformer | attn_4 | mlp_4")(torch.full((1, 1, 8, 8), float("nan"))).logits.isfinite().any()


def test_the_heads_of_attention_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match=r"50 channels cannot be shared .* multiple of 4\. Take 48 or 52\."):
        Supernet(transformer, classes=3, channels=50)
    with pytest.raises(ValueError, match=r"multiple of 3\. Take 48 or 51"):
        Network(parse("transformer | attn_3 | mlp_1"), classes=3, channels=50)
    assert network("transformer | pool_3 | mlp_1", channels=7)(pictures()).logits.shape == (4, 3)
    assert Supernet(without(without(transformer, "attn_4"), "attn_half"), classes=3, channels=52, depth=1)


def test_a_branch_begins_small_in_deep_networks() -> None:
    for depth, scale in ((24, 0.1), (25, 1e-4)):
        with torch.device("cpu"):
            net = network(handmade("poolformer-like"), depth=depth, channels=2)
        assert {each.scale[0].item() for each in net.modules() if type(each) is Branch} == {torch.tensor(scale).item()}


def test_the_norm_and_the_pool_are_read_from_the_name_of_the_skeleton() -> None:
    net = network("transformer:rms:attend | attn_4 | mlp_4")
    norms = [each for each in net.modules() if isinstance(each, TokenNorm)]
    assert all(each.bias is None and not each.centered for each in norms)
    assert any(isinstance(each, AttentionPool) for each in net.modules())
    with pytest.raises(ValueError, match="'rmsnorm' is no part of a transformer's name"):
        parse("transformer:rmsnorm | attn_4 | mlp_4")


def test_a_layer_that_is_a_graph_adds_its_last_node_to_the_stream() -> None:
    net, x = supernet(transformer_graph), pictures()
    mix = torch.zeros(len(transformer_graph.edges), len(transformer_graph.ops))
    mix[:, transformer_graph.ops.index("skip_connect")] = 1.0
    frame = net.frame
    assert isinstance(frame, Chain)
    # Three nodes of skips alone: x, 2x, 4x.
    stream = frame.stem(x)
    for _ in range(2):
        stream = stream + 4 * stream * frame.share
    torch.testing.assert_close(net(x, mix), frame.head(stream))


def test_the_costs_of_operations_add_up_to_that_of_the_network() -> None:
    sized = SizedSpace(space=OWN, picture=(1, 8, 8), classes=3, size=Size(8, 2))
    genotype = parse("transformer | attn_half | glu_2 | none | mlp_1")
    net = network(genotype)
    for count, real in (("params", parameters_of(net)), ("macs", count_macs(net, (1, 8, 8)))):
        assert sized.cost(genotype, count) == sized.additive(count).of(OWN, genotype) == real


def test_a_stem_that_transformers_do_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown stem 'resnet'"):
        network(handmade("deit-like"), stem="resnet")


@pytest.mark.parametrize(("side", "grid"), [(8, 4), (16, 8), (28, 7), (32, 8), (64, 8), (96, 12), (224, 14)])
@pytest.mark.parametrize("stem", ["cifar", "patch"])
def test_the_side_of_a_patch_follows_from_the_size_of_the_pictures(side: int, grid: int, stem: str) -> None:
    with torch.device("meta"):
        net = network(handmade("poolformer-like"), (side, side), stem=stem)
    frame = net.frame
    assert isinstance(frame, Chain)
    assert frame.stem.get_submodule("first")[-1].table.values.shape == (8, grid, grid)
    assert frame.stem(torch.zeros(1, 1, side, side, device="meta")).shape == (1, 8, grid, grid)


def test_a_space_of_other_branches_is_a_value() -> None:
    space = replace(transformer_space(mixers=("none", "attn_1"), channel_ops=("mlp_1",), width=4), name="tiny")
    assert [cell.ops for cell in with_own_cells(space, 2).cells.values()] == [(("none", "attn_1"),), (("mlp_1",),)] * 2
