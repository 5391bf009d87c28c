"""What a GPU is needed for is skipped without one; when a graph is captured is tested everywhere."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from diffnas.backends.gpu import graphs as graphs_module
from diffnas.backends.gpu.graphs import Graphed, Passes, uses_graph
from diffnas.components.edge_weights import EdgeWeights, edge_weights
from diffnas.components.schedule import Moment
from diffnas.components.supernet_options import DARTS_SUPERNET, SupernetOptions
from diffnas.engine.optimizers import weights_fixed
from diffnas.engine.search_step import SearchStep
from diffnas.nets.auxiliary import Output
from diffnas.nets.supernet import Supernet
from diffnas.space import darts, nas_bench_201, s4, transformer

NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU; there is none here")


@pytest.fixture
def net() -> Supernet:
    return Supernet(nas_bench_201, classes=5, channels=4, depth=3)


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of all captures; what stands in for graphs runs the net as it is, in the memory that graphs have."""
    shapes: list[tuple[int, ...]] = []

    def capture(net: nn.Module, run: Callable[..., Output], x: Tensor, mix: EdgeWeights) -> Passes:
        shapes.append(tuple(x.shape))
        own = mix.map(lambda each: each.detach().clone().requires_grad_())
        inputs = x.detach().clone(), own
        weights = [weight for weight in net.parameters() if weight.requires_grad]
        wanted = [*own.tensors, *weights]
        grads = [torch.zeros_like(tensor) for tensor in wanted]
        live: list[Tensor] = []

        def forward() -> None:
            with torch.enable_grad():
                live[:] = [output for output in run(*inputs) if output is not None]
            for into, output in zip(outputs, live, strict=True):
                into.copy_(output.detach())

        def backward() -> None:
            found = torch.autograd.grad(live, wanted, sent, materialize_grads=True)
            for into, grad in zip(grads, found, strict=True):
                into.copy_(grad)

        before = [buffer.clone() for buffer in net.buffers()]
        outputs = [output.detach().clone() for output in run(*inputs) if output is not None]
        for buffer, value in zip(net.buffers(), before, strict=True):
            buffer.copy_(value)
        sent = [torch.zeros_like(output) for output in outputs]
        return Passes(forward, backward, inputs, outputs, sent, grads, weights)

    monkeypatch.setattr(graphs_module, "capture", capture)
    return shapes


def batch(count: int = 4) -> Tensor:
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(count))


START = Moment(epoch=0, step=0, epochs=1, steps=1)
MIX = EdgeWeights(torch.full((6, 5), 0.2))


def test_a_graph_is_captured_after_its_warmup_steps(net, captured):
    graphed = Graphed(net, batch=4, warmup_steps=2)
    counts = []
    for _ in range(5):
        graphed(batch(), MIX)
        counts.append(len(captured))
    assert counts == [0, 0, 1, 1, 1]


def test_a_short_batch_runs_without_a_graph_and_costs_none(net, captured):
    graphed = Graphed(net, batch=4, warmup_steps=0)
    for count in (4, 3, 4, 3):
        graphed(batch(count), MIX)
    assert captured == [(4, 3, 8, 8)]


def test_a_first_batch_that_is_short_does_not_decide_what_is_captured(net, captured):
    graphed = Graphed(net, batch=4, warmup_steps=0)
    for count in (3, 4, 4):
        graphed(batch(count), MIX)
    assert captured == [(4, 3, 8, 8)]


def test_a_window_of_another_length_runs_without_a_graph(captured):
    text = Supernet(transformer, classes=6, in_channels=6, channels=8, depth=1, picture=(5,), tokens=True)
    graphed, mix = Graphed(text, batch=4, warmup_steps=0), EdgeWeights(text.even().table)
    for steps in (5, 3, 1, 5):
        ids = torch.arange(4 * steps).view(4, steps) % 6
        torch.testing.assert_close(graphed(ids, mix).logits, text(ids, mix))
    assert captured == [(4, 5)]


@pytest.mark.parametrize("second", ["forward", "backward"])
def test_a_backward_pass_after_another_pass_is_an_error(net, captured, second: str):
    graphed, mix = Graphed(net, batch=4, warmup_steps=0), MIX.map(lambda each: each.clone().requires_grad_())
    loss = graphed(batch(), mix).logits.sum()
    if second == "forward":
        graphed(batch(), mix)
    else:
        loss.backward(retain_graph=True)
    with pytest.raises(ValueError, match="CUDA graphs keep only what the last forward pass computed"):
        loss.backward()


def test_a_graph_is_captured_again_after_the_supernet_changed(net, captured):
    graphed = Graphed(net, batch=4, warmup_steps=1)
    for step in range(6):
        if step == 3:
            keep = torch.ones(6, 5, dtype=torch.bool)
            keep[:, 3] = False
            net.prune_(keep)
            graphed.forget()
        graphed(batch(), MIX)
    assert graphed.captures == len(captured) == 2


def test_passes_with_fixed_weights_have_a_graph_of_their_own(net, captured):
    graphed, mix = Graphed(net, batch=4, warmup_steps=0), MIX.map(lambda each: each.clone().requires_grad_())
    for _ in range(2):
        graphed(batch(), mix)
        with weights_fixed(net.parameters()):
            graphed(batch(), mix).logits.sum().backward()
    assert graphed.captures == 2
    assert all(weight.grad is None for weight in net.parameters())
    assert mix.ops.grad is not None


def test_evaluation_and_passes_without_gradients_are_never_captured(net, captured):
    graphed = Graphed(net, batch=4, warmup_steps=0)
    with torch.no_grad():
        graphed(batch(), MIX)
    net.eval()
    graphed(batch(), MIX)
    assert captured == []


@pytest.mark.parametrize("auxiliary", [False, True], ids=["one head", "two heads"])
@pytest.mark.parametrize("wanted", [True, False], ids=["with alpha", "weights alone"])
@pytest.mark.parametrize("options", [DARTS_SUPERNET, SupernetOptions(one_in=2, auxiliary=1.0)], ids=["ops", "beside"])
def test_replays_leave_what_the_net_itself_leaves(captured, wanted: bool, auxiliary: bool, options: SupernetOptions):
    results = []
    for warmup_steps in (0, 100):
        torch.manual_seed(0)
        net = Supernet(darts, classes=5, channels=4, depth=3, auxiliary=auxiliary, options=options)
        alpha = torch.full((28, 8), 0.2, requires_grad=wanted)
        strengths = torch.full((28,), 0.5, requires_grad=wanted)
        graphed = Graphed(net, batch=4, warmup_steps=warmup_steps)
        for sign in (1, -3):  # gradients add up, of batches that differ
            outputs = graphed(sign * batch() + sign, edge_weights(alpha, options, START, strengths))
            sum(output.square().sum() for output in outputs if output is not None).backward()
        gradients = [p.grad for p in net.parameters() if p.grad is not None]
        results.append([*gradients, *net.buffers(), *([alpha.grad, strengths.grad] if wanted else [])])
    assert len(captured) == 1
    torch.testing.assert_close(*results, rtol=1e-6, atol=1e-6)


def test_returned_gradients_are_not_added_to_the_weights(net, captured):
    mix = MIX.map(lambda each: each.clone().requires_grad_())
    wanted = [mix.ops, *net.parameters()]
    found = []
    for warmup_steps in (0, 100):
        logits = Graphed(net, batch=4, warmup_steps=warmup_steps)(batch(), mix, flow=True).logits
        found.append(torch.autograd.grad(logits.square().sum(), wanted))
    assert len(captured) == 1
    assert all(tensor.grad is None for tensor in wanted)
    torch.testing.assert_close(*found, rtol=1e-6, atol=1e-6)


REFUSED = {
    "only cuda has graphs": (nas_bench_201, "cpu", False),
    "choose one of the two": (nas_bench_201, "cuda", True),
    "noise": (s4, "cuda", False),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_cannot_be_captured_is_refused_with_the_reason(reason: str):
    space, device, recompute = REFUSED[reason]
    net = Supernet(space, classes=5, channels=2, depth=3)
    with pytest.raises(ValueError, match=reason):
        uses_graph(True, net, torch.device(device), recompute=recompute)
    assert not uses_graph(None, net, torch.device(device), recompute=recompute)


def test_graphs_are_used_where_they_can_be(net):
    assert uses_graph(None, net, torch.device("cuda"), recompute=False)
    assert not uses_graph(False, net, torch.device("cuda"), recompute=False)


def test_a_search_on_a_cpu_says_that_it_has_no_cuda_graphs(quick):
    with pytest.raises(ValueError, match="only cuda has graphs"):
        quick(epochs=1, cuda_graph=True)


@NEEDS_GPU
def test_replayed_steps_are_the_steps_of_the_supernet():
    results = []
    for warmup_steps in (0, 100):
        torch.manual_seed(0)
        net = Supernet(nas_bench_201, classes=5, channels=4, depth=3).cuda()
        graphed = Graphed(net, batch=4, warmup_steps=warmup_steps)
        optimizer = torch.optim.SGD(net.parameters(), 0.01)
        mix = MIX.map(lambda each: each.cuda().requires_grad_())
        for _ in range(4):
            graphed(batch().cuda(), mix).logits.square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        results.append([*net.parameters(), *net.buffers(), mix.ops.grad])
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)


@NEEDS_GPU
def test_a_pruned_search_is_the_same_with_and_without_graphs(quick):
    alike = {"epochs": 3, "device": "cuda", "backend": "plain", "tf32": False}
    usual, replayed = (quick("sparse", cuda_graph=graph, **alike) for graph in (False, True))
    for one, other in zip(usual.trace, replayed.trace, strict=True):
        assert other["train"]["loss"] == pytest.approx(one["train"]["loss"], rel=1e-2)


@pytest.mark.parametrize("batch", [20, 100, 1000])
def test_a_search_captures_its_whole_batches(quick, captured, monkeypatch: pytest.MonkeyPatch, batch: int):
    monkeypatch.setattr("diffnas.engine.running_search.uses_graph", lambda *_, **__: True)
    quick("single-level", epochs=2, batch=batch, precision="64-true", free="later")
    assert captured == [(min(batch, 120), 1, 8, 8)]


# One level with pruning; two, with passes for alpha alone; gradients of weights that are asked for.
@pytest.mark.parametrize("method", ["sparse", "darts", "darts-2nd"])
def test_a_search_by_graphs_is_the_same_search(quick, captured, monkeypatch: pytest.MonkeyPatch, method: str):
    usual = quick(method, epochs=4, precision="64-true")
    for module in ("search", "running_search"):
        monkeypatch.setattr(f"diffnas.engine.{module}.uses_graph", lambda *_, **__: True)
    replayed = quick(method, epochs=4, precision="64-true")
    assert len(captured) >= (2 if method == "darts" else 1)
    assert replayed.genotype == usual.genotype
    for one, other in zip(usual.trace, replayed.trace, strict=True):
        assert other["keep"] == one["keep"]
        assert other["train"]["loss"] == pytest.approx(one["train"]["loss"], rel=1e-9)
        torch.testing.assert_close(torch.tensor(other["alpha"]), torch.tensor(one["alpha"]))


@pytest.mark.parametrize("method", ["sparse", "darts"])
def test_a_step_walks_over_no_modules_which_would_take_longer_than_the_gpu(quick, captured, monkeypatch, method: str):
    monkeypatch.setattr("diffnas.engine.running_search.uses_graph", lambda *_, **__: True)
    visited, visits = [0], list[int]()
    take, walk, train = SearchStep.take, nn.Module.named_modules, nn.Module.train

    def watched(self: SearchStep, batch: object) -> None:
        before = visited[0]
        take(self, batch)
        visits.append(visited[0] - before)

    def counted(self: nn.Module, *arguments: Any, **options: Any) -> Iterator[Any]:
        for each in walk(self, *arguments, **options):
            visited[0] += 1
            yield each

    def counted_mode(self: nn.Module, mode: bool = True) -> nn.Module:
        visited[0] += 1
        return train(self, mode)

    monkeypatch.setattr(SearchStep, "take", watched)
    monkeypatch.setattr(nn.Module, "named_modules", counted)
    monkeypatch.setattr(nn.Module, "train", counted_mode)
    quick(method, epochs=2, free="later", precision="64-true", prune_warmup=2)
    # The first step lists them. A look at the first weight visits the few modules before it.
    assert visits[-1] < 200 < visits[0]
