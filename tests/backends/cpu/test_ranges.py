"""Cells of which kernels compute a part: PyTorch computes the rest between ranges of nodes."""

import copy
import gc
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from ways import backend, edge_weights_of

from diffnas.components.supernet_options import DARTS_SUPERNET, SupernetOptions
from diffnas.nets.links import in_a_row
from diffnas.nets.ops import Separable
from diffnas.nets.slot import Slot
from diffnas.nets.supernet import Supernet
from diffnas.parallel import alone
from diffnas.space import SearchSpace, chain, darts, dense_cell, nas_bench_201

pytest.importorskip("numba")

from diffnas.backends.cpu import cell_function, plan


class Own(nn.Module):
    """An operation with weights, a bias and a gate that all operations into a node share."""

    def __init__(self, slot: Slot) -> None:
        super().__init__()
        self.conv = nn.Conv2d(slot.width, slot.out, 3, slot.stride, padding=1)
        self.gate = slot.share("gate", lambda: nn.Conv2d(slot.out, slot.out, 1))

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv(x)
        return out * self.gate(out).sigmoid()


class Constant(nn.Module):
    """An operation that gives the same whatever it reads."""

    def __init__(self, slot: Slot) -> None:
        super().__init__()
        self.stride = slot.stride

    def forward(self, x: Tensor) -> Tensor:
        return torch.ones_like(x[:, :, :: self.stride, :: self.stride])


def uncommon(slot: Slot) -> nn.Module:
    return nn.AvgPool2d(3, slot.stride, 1)


def three(slot: Slot) -> nn.Module:
    """A chain that is longer than those that kernels know."""
    return in_a_row(*(Separable(slot.width, 3, stride=each, affine=False) for each in (slot.stride, 1, 1)))


FACTORIES = {"own": Own, "constant": Constant, "uncommon": uncommon, "three": three}
UNEVEN = ("sep_conv_3x3_width3", "dil_conv_5x5_layers2_width2", "sep_conv_3x3")
OPS = ("sep_conv_3x3", "skip_connect", "max_pool_3x3", *UNEVEN[:2], *FACTORIES)
BOTH = ("sep_conv_3x3", "own")


def space(normal, reduce=("sep_conv_3x3", "skip_connect")) -> SearchSpace:
    """A space of cells with five edges: into the first node from both inputs, and into the second from all three."""
    cells = {}
    for kind, ops in (("normal", normal), ("reduce", reduce)):
        cell = dense_cell(inputs=2, nodes=2, ops=OPS)
        cells[kind] = replace(cell, ops=ops if isinstance(ops[0], tuple) else (ops,) * len(cell.edges))
    ops = tuple(op for op in OPS if any(op in offered for cell in cells.values() for offered in cell.ops))
    factories = {op: make for op, make in FACTORIES.items() if op in ops}
    return SearchSpace(name="in parts", cells=cells, ops=ops, factories=factories)


KNOWN = ("sep_conv_3x3", "skip_connect")
SPACES = {
    "one own operation into the first node": space((BOTH, KNOWN, KNOWN, KNOWN, KNOWN)),
    "one own operation into the last node": space((KNOWN, KNOWN, KNOWN, KNOWN, BOTH)),
    "own operations beside known ones": space((*OPS[:3], "own"), BOTH),
    "own operations out of an input": space((BOTH, KNOWN, BOTH, KNOWN, KNOWN)),
    "nothing but own operations": space(("own",), ("own",)),
    "a constant": space(("sep_conv_3x3", "constant"), ("constant", "skip_connect")),
    "chains of three": space(("sep_conv_3x3", "three"), ("three", "skip_connect")),
    "chains of uneven width": space(UNEVEN, UNEVEN),
    "uncommon pools": space(("sep_conv_3x3", "uncommon", "max_pool_3x3"), ("uncommon", "skip_connect")),
}
OPTIONS = {
    "all channels": DARTS_SUPERNET,
    "one in two": SupernetOptions(one_in=2),
    "one in four, and skips": SupernetOptions(one_in=4, auxiliary=1.0),
}


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def build(
    space: SearchSpace, way: str = "fast", dtype: torch.dtype = torch.float32, options=DARTS_SUPERNET
) -> Supernet:
    torch.manual_seed(0)
    net = Supernet(space, classes=3, channels=8, depth=3, options=options)
    net.to(dtype, memory_format=torch.channels_last)
    net.backend = backend(way, dtype)
    return net


def draw(net: Supernet, generator: torch.Generator, pictures: int = 3) -> tuple[Tensor, Tensor]:
    x = torch.randn(pictures, 3, 9, 6, generator=generator)
    columns = len(net.space.ops) + (net.options.auxiliary is not None) + (net.options.one_in > 1)
    return x, torch.rand(net.edges, columns, generator=generator)


def forward(net: Supernet, x: Tensor, mix: Tensor) -> Tensor:
    return net(x, edge_weights_of(net, mix))


def results(net: Supernet, x: Tensor, mix: Tensor) -> dict[str, Tensor]:
    """Everything a training step leaves behind."""
    net.zero_grad()
    mix = mix.clone().requires_grad_()
    logits = forward(net, x, mix)
    (logits * torch.linspace(-1, 1, logits.numel(), dtype=logits.dtype).view_as(logits)).sum().backward()
    weights = {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
    return {"logits": logits.detach(), "mix": mix.grad, **weights, **{n: b.clone() for n, b in net.named_buffers()}}


def assert_as_exact(ours: dict[str, Tensor], exact: dict[str, Tensor]) -> None:
    assert ours.keys() == exact.keys()
    largest = max(tensor.double().norm() for tensor in exact.values())
    for name, right in exact.items():
        apart = (ours[name].double() - right).norm()
        assert apart <= 1e-4 * right.double().norm() + 1e-6 * largest, name


def plans(net: Supernet) -> list[plan.Plan]:
    return [each for cell in net.cells for each in cell.compiled[1].plans.values()]


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_values_gradients_and_buffers_are_those_of_the_plain_way(space, options, generator):
    net = build(space, options=options)
    x, mix = draw(net, generator)
    plain = build(space, "plain", torch.float64, options)
    assert_as_exact(results(net, x, mix), results(plain, x.double(), mix.double()))


@pytest.mark.parametrize("kept", [0.5, 0.15, 0.0])
@pytest.mark.parametrize("one_in", [2, 4])
def test_pruned_partial_channels_are_those_of_the_plain_way(one_in, kept, generator):
    options = SupernetOptions(one_in=one_in)
    net, plain = build(darts, options=options), build(darts, "plain", torch.float64, options)
    x, mix = draw(net, generator)
    keep = torch.rand(len(mix), len(darts.ops), generator=generator) < kept
    net.prune_(keep)
    plain.prune_(keep)
    assert_as_exact(results(net, x, mix), results(plain, x.double(), mix.double()))


def test_nodes_may_have_other_channels_than_the_inputs(generator):
    torch.manual_seed(0)
    plain = Supernet(chain, classes=3, channels=4)
    net = copy.deepcopy(plain)
    net.backend = backend("fast")
    x, mix = torch.randn(2, 3, 16, 16, generator=generator), torch.rand(net.edges, len(chain.ops), generator=generator)
    assert_as_exact(results(net, x, mix), results(plain.double(), x.double(), mix.double()))


@pytest.mark.parametrize("one_in", [1, 4])
@pytest.mark.parametrize("space", [darts, SPACES["chains of uneven width"]], ids=["darts", "uneven"])
def test_a_cell_that_kernels_know_is_one_range(space, one_in, generator):
    net = build(space, options=SupernetOptions(one_in=one_in))
    forward(net, *draw(net, generator))
    assert [len(each.ranges) for each in plans(net)] == [1] * len(net.cells)


@pytest.mark.parametrize(
    ("name", "ranges"),
    [
        ("one own operation into the first node", [2, 1, 1]),
        ("one own operation into the last node", [2, 1, 1]),
        ("own operations out of an input", [2, 1, 1]),
        ("own operations beside known ones", [3, 3, 3]),
    ],
)
def test_a_range_ends_only_where_pytorch_needs_what_it_computes(name, ranges, generator):
    net = build(SPACES[name])
    forward(net, *draw(net, generator))
    assert [len(each.ranges) for each in plans(net)] == ranges


def test_the_backward_pass_can_be_taken_twice(generator):
    net = build(SPACES["own operations beside known ones"])
    loss = forward(net, *draw(net, generator)).square().sum()
    loss.backward(retain_graph=True)
    once = [weight.grad.clone() for weight in net.parameters()]
    loss.backward()
    for grad, weight in zip(once, net.parameters(), strict=True):
        torch.testing.assert_close(2 * grad, weight.grad)


def test_gradients_for_the_mixing_weights_alone_are_the_same(generator):
    net = build(SPACES["own operations beside known ones"])
    x, mix = draw(net, generator)
    expected = results(net, x, mix)["mix"]
    leaf = mix.clone().requires_grad_()
    logits = forward(net, x, leaf)
    (logits * torch.linspace(-1, 1, logits.numel()).view_as(logits)).sum().backward(inputs=[leaf])
    torch.testing.assert_close(leaf.grad, expected)
    assert torch.equal(results(net, x, mix)["mix"], expected)


@pytest.mark.parametrize("name", ["own operations beside known ones", "one own operation into the last node"])
def test_recomputing_gives_the_same(name, generator):
    net = build(SPACES[name])
    x, mix = draw(net, generator)
    expected = results(copy.deepcopy(net), x, mix)
    net.recompute = True
    found = results(net, x, mix)
    assert all(torch.equal(found[each], tensor) for each, tensor in expected.items())


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_threads_leave_no_trace(options, generator):
    net = build(SPACES["own operations beside known ones"], options=options)
    x, mix = draw(net, generator, 5)
    found = []
    for threads in (1, 3):
        with alone(threads):
            found.append(results(copy.deepcopy(net), x, mix))
    assert all(torch.equal(found[1][name], tensor) for name, tensor in found[0].items())


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_no_tensor_is_written_past_its_ends(options, generator, fences):
    for each in (nas_bench_201, SPACES["own operations beside known ones"]):
        net = build(each, options=options)
        results(net, *draw(net, generator, 4))
    assert len(fences.fenced) > 20
    assert fences.stand()


def test_nothing_is_kept_once_a_result_is_gone(generator):
    def alive() -> int:
        return sum(type(each) is cell_function._Call for each in gc.get_objects())

    net = build(SPACES["own operations beside known ones"])
    x, mix = draw(net, generator)
    gc.collect()
    gc.disable()
    try:
        loss = net(x, mix.requires_grad_()).sum()
        assert alive() == len(net.cells)
        torch.autograd.grad(loss, list(net.cells[-1].parameters()), allow_unused=True)
        del loss
        assert alive() == 0
    finally:
        gc.enable()
