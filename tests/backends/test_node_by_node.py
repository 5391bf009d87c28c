import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from ways import backend, edge_weights_of

from diffnas.components.supernet_options import DARTS_SUPERNET, SupernetOptions
from diffnas.nets import depthwise
from diffnas.nets.links import in_a_row
from diffnas.nets.ops import Separable, drop_skips
from diffnas.nets.slot import Slot
from diffnas.nets.supernet import MixedEdge, Supernet
from diffnas.space import DARTS_OPS, SearchSpace, darts, dense_cell, nas_bench_201, s1, s4


def own(slot: Slot) -> nn.Module:
    return nn.Sequential(nn.Conv2d(slot.width, slot.width, 3, slot.stride, padding=1), nn.Tanh())


with_own_op = SearchSpace(
    name="with own op",
    cells={
        kind: dense_cell(inputs=inputs, nodes=2, ops=("own", "skip_connect", "conv_7x1_1x7", "max_pool_3x3"))
        for kind, inputs in (("normal", 2), ("reduce", 1))
    },
    ops=("own", "skip_connect", "conv_7x1_1x7", "max_pool_3x3"),
    factories={"own": own},
)


def later(slot: Slot) -> nn.Module:
    """Like a separable convolution, but halving the resolution in its second half."""
    halves = (1, slot.stride)
    return in_a_row(*(Separable(slot.width, 3, stride=each, affine=slot.affine) for each in halves))


unlike = SearchSpace(
    name="unlike each other",
    cells={
        kind: dense_cell(inputs=2, nodes=2, ops=("later", "sep_conv_3x3", "skip_connect", "nor_conv_1x1"))
        for kind in ("normal", "reduce")
    },
    ops=("later", "sep_conv_3x3", "skip_connect", "nor_conv_1x1"),
    factories={"later": later},
)
FAMILY = ("sep_conv_3x3_width3", "sep_conv_5x5_layers1", "dil_conv_3x3_layers2", "sep_conv_1x1", "skip_connect")
of_family = SearchSpace(
    name="of the family",
    cells={kind: dense_cell(inputs=2, nodes=2, ops=FAMILY) for kind in ("normal", "reduce")},
    ops=FAMILY,
)
SPACES = {space.name: space for space in (darts, nas_bench_201, s1, s4, with_own_op, unlike, of_family)}


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def build(
    space: SearchSpace, generator: torch.Generator, dtype=torch.float64, depth=3, options=DARTS_SUPERNET
) -> Supernet:
    torch.manual_seed(0)
    net = Supernet(space, classes=3, channels=4, depth=depth, options=options)
    net.to(dtype, memory_format=torch.channels_last)
    drop_skips(net, 0.3)
    for name, buffer in net.named_buffers():
        if name.endswith("running_mean"):
            buffer.copy_(torch.randn(buffer.shape, generator=generator))
    return net


def results(net: Supernet, x: Tensor, mix: Tensor, how: str) -> dict[str, Tensor]:
    """Everything a training step leaves behind: logits, gradients and buffers."""
    net = copy.deepcopy(net)
    net.backend = backend(how, x.dtype)
    torch.manual_seed(1)  # for noise and dropout
    mix = mix.clone().requires_grad_()
    logits = net(x, edge_weights_of(net, mix))
    (logits * torch.linspace(-1, 1, logits.numel(), dtype=logits.dtype).view_as(logits)).sum().backward()
    weights = {f"gradient of {name}": p.grad for name, p in net.named_parameters() if p.grad is not None}
    return {"logits": logits.detach(), "mix": mix.grad, **weights, **dict(net.named_buffers())}


def assert_same(result: dict[str, Tensor], expected: dict[str, Tensor], atol: float) -> None:
    assert result.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(result[name], tensor, rtol=atol, atol=atol, msg=lambda text, n=name: f"{n}: {text}")


def pictures(generator: torch.Generator, dtype=torch.float64, size=5) -> Tensor:
    return torch.randn(3, 3, size, size, generator=generator, dtype=dtype)


def weights(space: SearchSpace, generator: torch.Generator, dtype=torch.float64) -> Tensor:
    return torch.rand(len(space.edges), len(space.ops), generator=generator, dtype=dtype)


# How many operations stay on each edge, on average, of all.
@pytest.mark.parametrize("share", [1.0, 0.2])
@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_values_gradients_and_buffers_are_those_of_the_plain_forward(space, share, generator):
    net, mix = build(space, generator), weights(space, generator)
    keep = torch.rand(mix.shape, generator=generator) < share
    net.prune_(keep)
    x, mix = pictures(generator), mix * keep
    assert_same(results(net, x, mix, "fast"), results(net, x, mix, "plain"), 1e-10)


OPTIONS = {
    "partial channels": SupernetOptions(one_in=2),
    "auxiliary skips": SupernetOptions(auxiliary=1.0),
    "dropped skips": SupernetOptions(dropout=0.3),
    "two at once": SupernetOptions(one_in=2, auxiliary=1.0),
    "all of them": SupernetOptions(one_in=4, auxiliary=1.0, dropout=0.3),
}


CHANGED = [
    *((name, darts, 0.4) for name in OPTIONS),
    *(("all of them", space, share) for space in (darts, nas_bench_201, s4) for share in (1.0, 0.2)),
    *(("two at once", space, 0.5) for space in (with_own_op, unlike)),
]


@pytest.mark.parametrize(("name", "space", "kept"), CHANGED, ids=lambda part: getattr(part, "name", str(part)))
def test_a_changed_supernet_is_the_same_either_way(name, space, kept, generator):
    net, mix = build(space, generator, options=OPTIONS[name]), weights(space, generator)
    keep = torch.rand(mix.shape, generator=generator) < kept
    net.prune_(keep)
    beside = torch.rand(len(mix), 2, generator=generator, dtype=mix.dtype)
    x, mix = pictures(generator), torch.cat([mix * keep, beside], dim=1)
    assert_same(results(net, x, mix, "fast"), results(net, x, mix, "plain"), 1e-10)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_changed_supernet_is_as_exact_in_float32(options, generator):
    pytest.importorskip("numba")
    space = nas_bench_201
    net, mix = build(space, generator, options=replace(options, dropout=None)), weights(space, generator)
    beside = torch.rand(len(mix), 2, generator=generator, dtype=mix.dtype)
    x, mix = pictures(generator, size=8), torch.cat([mix, beside], dim=1)
    exact = results(net, x, mix, "plain")
    single = results(copy.deepcopy(net).float(), x.float(), mix.float(), "fast")
    scale = {name: tensor.norm().clamp_min(1e-3) for name, tensor in exact.items() if tensor.is_floating_point()}
    assert all((single[name].double() - exact[name]).norm() < 1e-4 * size for name, size in scale.items())


@pytest.mark.parametrize("op", DARTS_OPS)
def test_any_operation_may_be_the_only_one(op, generator):
    net, mix = build(darts, generator), weights(darts, generator)
    keep = torch.zeros(mix.shape, dtype=torch.bool)
    keep[:, darts.ops.index(op)] = True
    net.prune_(keep)
    x = pictures(generator, size=8)
    assert_same(results(net, x, mix, "fast"), results(net, x, mix, "plain"), 1e-10)


def test_a_mixing_weight_of_zero_has_the_same_gradient(generator):
    net, x = build(darts, generator), pictures(generator)
    mix = weights(darts, generator)
    mix[:, 2:6] = 0
    assert_same(results(net, x, mix, "fast"), results(net, x, mix, "plain"), 1e-10)


def test_pruning_after_a_forward_pass_takes_effect(generator):
    net, x, mix = build(darts, generator), pictures(generator), weights(darts, generator)
    net.backend = backend("fast", x.dtype)
    net(x, mix)
    keep = torch.rand(mix.shape, generator=generator) < 0.4
    net.prune_(keep)
    assert_same(results(net, x, mix * keep, "fast"), results(net, x, mix * keep, "plain"), 1e-10)


def test_evaluation_mode_uses_the_running_statistics(generator):
    net, x, mix = build(darts, generator).eval(), pictures(generator), weights(darts, generator)
    assert_same(results(net, x, mix, "fast"), results(net, x, mix, "plain"), 0)


def test_mixing_weights_without_gradient_leave_the_others_unchanged(generator):
    net, x, mix = build(darts, generator), pictures(generator), weights(darts, generator)
    gradients = []
    for how in ("fast", "plain"):
        net.backend = backend(how, x.dtype)
        gradients.append(torch.autograd.grad(net(x, mix).square().sum(), list(net.parameters()), allow_unused=True))
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("space", [darts, nas_bench_201, with_own_op, unlike], ids=lambda space: space.name)
def test_float32_rounds_about_as_much_as_stock_kernels(space, seed, monkeypatch):
    pytest.importorskip("numba")
    monkeypatch.setattr(depthwise, "_applies", lambda *_: False)
    generator = torch.Generator().manual_seed(seed)
    net, x, mix = build(space, generator, depth=3), pictures(generator, size=6), weights(space, generator)
    keep = torch.rand(mix.shape, generator=generator) < (1, 0.3)[seed]
    net.prune_(keep)
    exact = results(net, x, mix * keep, "plain")
    scale = torch.stack([tensor.double().norm() for tensor in exact.values()])

    def distances(how: str, layout: torch.memory_format) -> Tensor:
        single = copy.deepcopy(net).to(torch.float32, memory_format=layout)
        result = results(single, x.float().contiguous(memory_format=layout), mix.float() * keep, how)
        apart = torch.stack([(result[name].double() - tensor).norm() for name, tensor in exact.items()])
        return (apart / scale)[scale > 1e-6]  # a bias before a batch norm has no gradient but rounding

    ours = distances("fast", torch.channels_last)
    stock = [distances("plain", layout) for layout in (torch.contiguous_format, torch.channels_last)]
    # Medians: a ReLU that flips, in any of the three, moves a few tensors far more than all rounding does.
    assert ours.median() <= 2 * max(each.median() for each in stock) + 1e-7


def test_nets_exchange_their_weights_whatever_the_way(generator):
    net, mix = build(darts, generator, torch.float32), weights(darts, generator, torch.float32)
    twin = build(darts, torch.Generator().manual_seed(9), torch.float32)
    net.backend, twin.backend = backend("fast"), None
    net(pictures(generator, torch.float32), mix).sum().backward()
    twin.load_state_dict(net.state_dict(), strict=True)
    assert_same(dict(twin.state_dict()), dict(net.state_dict()), 0)
    x = pictures(generator, torch.float32)
    assert_same(results(twin, x, mix, "fast"), results(net, x, mix, "fast"), 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_two_runs_agree_to_the_last_bit(dtype, generator):
    net, x = build(darts, generator, dtype), pictures(generator, dtype)
    mix = weights(darts, generator, dtype)
    assert_same(results(net, x, mix, "fast"), results(net, x, mix, "fast"), 0)


def test_a_deep_copy_goes_through_its_own_modules(generator):
    net, x, mix = build(darts, generator), pictures(generator), weights(darts, generator)
    net.backend = backend("fast", x.dtype)
    net(x, mix)
    twin = copy.deepcopy(net)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
    assert twin(x, mix).abs().sum() > 0


def test_a_short_training_learns_the_same_mixture(generator):
    space = nas_bench_201
    start, x = build(space, generator, torch.float32, depth=3), pictures(generator, torch.float32, 8)
    choices = []
    for how in ("fast", "plain"):
        net, alpha = copy.deepcopy(start), torch.zeros(len(space.edges), len(space.ops), requires_grad=True)
        net.backend = backend(how)
        optimizer = torch.optim.SGD([alpha, *net.parameters()], lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x, alpha.softmax(1)), torch.tensor([0, 1, 2])).backward()
            optimizer.step()
        choices.append(alpha.detach())
    torch.testing.assert_close(*choices, rtol=1e-3, atol=1e-4)
    assert torch.equal(choices[0].argmax(1), choices[1].argmax(1))


def test_edges_without_operations_stay_empty(generator):
    net = build(darts, generator)
    net.prune_(torch.zeros(len(darts.edges), len(darts.ops), dtype=torch.bool))
    assert all(len(edge.ops) == 0 for edge in net.modules() if isinstance(edge, MixedEdge))
    x, mix = pictures(generator), weights(darts, generator)
    assert_same(results(net, x, mix, "fast"), results(net, x, mix, "plain"), 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_an_operation_of_another_shape_than_its_neighbors_is_an_error(dtype, generator):
    def halves(slot: Slot) -> nn.Module:
        return nn.Sequential(
            nn.ReLU(), nn.Conv2d(slot.width, slot.width, 1, 2), nn.BatchNorm2d(slot.width, affine=slot.affine)
        )

    ops = ("halves", "skip_connect", "nor_conv_1x1")
    space = SearchSpace(
        name="wrong",
        cells={kind: dense_cell(inputs=2, nodes=2, ops=ops) for kind in ("normal", "reduce")},
        ops=ops,
        factories={"halves": halves},
    )
    net, mix = build(space, generator, dtype), weights(space, generator, dtype)
    net.backend = backend("fast", dtype)
    with pytest.raises(ValueError, match="what is added up must have one shape"):
        net(pictures(generator, dtype), mix)


def test_a_run_that_diverges_shows_it(generator):
    net, mix = build(darts, generator, torch.float32), weights(darts, generator, torch.float32)
    net.backend = backend("fast")
    x = pictures(generator, torch.float32)
    x[1, 0, 2, 2] = float("nan")
    assert net(x, mix).isnan().all()


def test_autocast_takes_the_plain_way(generator):
    net, x = build(nas_bench_201, generator, torch.float32), pictures(generator, torch.float32)
    mix = weights(nas_bench_201, generator, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_same(results(net, x, mix, "fast"), results(net, x, mix, "plain"), 0)
