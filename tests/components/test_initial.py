"""Initializers: their variances, their orthogonality, and what they leave alone."""

import math
from functools import partial

import pytest
import torch
from torch import nn

from diffnas.components import initial
from diffnas.genotype import published
from diffnas.method import COMPONENTS, component
from diffnas.nets.initial import fixup, operations, zero_residual
from diffnas.nets.network import Network
from diffnas.nets.supernet import Supernet
from diffnas.space import darts, nas_bench_201

PICTURES = torch.rand(16, 3, 8, 8, generator=torch.Generator().manual_seed(3))
BATCH = PICTURES, torch.zeros(16, dtype=torch.int64)
LAYERS = {
    "pointwise": lambda: nn.Conv2d(400, 400, 1),
    "dense": lambda: nn.Conv2d(100, 112, 3),
    "depthwise": lambda: nn.Conv2d(11_200, 11_200, 3, groups=11_200),
    "grouped": lambda: nn.Conv2d(320, 640, 3, groups=16),
    "linear": lambda: nn.Linear(320, 320),
}
VARIANCES = {
    "torch": lambda layer: 1 / (3 * initial.fan_in(layer)),
    "he": lambda layer: 2 / initial.fan_in(layer),
    "he-out": lambda layer: 2 / initial.fan_out(layer),
    "xavier": lambda layer: 2 / (initial.fan_in(layer) + initial.fan_out(layer)),
    "small": lambda layer: 0.04**2 / 3,
    "trunc": lambda layer: 0.02**2 * 0.774,
    "constant-sign": lambda layer: 2 / initial.fan_in(layer),
}
PLAIN = [name for name in COMPONENTS["initial"] if name not in ("run", "file", "zero-residual")]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def supernet(space=nas_bench_201, seed: int = 0, **sizes) -> Supernet:
    torch.manual_seed(seed)
    return Supernet(space, classes=4, **{"channels": 4, "depth": 3, **sizes})


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("name", VARIANCES)
def test_weights_have_the_variance_of_their_rule(name: str, kind: str):
    torch.manual_seed(0)
    layer = LAYERS[kind]()
    component("initial", name)(nn.Sequential(layer), BATCH, seeded())
    assert layer.weight.numel() > 1e5
    assert float(layer.weight.detach().var()) == pytest.approx(VARIANCES[name](layer), rel=0.03)


@pytest.mark.parametrize("shape", [(6, 20), (20, 6), (8, 8)], ids=str)
@pytest.mark.parametrize(("layer", "gain"), [(partial(nn.Conv2d, kernel_size=1), math.sqrt(2)), (nn.Linear, 1.0)])
def test_orthogonal_weights_are_orthogonal_times_the_gain(shape: tuple[int, int], layer, gain: float):
    rows, columns = shape
    made = layer(columns, rows)
    initial.orthogonal(made, BATCH, seeded())
    matrix = made.weight.detach().flatten(1)
    product = matrix @ matrix.T if rows <= columns else matrix.T @ matrix
    torch.testing.assert_close(product, gain**2 * torch.eye(min(shape)), atol=1e-5, rtol=0)


def test_every_group_of_a_convolution_is_orthogonal_by_itself():
    depthwise, grouped = nn.Conv2d(6, 6, 3, groups=6), nn.Conv2d(8, 8, 1, groups=2)
    for layer in (depthwise, grouped):
        initial.orthogonal(layer, BATCH, seeded())
    torch.testing.assert_close(depthwise.weight.flatten(1).norm(dim=1), torch.full((6,), math.sqrt(2)))
    for block in grouped.weight.flatten(1).chunk(2):
        torch.testing.assert_close(block @ block.T, 2 * torch.eye(4), atol=1e-5, rtol=0)


def test_delta_orthogonal_weights_are_zero_around_the_middle():
    layer = nn.Conv2d(4, 4, 3)
    initial.delta_orthogonal(layer, BATCH, seeded())
    middle = layer.weight.detach()[:, :, 1, 1]
    torch.testing.assert_close(middle @ middle.T, 2 * torch.eye(4), atol=1e-5, rtol=0)
    assert int(layer.weight.count_nonzero()) == 16


@pytest.mark.parametrize("name", PLAIN)
def test_the_seed_decides_the_weights_and_norms_are_left_alone(name: str):
    net, again, other = (supernet() for _ in range(3))
    norms = {key: value.clone() for key, value in net.state_dict().items() if ".running" in key or "num_batch" in key}
    rule = component("initial", name)
    for each, seed in ((net, 0), (again, 0), (other, 1)):
        rule(each, BATCH, seeded(seed))
    assert all(torch.equal(one, two) for one, two in zip(net.parameters(), again.parameters(), strict=True))
    drawn = any(not torch.equal(one, two) for one, two in zip(net.parameters(), other.parameters(), strict=True))
    assert drawn == (name not in ("torch", "fixup"))
    assert all(torch.equal(net.state_dict()[key], value) for key, value in norms.items())
    assert all(
        bool((part.weight == 1).all()) for part in net.modules() if isinstance(part, nn.BatchNorm2d) and part.affine
    )


def test_lsuv_gives_every_layer_outputs_of_variance_one_and_changes_nothing_the_second_time():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8), nn.ReLU(), nn.Flatten())
    net.append(nn.Linear(8 * 16, 5))
    assert initial.lsuv(net, BATCH, seeded()) is None
    stds: list[float] = []
    for layer in initial.layers(net):
        layer.register_forward_hook(lambda layer, given, out: stds.append(float(out.detach().std())))
    net(PICTURES)
    assert all(0.9 < std < 1.1 for std in stds)
    before = [weight.clone() for weight in net.parameters()]
    initial.lsuv(net, BATCH, seeded())
    for one, two in zip(before, net.parameters(), strict=True):
        torch.testing.assert_close(one, two, atol=1e-3, rtol=0)


def test_lsuv_leaves_dead_layers_alone_and_says_so():
    net = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.Threshold(100.0, 0.0), nn.Conv2d(4, 4, 1, bias=False))
    said = initial.lsuv(net, BATCH, seeded())
    assert said == "lsuv left 1 layer(s) alone, whose outputs are constant on the batch."
    assert bool((net[2].weight.abs() < 2).all())


def test_lsuv_refuses_constant_pictures():
    with pytest.raises(ValueError, match=r"its pictures are constant. Use --initial orthogonal"):
        initial.lsuv(supernet(), (torch.ones(4, 3, 8, 8), torch.zeros(4)), seeded())


def test_lsuv_changes_no_output_of_a_supernet_of_batch_norms():
    # Of the operations, whose norms have no weights; the classifier has no norm behind it.
    nets = [supernet(darts) for _ in range(2)]
    initial.orthogonal(nets[0], BATCH, seeded())
    initial.lsuv(nets[1], BATCH, seeded())
    maps = [net.train().node_variances(PICTURES, net.even())["normal"] for net in nets]
    assert maps[0] == pytest.approx(maps[1], abs=1e-3)


def test_a_layer_before_a_norm_without_weights_has_gradients_that_fall_as_it_grows():
    """So the scale of such a layer decides nothing but its effective learning rate."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4, affine=False, eps=1e-12)).double()
    weight, found = net[0].weight, []
    for scale in (1.0, 7.0):
        with torch.no_grad():
            weight.mul_(scale)
        out = net(PICTURES.double())
        (gradient,) = torch.autograd.grad(out.pow(3).sum(), weight)
        found.append((out.detach(), gradient))
    torch.testing.assert_close(found[0][0], found[1][0])
    torch.testing.assert_close(found[0][1], 7 * found[1][1])


def test_zero_residual_is_refused_where_norms_have_no_weights_and_zeroes_a_network():
    with pytest.raises(ValueError, match="norms with weights behind the operations"):
        zero_residual(supernet(darts), BATCH, seeded())
    network = Network(published("DARTS_V2"), classes=4, channels=4, depth=3)
    zero_residual(network, BATCH, seeded())
    ends = [list(operation.modules())[-1] for operation in operations(network)]
    assert ends
    assert not any(end.weight.any() for end in ends)


def test_fixup_divides_the_last_layers_by_the_root_of_the_depth():
    plain, scaled = supernet(depth=5), supernet(depth=5)
    fixup(scaled, BATCH, seeded())
    pairs = list(zip(operations(plain), operations(scaled), strict=True))
    assert pairs
    for one, other in pairs:
        (*_, first), (*_, second) = initial.layers(one), initial.layers(other)
        torch.testing.assert_close(second.weight, first.weight / math.sqrt(len(plain.cells)))


def test_the_first_node_variances_lie_between_those_of_unlike_and_of_equal_operations():
    net = supernet(darts, channels=8, depth=4)
    pictures = torch.randn(64, 3, 12, 12, generator=seeded())
    found = net.train().node_variances(pictures, net.even())
    low, high = (0.219, 0.316, 0.415, 0.515), (1.53, 2.35, 3.24, 4.19)
    assert list(found) == ["normal", "reduce"]
    assert all(0.7 * a < v < b for a, v, b in zip(low, found["normal"], high, strict=True))
