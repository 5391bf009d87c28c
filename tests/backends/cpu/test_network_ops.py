import copy

import pytest
import torch
from torch import Tensor, nn
from ways import backend

from diffnas.genotype import published
from diffnas.nets import depthwise
from diffnas.nets.network import Network
from diffnas.nets.ops import OPS, build
from diffnas.nets.ops.transformer import TRANSFORMER
from diffnas.nets.slot import Slot

pytest.importorskip("numba")

from diffnas.backends.cpu.backend import CPU
from diffnas.backends.cpu.network_ops import chained

BOTH = torch.contiguous_format, torch.channels_last


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(autouse=True)
def _stock_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depthwise, "_applies", lambda *_: False)


def left_behind(op: nn.Module, x: Tensor, grad: Tensor, dtype, layout, apply) -> dict[str, Tensor]:
    """The result, the gradients and the buffers after one step."""
    op = copy.deepcopy(op).to(dtype, memory_format=layout)
    x, grad = (t.detach().to(dtype).contiguous(memory_format=layout) for t in (x, grad))
    value = apply(op, x.requires_grad_())
    value.backward(grad)
    gradients = {f"gradient of {name}": weight.grad for name, weight in op.named_parameters()}
    return {"result": value.detach(), "gradient of x": x.grad, **gradients, **dict(op.named_buffers())}


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("op", [op for op in OPS if op not in ("none", "noise", *TRANSFORMER)])
def test_an_operation_is_as_exact_as_stock(op, stride, generator):
    squares: dict[str, Tensor] = {}
    for _ in range(5):  # one small tensor may be exact by luck
        for name, apart in distances(build(op, Slot(width=5, stride=stride, affine=True)), generator).items():
            squares[name] = squares.get(name, 0) + apart.square()
    for name, (ours, *stock, floor) in squares.items():
        assert ours.sqrt() <= 2 * max(stock).sqrt() + floor.sqrt(), name


def distances(module: nn.Module, generator: torch.Generator) -> dict[str, Tensor]:
    """How far ours and both stock results are from the exact one, and a few roundings of each number of that."""
    for weight in module.parameters():
        nn.init.normal_(weight, std=1 if weight.dim() == 1 else weight[0].numel() ** -0.5, generator=generator)
    x = torch.randn(3, 5, 7, 6, generator=generator)
    grad = torch.randn(module(x).shape, generator=generator)
    ours = left_behind(module, x, grad, torch.float32, BOTH[1], chained)
    stock = [left_behind(module, x, grad, torch.float32, layout, lambda op, x: op(x)) for layout in BOTH]
    exact = left_behind(module, x, grad, torch.float64, BOTH[0], lambda op, x: op(x))
    assert ours.keys() == exact.keys()
    found = {}
    for name, right in exact.items():
        apart = [(each[name].double() - right).norm() for each in (ours, *stock)]
        found[name] = torch.stack([*apart, 4 * torch.finfo(torch.float32).eps * right.double().norm() + 1e-7])
    return found


def test_a_batch_norm_weight_of_zero_has_its_gradient(generator):
    module = build("sep_conv_3x3", Slot(width=4, affine=True))
    nn.init.zeros_(module[0].norm.weight)
    nn.init.ones_(module[0].norm.bias)
    x, grad = (torch.randn(2, 4, 6, 6, generator=generator) for _ in range(2))
    ours = left_behind(module, x, grad, torch.float32, BOTH[1], chained)
    exact = left_behind(module, x, grad, torch.float64, BOTH[0], lambda op, x: op(x))
    for name, right in exact.items():
        torch.testing.assert_close(ours[name].double(), right.double(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("drop_path", [0.0, 0.3])
def test_a_network_learns_the_same_by_kernels_and_by_modules(drop_path, generator):
    torch.manual_seed(0)
    net = Network(published("DARTS_V2"), classes=3, channels=4, depth=4, auxiliary=True)
    x, runs = torch.randn(3, 3, 8, 8, generator=generator), []
    for dtype, way in ((torch.float64, "plain"), (torch.float32, "plain"), (torch.float32, "fast")):
        twin = copy.deepcopy(net).to(dtype)
        twin.backend = backend(way)
        out = twin(x.to(dtype), drop_path, torch.Generator().manual_seed(1))
        (out.logits.square().sum() + out.auxiliary.square().sum()).backward()
        runs.append({name: p.grad for name, p in twin.named_parameters()} | dict(twin.named_buffers()))
    exact, stock, ours = runs
    apart = [torch.stack([(run[n] - exact[n]).double().norm() for n in exact]) for run in (stock, ours)]
    # Medians, for a ReLU that flips moves a few tensors far more than all rounding does.
    assert apart[1].median() <= 2 * apart[0].median() + 1e-7
    assert (apart[1] > 0).any()  # it does go another way


def test_kernels_are_for_training_in_single_precision(generator, monkeypatch):
    monkeypatch.setattr(CPU, "compile", lambda *_: pytest.fail("kernels were called"))
    net, x = (
        Network(published("DARTS_V2"), classes=3, channels=4, depth=3, backend=backend("fast")),
        torch.zeros(2, 3, 8, 8),
    )
    net.eval()(x)
    net.train().double()(x.double())
    net.float().backend = None
    net(x)


def test_batch_norm_of_one_pixel_is_an_error():
    with pytest.raises(ValueError, match="more than one value for each channel"):
        chained(build("dil_conv_3x3", Slot(width=3, affine=True)), torch.ones(1, 3, 1, 1))
