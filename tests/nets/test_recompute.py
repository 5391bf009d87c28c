import copy

import pytest
import torch
from torch import Tensor, nn
from ways import backend

from diffnas.genotype import published
from diffnas.nets.network import Network
from diffnas.nets.ops import draw_noise_from, drawing
from diffnas.nets.recompute import recomputed
from diffnas.nets.supernet import Supernet
from diffnas.space import SearchSpace, darts, nas_bench_201, s4

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
every_device = pytest.mark.parametrize("device", DEVICES)


def after_a_step(net: nn.Module, device: str, *more: object, way: str | None = None) -> dict[str, Tensor]:
    """Everything a training step leaves behind: logits, gradients, buffers and where the random numbers stand."""
    net = copy.deepcopy(net).to(device)
    if isinstance(net, Supernet) and way:
        net.backend = backend(way)
    torch.manual_seed(1)
    noise = torch.Generator(device).manual_seed(2)
    draw_noise_from(drawing(net), noise)
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(3)).to(device)
    own = [part.clone().to(device).requires_grad_() if isinstance(part, Tensor) else part for part in more]
    out = net(x, *own)
    logits = out if isinstance(out, Tensor) else out.logits
    auxiliary = () if isinstance(out, Tensor) or out.auxiliary is None else (out.auxiliary,)
    torch.stack([each.square().sum() for each in (logits, *auxiliary)]).sum().backward()
    left = {"logits": logits.detach(), "own numbers": noise.get_state(), "torch's": torch.get_rng_state()}
    left |= {f"gradient of argument {n}": part.grad for n, part in enumerate(own) if isinstance(part, Tensor)}
    left |= {f"gradient of {name}": p.grad for name, p in net.named_parameters() if p.grad is not None}
    return left | dict(net.named_buffers())


def assert_equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


@every_device
@pytest.mark.parametrize("way", ["fast", "plain"])
@pytest.mark.parametrize("space", [darts, nas_bench_201, s4], ids=lambda space: space.name)
def test_a_supernet_that_recomputes_leaves_bit_for_bit_the_same_behind(space: SearchSpace, way: str, device: str):
    net = Supernet(space, classes=5, channels=4, depth=4)
    mix = torch.rand(len(space.edges), len(space.ops), generator=torch.Generator().manual_seed(4))
    expected = after_a_step(net, device, mix, way=way)
    net.recompute = True
    assert_equal(after_a_step(net, device, mix, way=way), expected)


@every_device
def test_a_network_that_recomputes_drops_the_same_paths(device: str):
    net = Network(published("DARTS_V2"), classes=5, channels=4, depth=4, auxiliary=True)
    runs = []
    for net.recompute in (False, True):
        paths = torch.Generator(device).manual_seed(5)
        runs.append(after_a_step(net, device, 0.4, paths))
    assert_equal(runs[1], runs[0])


class Dropping(nn.Module):
    """Draws from torch's own numbers, as an operation of the user's may."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.dropout = nn.Linear(6, 6), nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.linear(x))


def test_an_operation_that_draws_torchs_global_numbers_draws_the_same_again():
    part = Dropping()
    gradients = []
    for run in (part, lambda x: recomputed(part, x)):
        torch.manual_seed(0)
        x = torch.ones(3, 6, requires_grad=True)
        (gradient,) = torch.autograd.grad(run(x).square().sum(), x)
        gradients.append(gradient)
    assert torch.equal(*gradients)


def test_without_gradients_nothing_is_run_twice():
    calls = []
    part = nn.Linear(2, 2)
    part.register_forward_pre_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        recomputed(part, torch.ones(1, 2))
    assert calls == [1]
    recomputed(part, torch.ones(1, 2)).sum().backward()
    assert calls == [1, 1, 1]


def test_less_is_kept_for_the_backward_pass():
    net = Supernet(darts, classes=5, channels=4, depth=6)
    mix = torch.rand(len(darts.edges), len(darts.ops))
    kept = []
    for net.recompute in (False, True):
        saved: dict[int, int] = {}

        def pack(tensor: Tensor, saved: dict[int, int] = saved) -> Tensor:
            saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            logits = net(torch.randn(4, 3, 16, 16), mix)
        kept.append(sum(saved.values()))
        del logits
    assert kept[1] < kept[0] / 4
