import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from ways import assert_as_exact, backend

from diffnas.nets.slot import Slot
from diffnas.nets.supernet import Supernet
from diffnas.parallel import alone
from diffnas.space import SearchSpace, chain, darts, dense_cell, nas_bench_201

pytest.importorskip("numba")

from diffnas.backends.cpu import cell_function, plan, program, writer
from diffnas.backends.cpu.kernels import interpreter as compiled


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def build(space: SearchSpace, way: str = "fast", dtype: torch.dtype = torch.float32) -> Supernet:
    torch.manual_seed(0)
    net = Supernet(space, classes=3, channels=5, depth=space.own_depth or 3)
    net.to(dtype, memory_format=torch.channels_last)
    net.backend = backend(way, dtype)
    return net


def draw(space: SearchSpace, generator: torch.Generator, pictures: int = 3) -> tuple[Tensor, Tensor]:
    x = torch.randn(pictures, 3, 9, 6, generator=generator)
    return x, torch.rand(len(space.edges), len(space.ops), generator=generator)


def gradients(net: Supernet, x: Tensor, mix: Tensor) -> list[Tensor]:
    """Logits, and the gradients for the mixing weights and all others."""
    net.zero_grad()
    mix = mix.clone().requires_grad_()
    logits = net(x, mix)
    (logits * torch.linspace(-1, 1, logits.numel(), dtype=logits.dtype).view_as(logits)).sum().backward()
    return [logits.detach(), mix.grad, *(weight.grad.clone() for weight in net.parameters() if weight.grad is not None)]


def only(space: SearchSpace, op: str) -> Tensor:
    """One operation is left on every edge."""
    return torch.tensor(space.offered) & (torch.arange(len(space.ops)) == space.ops.index(op))


def plans(net: Supernet) -> list[plan.Plan]:
    """One of each mixed cell."""
    cells = net.cells
    return [each for cell in cells for each in cell.compiled[1].plans.values()]


def programs(net: Supernet) -> list[program.Program]:
    return [each for plan in plans(net) for each in plan.programs.values()]


@pytest.mark.parametrize("pictures", [1, 4, 7, 13])
@pytest.mark.parametrize("space", [darts, nas_bench_201, chain], ids=lambda space: space.name)
def test_threads_leave_no_trace(space, pictures, generator):
    x, mix = draw(space, generator, pictures)
    results = []
    for threads in (1, 2, 3, 5):
        with alone(threads):
            results.append(gradients(build(space), x, mix))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("space", [darts, nas_bench_201], ids=lambda space: space.name)
def test_a_cell_of_nothing_but_skips_has_a_program(space, generator):
    x, mix = draw(space, generator)
    results = []
    for way, dtype in (("plain", torch.float64), ("fast", torch.float32)):
        net = build(space, way, dtype)
        net.prune_(only(space, "skip_connect"))
        results.append(gradients(net, x.to(dtype), mix.to(dtype)))
    assert all(torch.allclose(a.float(), b, 1e-4, 1e-5) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("left", ["all", "mb_3_6", "next_7"])
def test_a_supernet_of_chains_is_as_exact_by_programs_as_by_modules(left, generator):
    x, mix = draw(chain, generator, 5)
    results = []
    for way, dtype in (("plain", torch.float64), ("plain", torch.float32), ("fast", torch.float32)):
        net = build(chain, way, dtype)
        if left != "all":
            net.prune_(only(chain, left))
        results.append(gradients(net, x.to(dtype), mix.to(dtype)))
    assert_as_exact(*results)


def normed_pool(slot: Slot) -> nn.Module:
    return nn.Sequential(nn.MaxPool2d(3, slot.stride, 1), nn.BatchNorm2d(slot.width, affine=slot.affine))


def bare_pool(slot: Slot) -> nn.Module:
    return nn.AvgPool2d(3, slot.stride, 1, count_include_pad=False)


POOLS = {"normed": normed_pool, "bare": bare_pool}


@pytest.mark.parametrize("ops", [("normed", "bare"), ("bare", "normed")])
def test_pools_with_batch_norm_and_without_stand_side_by_side(ops, generator):
    graphs = {kind: dense_cell(inputs=2, nodes=2, ops=ops) for kind in ("normal", "reduce")}
    space = SearchSpace(name="pools", cells=graphs, ops=ops, factories=POOLS)
    x, mix = draw(space, generator)
    results = [
        gradients(build(space, way, dtype), x.to(dtype), mix.to(dtype))
        for way, dtype in (("plain", torch.float64), ("fast", torch.float32))
    ]
    assert all(torch.allclose(a.float(), b, 1e-3, 1e-4) for a, b in zip(*results, strict=True))


def test_the_way_back_can_be_taken_twice(generator):
    net, (x, mix) = build(darts), draw(darts, generator)
    loss = net(x, mix).square().sum()
    loss.backward(retain_graph=True)
    once = [weight.grad.clone() for weight in net.parameters()]
    loss.backward()
    assert all(torch.equal(2 * grad, weight.grad) for grad, weight in zip(once, net.parameters(), strict=True))


def test_each_size_of_batch_has_a_program_of_its_own(generator):
    net, (x, mix) = build(darts), draw(darts, generator, 5)
    first = gradients(net, x, mix)
    gradients(net, x[:2], mix)
    assert all(torch.equal(a, b) for a, b in zip(first, gradients(copy.deepcopy(net), x, mix), strict=True))
    assert [each.batch for each in programs(net)] == [5, 2] * len(plans(net))


@pytest.mark.parametrize("space", [darts, nas_bench_201], ids=lambda space: space.name)
def test_no_tensor_is_written_past_its_ends(space, generator, fences):
    gradients(build(space), *draw(space, generator, 4))
    assert len(fences.fenced) > 20
    assert fences.stand()


@pytest.mark.parametrize("space", [darts, nas_bench_201, chain], ids=lambda space: space.name)
def test_threads_wait_for_each_other_where_they_must(space, generator):
    """A part is steps for pictures, for one stage's branches, or for one thread."""
    net, (x, mix) = build(space), draw(space, generator)
    gradients(net, x, mix)
    for each in programs(net):
        for way in (each.forward_pass, each.backward_pass):
            begins, ends, units = zip(*way.parts, strict=True)
            assert [0, *ends] == [*begins, len(way.steps)]
            for begin, end, unit in zip(begins, ends, units, strict=True):
                kinds = set(way.steps[begin:end, 0].tolist())
                if unit == 0:
                    assert kinds <= writer._SERIAL
                elif unit is None:
                    assert not kinds & {*writer._SERIAL, compiled.COLLECT}
                else:
                    assert end - begin == 1
                    assert each.stages[way.steps[begin, 1], 1] == unit
            # What one thread writes for all pictures waits for the sums of every picture.
            for kind in (compiled.MEASURE, compiled.NORM_BACKWARD, compiled.INNER_BACKWARD):
                for n in (way.steps[:, 0] == kind).nonzero()[0]:
                    assert any(begin <= n < end and unit == 0 for begin, end, unit in way.parts)


@pytest.mark.parametrize("output", [(3, 2), (2, 2, 3)])
def test_outputs_may_stand_in_any_order(output, generator):
    net, (x, mix) = build(nas_bench_201), draw(nas_bench_201, generator)
    gradients(net, x, mix)
    plan = plans(net)[0]
    given = torch.randn(3, 5, 9, 6, generator=generator).contiguous(memory_format=torch.channels_last).requires_grad_()
    for node in (2, 3):
        values = [
            cell_function.values(replace(plan, programs={}), each, [given], mix)[node] for each in (output, (node,))
        ]
        grads = [torch.autograd.grad(value.square().sum(), given)[0] for value in values]
        assert torch.equal(*values)
        assert torch.allclose(*grads, 1e-5, 1e-6)


def test_results_are_float32_whatever_the_default(generator):
    net, (x, mix) = build(darts), draw(darts, generator)
    expected = gradients(net, x, mix)
    torch.set_default_dtype(torch.float64)
    try:
        assert all(torch.equal(a, b) for a, b in zip(gradients(copy.deepcopy(net), x, mix), expected, strict=True))
    finally:
        torch.set_default_dtype(torch.float32)
