import copy

import pytest
import torch
from torch import Tensor, nn

from diffnas.nets import fused
from diffnas.nets.fused import mixed_sums
from diffnas.nets.supernet import MixedEdge, Supernet
from diffnas.space import DARTS_OPS, SearchSpace, darts, dense_cell, nas_bench_201, s1, s4


def own(channels: int, stride: int, affine: bool) -> nn.Module:
    return nn.Sequential(nn.Conv2d(channels, channels, 3, stride, padding=1), nn.Tanh())


with_own_op = SearchSpace(
    name="with own op",
    cells={
        kind: dense_cell(inputs=inputs, nodes=2, ops=("own", "skip_connect", "conv_7x1_1x7", "max_pool_3x3"))
        for kind, inputs in (("normal", 2), ("reduce", 1))
    },
    ops=("own", "skip_connect", "conv_7x1_1x7", "max_pool_3x3"),
    factories={"own": own},
)
SPACES = {space.name: space for space in (darts, nas_bench_201, s1, s4, with_own_op)}


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def build(space: SearchSpace, generator: torch.Generator, dtype=torch.float64, depth=3) -> Supernet:
    torch.manual_seed(0)
    net = Supernet(space, classes=3, channels=4, depth=depth).to(dtype, memory_format=torch.channels_last)
    for name, buffer in net.named_buffers():
        if name.endswith("running_mean"):
            buffer.copy_(torch.randn(buffer.shape, generator=generator))
    return net


def results(net: Supernet, x: Tensor, mix: Tensor, how: str) -> dict[str, Tensor]:
    """Everything a training step leaves behind: logits, gradients and buffers."""
    net = copy.deepcopy(net)
    net.forward_by = how
    torch.manual_seed(1)  # for noise
    mix = mix.clone().requires_grad_()
    logits = net(x, mix)
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
    assert_same(results(net, x, mix, "batched"), results(net, x, mix, "plain"), 1e-10)


@pytest.mark.parametrize("op", DARTS_OPS)
def test_any_operation_may_be_the_only_one(op, generator):
    net, mix = build(darts, generator), weights(darts, generator)
    keep = torch.zeros(mix.shape, dtype=torch.bool)
    keep[:, darts.ops.index(op)] = True
    net.prune_(keep)
    x = pictures(generator, size=8)
    assert_same(results(net, x, mix, "batched"), results(net, x, mix, "plain"), 1e-10)


def test_a_mixing_weight_of_zero_has_the_same_gradient(generator):
    net, x = build(darts, generator), pictures(generator)
    mix = weights(darts, generator)
    mix[:, 2:6] = 0
    assert_same(results(net, x, mix, "batched"), results(net, x, mix, "plain"), 1e-10)


def test_pruning_after_a_forward_pass_takes_effect(generator):
    net, x, mix = build(darts, generator), pictures(generator), weights(darts, generator)
    net.forward_by = "batched"
    net(x, mix)
    keep = torch.rand(mix.shape, generator=generator) < 0.4
    net.prune_(keep)
    assert_same(results(net, x, mix * keep, "batched"), results(net, x, mix * keep, "plain"), 1e-10)


def test_evaluation_mode_uses_the_running_statistics(generator):
    net, x, mix = build(darts, generator).eval(), pictures(generator), weights(darts, generator)
    assert_same(results(net, x, mix, "batched"), results(net, x, mix, "plain"), 0)


def test_mixing_weights_without_gradient_leave_the_others_unchanged(generator):
    net, x, mix = build(darts, generator), pictures(generator), weights(darts, generator)
    gradients = []
    for how in ("batched", "plain"):
        net.forward_by = how
        gradients.append(torch.autograd.grad(net(x, mix).square().sum(), list(net.parameters()), allow_unused=True))
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("space", [darts, nas_bench_201], ids=lambda space: space.name)
def test_float32_rounds_about_as_much_as_the_plain_forward(space, generator):
    pytest.importorskip("numba")
    net, x, mix = build(space, generator, depth=3), pictures(generator, size=16), weights(space, generator)
    exact = results(net, x, mix, "plain")
    single = [results(copy.deepcopy(net).float(), x.float(), mix.float(), how) for how in ("batched", "plain")]

    def distance(result: dict[str, Tensor]) -> Tensor:
        return torch.stack([(result[name].double() - tensor).norm() for name, tensor in exact.items()])

    ours, stock = (distance(result) for result in single)
    scale = torch.stack([tensor.double().norm() for tensor in exact.values()])
    known = scale > 1e-6  # a bias before a batch norm has no gradient but rounding
    ours, stock = (ours / scale)[known], (stock / scale)[known]
    assert ours.median() < 2 * stock.median() + 1e-7
    assert ours.square().mean().sqrt() < 2 * stock.square().mean().sqrt() + 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_two_runs_agree_to_the_last_bit(dtype, generator):
    net, x = build(darts, generator, dtype), pictures(generator, dtype)
    mix = weights(darts, generator, dtype)
    assert_same(results(net, x, mix, "batched"), results(net, x, mix, "batched"), 0)


def test_a_deep_copy_goes_through_its_own_modules(generator):
    net, x, mix = build(darts, generator), pictures(generator), weights(darts, generator)
    net.forward_by = "batched"
    net(x, mix)
    twin = copy.deepcopy(net)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
    assert twin(x, mix).abs().sum() > 0


def test_an_unknown_way_forward_is_an_error():
    with pytest.raises(ValueError, match=r"unknown forward_by 'batch'\. Did you mean 'batched'"):
        Supernet(darts, classes=3, channels=4, depth=3, forward_by="batch")


def test_auto_takes_the_plain_way_for_double_precision(generator):
    net, x, mix = build(darts, generator), pictures(generator), weights(darts, generator)
    assert_same(results(net, x, mix, "auto"), results(net, x, mix, "plain"), 0)


@pytest.mark.parametrize("normed", [(True, True, True), (True, False, True), (False, False, False)], ids=str)
@pytest.mark.parametrize("added", [0, 2])
def test_gradients_of_a_mixed_sum_are_right(normed, added, generator):
    rows = 1 if added else 2
    inputs = [torch.randn(2, 3, 2, 3, generator=generator, dtype=torch.float64) for _ in range(3 + added)]
    mix = torch.randn(rows, 3, generator=generator, dtype=torch.float64)

    def sums(mix: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        return mixed_sums(tensors[:3], mix, normed=normed, added=tensors[3:])[0]

    assert torch.autograd.gradcheck(sums, tuple(t.requires_grad_() for t in (mix, *inputs)))


# B, C, H, W: no lane count divides them; one pixel a picture; rows of one pixel.
SHAPES = [(4, 8, 8, 8), (3, 5, 7, 3), (5, 3, 1, 1), (2, 40, 5, 1), (64, 1, 2, 2)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("offset", [0, 30])
def test_compiled_steps_round_as_little_as_batch_norm(shape, offset, generator):
    pytest.importorskip("numba")
    x = torch.randn(shape, generator=generator) + offset
    twin, grad = x.clone().requires_grad_(), torch.randn(shape, generator=generator)
    exact = x.double().requires_grad_()
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    (ours,), _ = mixed_sums([x], torch.ones(1, 1), normed=[True])
    stock = nn.functional.batch_norm(twin, None, None, training=True)
    right = nn.functional.batch_norm(exact, None, None, training=True)
    for y, out in ((x, ours), (twin, stock), (exact, right)):
        out.backward(grad.to(y.dtype))
    for a, b, c in ((ours, stock, right), (x.grad, twin.grad, exact.grad)):
        assert (a - c).norm() <= 2 * (b - c).norm() + 1e-6 * c.norm()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_compiled_steps_are_those_of_pytorch_at_any_number_of_threads(shape, generator, monkeypatch):
    pytest.importorskip("numba")
    tensors = [torch.randn(shape, generator=generator) for _ in range(4)]
    mix = torch.randn(2, 4, generator=generator)
    mix[0, 1] = 0

    def step() -> list[Tensor]:
        inputs = [x.clone().requires_grad_() for x in (mix, *tensors)]
        sums, _ = mixed_sums(inputs[1:], inputs[0], normed=[True, False, True, False])
        total = sum((out * tensors[0] * (n + 1)).sum() for n, out in enumerate(sums))
        return [*sums, *torch.autograd.grad(total, inputs)]

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = step()
        torch.set_num_threads(3)
        three = step()
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(one, three, strict=True))
    monkeypatch.setattr(fused, "compiled_kernels", lambda: None)
    for ours, stock in zip(one, step(), strict=True):
        torch.testing.assert_close(ours, stock, rtol=1e-4, atol=1e-4)


def test_a_short_training_learns_the_same_mixture(generator):
    space = nas_bench_201
    start, x = build(space, generator, torch.float32, depth=3), pictures(generator, torch.float32, 8)
    choices = []
    for how in ("batched", "plain"):
        net, alpha = copy.deepcopy(start), torch.zeros(len(space.edges), len(space.ops), requires_grad=True)
        net.forward_by = how
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
    assert_same(results(net, x, mix, "batched"), results(net, x, mix, "plain"), 0)


def test_batch_norm_of_one_pixel_is_an_error():
    x = torch.ones(1, 3, 1, 1)
    with pytest.raises(ValueError, match=r"more than one value for each channel to train on, got \(1, 3, 1, 1\)"):
        mixed_sums([x], torch.ones(1, 1), normed=[True])


def test_autocast_takes_the_plain_way(generator):
    net, x = build(nas_bench_201, generator, torch.float32), pictures(generator, torch.float32)
    mix = weights(nas_bench_201, generator, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_same(results(net, x, mix, "batched"), results(net, x, mix, "plain"), 0)
