"""The cells of a network in training, computed by programs."""

import copy

import pytest
import torch
from torch import Tensor, nn
from ways import assert_as_exact, backend

from diffnas.genotype import Genotype, parse, published, read
from diffnas.nets import depthwise
from diffnas.nets.network import Network
from diffnas.nets.slot import Slot
from diffnas.parallel import alone
from diffnas.skeleton import skeleton_of

pytest.importorskip("numba")

from diffnas.backends.cpu.backend import CPU
from diffnas.backends.cpu.program import Program

PAIRS = "('{}', 2, 0), ('{}', 2, 0), ('{}', 2, 1), ('{}', 3, 2), ('{}', 4, 3), ('{}', 4, 2)"


def genotype(*ops: str) -> Genotype:
    """Cells whose first node reads one input twice."""
    edges = f"[{PAIRS.format(*ops)}]"
    return parse(f"Genotype(normal={edges}, normal_concat=[2, 3, 4], reduce={edges}, reduce_concat=[2, 3, 4])")


GENOTYPES = {
    **{name: published(name) for name in ("DARTS_V2", "PDARTS", "NASNet")},
    **{name: read(name) for name in ("mobilenet", "convnext")},
    "one operation twice": genotype(*["max_pool_3x3"] * 2, "sep_conv_3x3", *["skip_connect"] * 3),
    "an operation without kernel": genotype("own", "own", "sep_conv_5x5", "own", "dil_conv_3x3", "skip_connect"),
    "a node that nothing feeds": parse(
        "|none~0|+|nor_conv_3x3~0|nor_conv_1x1~1|+|avg_pool_3x3~0|none~1|skip_connect~2|"
    ),
}


class Own(nn.Module):
    """An operation that has no kernel."""

    def __init__(self, slot: Slot) -> None:
        super().__init__()
        self.conv = nn.Conv2d(slot.width, slot.out, 3, slot.stride, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).tanh()


@pytest.fixture(autouse=True)
def _stock_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depthwise, "_applies", lambda *_: False)


def built(genotype: Genotype, **options) -> Network:
    """A network whose batch norms have weights of all signs, and one of zero."""
    torch.manual_seed(0)
    depth = skeleton_of(genotype.skeleton).own_depth(list(genotype.cells)) or 3
    net = Network(genotype, classes=3, channels=5, depth=depth, factories={"own": Own}, **options)
    for weight in net.parameters():
        if weight.dim() == 1:
            nn.init.normal_(weight)
            weight.data[0] = 0
    return net.to(memory_format=torch.channels_last)


def step(net: Network, way: str, dtype: torch.dtype = torch.float32, drop_path: float = 0.3) -> dict[str, Tensor]:
    """Logits, gradients and buffers after one step."""
    net = copy.deepcopy(net).to(dtype)
    net.backend = backend(way, dtype)
    x = torch.randn(5, 3, 9, 6, generator=torch.Generator().manual_seed(0)).to(dtype)
    logits = net(x, drop_path, torch.Generator().manual_seed(1)).logits
    (logits * torch.linspace(-1, 1, logits.numel()).to(dtype).view_as(logits)).sum().backward()
    gradients = {name: weight.grad for name, weight in net.named_parameters() if weight.grad is not None}
    return {"logits": logits.detach(), **gradients, **dict(net.named_buffers())}


@pytest.mark.parametrize("drop_path", [0.0, 0.3])
@pytest.mark.parametrize("name", GENOTYPES)
def test_a_network_is_as_exact_by_programs_as_by_modules(name, drop_path, monkeypatch):
    monkeypatch.setattr(Network, "_masks", halves)
    net = built(GENOTYPES[name])
    exact = step(net, "plain", torch.float64, drop_path)
    stock, ours = step(net, "plain", drop_path=drop_path), step(net, "fast", drop_path=drop_path)
    assert exact.keys() == ours.keys()
    assert_as_exact(*([run[name] for name in exact] for run in (exact, stock, ours)))


def halves(net: Network, x: Tensor, drop_path: float, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Masks that do not depend on the dtype of the weights."""
    edges = sum(len(cell.edges) for cell in net.cells)
    kept = torch.empty(edges, len(x)).bernoulli_(1 - drop_path, generator=generator)
    return (kept / (1 - drop_path)).to(x.dtype).unbind()


def test_every_cell_of_a_network_is_one_call_of_compiled_code_for_each_pass(monkeypatch):
    calls = []
    monkeypatch.setattr(Program, "forward", counted(Program.forward, calls))
    monkeypatch.setattr(Program, "backward", counted(Program.backward, calls))
    step(built(GENOTYPES["PDARTS"]), "fast")
    assert calls == ["forward"] * 3 + ["backward"] * 3


def counted(method, calls):
    def call(*arguments, **named):
        calls.append(method.__name__)
        return method(*arguments, **named)

    return call


@pytest.mark.parametrize("name", ["NASNet", "an operation without kernel"])
def test_threads_leave_no_trace_in_a_network(name):
    results = []
    for threads in (1, 2, 3):
        with alone(threads):
            results.append(step(built(GENOTYPES[name]), "fast"))
    for other in results[1:]:
        assert all(torch.equal(results[0][n], other[n]) for n in other)


@pytest.mark.parametrize("name", ["PDARTS", "mobilenet", "convnext", "a node that nothing feeds"])
def test_no_tensor_of_a_network_is_written_past_its_ends(name, fences):
    step(built(GENOTYPES[name]), "fast")
    assert len(fences.fenced) > 20
    assert fences.stand()


def test_a_network_says_which_operation_has_no_kernel():
    (cell, *_) = built(GENOTYPES["an operation without kernel"]).cells
    assert CPU().why_slower(cell) == "no kernel knows the operation 'own' on edge 0 -> 2"
    for name in ("PDARTS", "mobilenet", "convnext"):
        assert CPU().why_slower(built(GENOTYPES[name]).cells[0]) is None


def test_a_batch_norm_of_one_pixel_in_a_network_is_an_error():
    net = Network(published("DARTS_V2"), classes=3, channels=4, depth=3, backend=backend("fast"))
    with pytest.raises(ValueError, match="more than one value for each channel"):
        net(torch.zeros(1, 3, 2, 2))
