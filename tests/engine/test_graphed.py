"""What a GPU is needed for is skipped without one; when a graph is captured is tested everywhere."""

import pytest
import torch
from torch import Tensor, nn

from diffnas.engine.graphed import Graphed, refuse_graph
from diffnas.nets.supernet import Supernet
from diffnas.space import nas_bench_201, s4

NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU; there is none here")


@pytest.fixture
def net() -> Supernet:
    return Supernet(nas_bench_201, classes=5, channels=4, depth=3)


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of all captures, which run the net as it is, some passes to warm up first."""
    shapes: list[tuple[int, ...]] = []

    def capture(module: nn.Module, samples: tuple[Tensor, Tensor], allow_unused_input: bool) -> nn.Module:
        shapes.append(tuple(samples[0].shape))
        assert samples[1].requires_grad
        for _ in range(3):
            module(*samples).sum().backward()
        module.zero_grad()
        return module

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", capture)
    return shapes


def batch(count: int = 4) -> Tensor:
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(count))


MIX = torch.full((6, 5), 0.2)


def test_a_graph_is_captured_once_the_steps_have_settled(net, captured):
    graphed = Graphed(net, settle=2)
    counts = []
    for _ in range(5):
        graphed(batch(), MIX)
        counts.append(len(captured))
    assert counts == [0, 0, 1, 1, 1]


def test_a_short_batch_runs_without_a_graph_and_costs_none(net, captured):
    graphed = Graphed(net, settle=0)
    for count in (4, 3, 4, 3):
        graphed(batch(count), MIX)
    assert captured == [(4, 3, 8, 8)]


def test_it_is_captured_again_when_the_supernet_has_changed_and_settled(net, captured):
    graphed = Graphed(net, settle=1)
    for step in range(6):
        if step == 3:
            keep = torch.ones(6, 5, dtype=torch.bool)
            keep[:, 3] = False
            net.prune_(keep)
            graphed.forget()
        graphed(batch(), MIX)
    assert graphed.captures == len(captured) == 2


def test_evaluation_and_passes_without_gradients_are_never_captured(net, captured):
    graphed = Graphed(net, settle=0)
    with torch.no_grad():
        graphed(batch(), MIX)
    net.eval()
    graphed(batch(), MIX)
    assert captured == []


@pytest.mark.parametrize("wanted", [True, False], ids=["with alpha", "weights alone"])
def test_a_capture_changes_no_result_and_no_running_statistics(net, captured, wanted: bool):
    results = []
    for settle in (0, 100):
        torch.manual_seed(0)
        twin = Supernet(nas_bench_201, classes=5, channels=4, depth=3)
        mix = MIX.clone().requires_grad_(wanted)
        graphed = Graphed(twin, settle=settle)
        for _ in range(2):
            graphed(batch(), mix).square().sum().backward()
        gradients = [p.grad for p in twin.parameters() if p.grad is not None]
        results.append([*gradients, *twin.buffers(), *([mix.grad] if wanted else [])])
    assert len(captured) == 1
    torch.testing.assert_close(*results, rtol=0, atol=0)


REFUSED = {
    "only cuda has them": (nas_bench_201, "cpu", "32-true", False),
    "32-true works": (nas_bench_201, "cuda", "bf16-mixed", False),
    "choose one of the two": (nas_bench_201, "cuda", "32-true", True),
    "noise": (s4, "cuda", "32-true", False),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_cannot_be_captured_is_refused_with_the_reason(reason: str):
    space, device, precision, recompute = REFUSED[reason]
    net = Supernet(space, classes=5, channels=2, depth=3)
    with pytest.raises(ValueError, match=reason):
        refuse_graph(net, torch.device(device), precision, recompute=recompute)


def test_a_search_on_a_cpu_says_that_it_has_no_cuda_graphs(quick):
    with pytest.raises(ValueError, match="only cuda has them"):
        quick(epochs=1, cuda_graph=True)


@NEEDS_GPU
def test_replayed_steps_are_the_steps_of_the_supernet():
    results = []
    for settle in (0, 100):
        torch.manual_seed(0)
        net = Supernet(nas_bench_201, classes=5, channels=4, depth=3).cuda()
        graphed = Graphed(net, settle=settle)
        optimizer = torch.optim.SGD(net.parameters(), 0.01)
        mix = MIX.cuda().requires_grad_()
        for _ in range(4):
            graphed(batch().cuda(), mix).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        results.append([*net.parameters(), *net.buffers(), mix.grad])
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)


@NEEDS_GPU
def test_a_pruned_search_is_the_same_with_and_without_graphs(quick):
    usual, replayed = (quick("sparse", epochs=4, device="cuda", cuda_graph=graph) for graph in (False, True))
    for one, other in zip(usual.trace, replayed.trace, strict=True):
        assert other["train_loss"] == pytest.approx(one["train_loss"], rel=1e-2)
