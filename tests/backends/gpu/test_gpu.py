"""The kernels for a GPU: on one where there is one, else in Triton's interpreter, where TRITON_INTERPRET=1 asks for it.

The interpreter takes minutes for what a GPU does in seconds, and that of Triton 3.6 needs NumPy before 2.4 and
``-W ignore::DeprecationWarning``.
"""

import copy
import os

import pytest
import torch
import ways
from torch import Tensor, nn

from diffnas.components.edge_weights import EdgeWeights
from diffnas.nets.ops import FactorizedReduce, Separable
from diffnas.nets.supernet import Supernet
from diffnas.space import SearchSpace, darts, nas_bench_201

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("needs a CUDA GPU, or TRITON_INTERPRET=1 with Triton; there is none here", allow_module_level=True)
pytest.importorskip("triton")

from diffnas.backends.gpu import chains, launches  # noqa: E402
from diffnas.backends.gpu.backend import GPU, KERNELS  # noqa: E402
from diffnas.backends.gpu.pools import pools  # noqa: E402
from diffnas.backends.gpu.sums import beside, mixed_sums  # noqa: E402
from diffnas.nets.links import in_a_row, links  # noqa: E402


@pytest.fixture(autouse=True)
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the kernels run on whatever there is, and have PyTorch's own not round to TF32."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(GPU, "why_not", lambda self, x: None)


def average_pool(stride: int) -> nn.Module:
    return nn.AvgPool2d(3, stride, 1, count_include_pad=False)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def drawn(generator: torch.Generator, *shape: int) -> Tensor:
    """Random numbers, channels last if they are launches."""
    x = torch.randn(shape, generator=generator).to(DEVICE)
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


# No power of two; one picture of one row; more pixels than a program takes.
SHAPES = [(3, 5, 7, 3), (1, 3, 1, 4), (2, 16, 15, 20), (2, 33, 9, 5)]
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def batch_norms(channels: int) -> list[list[nn.BatchNorm2d]]:
    """Those of three maps; two of the last one learn at other rates."""
    rates = [[0.1], [], [0.1, 0.3]]
    return [[nn.BatchNorm2d(channels, momentum=rate, affine=False).to(DEVICE) for rate in own] for own in rates]


@every_shape
@pytest.mark.parametrize("offset", [0, 30])
def test_batch_norms_round_as_little_as_those_of_pytorch(shape, offset, generator):
    x = [drawn(generator, *shape) + offset for _ in range(3)]
    norms = launches.normalize(launches.table(x), batch_norms(shape[1]), x[0])
    for k, one in enumerate(x):
        variance, mean = torch.var_mean(one.double(), (0, 2, 3), correction=0)
        if k == 1:
            variance, mean = torch.ones_like(mean), torch.zeros_like(mean)
        rate = (variance + (1e-5 if k != 1 else 0)).rsqrt()
        expected = [each.float() for each in (mean, variance, rate, -mean * rate)]
        torch.testing.assert_close([table[k] for table in norms], expected, rtol=1e-6, atol=1e-6)


@every_shape
@pytest.mark.parametrize("added", [0, 2])
def test_mixed_sums_are_those_of_pytorch_with_their_gradients(shape, added, generator):
    rows = 1 if added else 2
    tensors = [drawn(generator, *shape) + 3 for _ in range(3 + added)]
    mix = drawn(generator, rows, 3)
    sent = [drawn(generator, *shape) for _ in range(rows)]
    results = []
    for dtype, by in ((torch.float32, mixed_sums), (torch.float64, ways.mixed_sums)):
        own = [tensor.to(dtype).detach().requires_grad_() for tensor in (mix, *tensors)]
        norms = [[norm.to(dtype) for norm in several] for several in batch_norms(shape[1])]
        totals = by(own[1:4], own[0], norms=norms, added=own[4:])
        gradients = torch.autograd.grad(totals, own, [grad.to(dtype) for grad in sent])
        buffers = [buffer for several in norms for norm in several for buffer in norm.buffers()]
        results.append([each.float() for each in (*totals, *buffers, *gradients)])
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-4)


POOLS = {"same": lambda stride: None, "max": lambda s: nn.MaxPool2d(3, s, 1), "average": average_pool}
KINDS = [(1, ["same", "max", "average"]), (2, ["average", "max"]), (1, ["max"]), (1, ["same", "average", "same"])]


@every_shape
@pytest.mark.parametrize("case", KINDS, ids=str)
def test_pools_are_those_of_pytorch_with_their_gradients(shape, case, generator):
    stride, kinds = case
    modules = [POOLS[kind](stride) for kind in kinds]
    # Rounded, so that many pixels of a window are equal.
    x = (3 * drawn(generator, *shape)).round().requires_grad_()
    expected = [x if module is None else module(x) for module in modules]
    found = pools(x, modules)
    sent = [drawn(generator, *each.shape) for each in expected]
    torch.testing.assert_close(found, tuple(expected))
    torch.testing.assert_close(*(torch.autograd.grad(results, [x], sent) for results in (found, expected)))


def test_nodes_side_by_side_get_their_own_gradients(generator):
    maps = [drawn(generator, 2, 3, 4, 5).requires_grad_() for _ in range(3)]
    sent = drawn(generator, 2, 9, 4, 5)
    torch.testing.assert_close(beside(maps), torch.cat(maps, 1))
    torch.testing.assert_close(torch.autograd.grad(beside(maps), maps, sent), sent.split(3, 1))


def test_nan_stays_nan(generator):
    x = drawn(generator, 2, 4, 5, 5)
    x[0, 0, 2, 2] = torch.nan
    chain = links(separable(3, 1, channels=4, layers=1).to(DEVICE))
    results = *chains.convolve(x, [chain]), *pools(x, [nn.MaxPool2d(3, 1, 1), average_pool(1)])
    assert all(y.isnan().any() for y in results)


@pytest.mark.parametrize("size", [(6, 8), (7, 5)], ids=str)
def test_links_that_halve_a_map_are_their_modules(size, generator):
    ops = [FactorizedReduce(4, channels, affine=False).to(DEVICE) for channels in (5, 5, 4)]
    x = drawn(generator, 2, 4, *size).requires_grad_()
    chosen = [links(op) for op in ops]
    found, expected = KERNELS.convolve(x, chosen), [chain[0].convolve(x) for chain in chosen]
    sent = [drawn(generator, *each.shape) for each in expected]
    into = [x, *(parameter for op in ops for parameter in op.parameters())]
    gradients = [torch.autograd.grad(results, into, sent) for results in (found, expected)]
    torch.testing.assert_close((tuple(found), gradients[0]), (tuple(expected), gradients[1]), rtol=1e-5, atol=1e-5)


def separable(kernel: int, stride: int, dilation: int = 1, *, channels: int, layers: int, width: int = 1) -> nn.Module:
    inner = width * channels
    first = Separable(
        channels, kernel, stride=stride, affine=False, dilation=dilation, out=inner if layers == 2 else channels
    )
    if layers == 1:
        return first
    return in_a_row(first, Separable(inner, kernel, stride=1, affine=False, out=channels))


MAKES = {
    "sep 3": lambda c: separable(3, 1, channels=c, layers=2),
    "sep 5": lambda c: separable(5, 1, channels=c, layers=2),
    "sep 5, halving": lambda c: separable(5, 2, channels=c, layers=2),
    "dil 3": lambda c: separable(3, 1, 2, channels=c, layers=1),
    "dil 5": lambda c: separable(5, 1, 2, channels=c, layers=1),
    "dil 5, halving": lambda c: separable(5, 2, 2, channels=c, layers=1),
    "wide": lambda c: separable(3, 2, channels=c, layers=2, width=3),
    "1x1": lambda c: separable(1, 1, channels=c, layers=2),
}


# Chains that are computed together, longer ones first.
TOGETHER = {
    "sep 3 twice": ["sep 3"] * 2,
    "sep 5, halving": ["sep 5, halving"] * 2,
    "wide": ["wide"] * 2,
    "1x1": ["1x1"],
    "a node's": ["sep 3", "sep 5", "dil 3", "dil 5"],
    "a node's, halving": ["sep 5, halving", "dil 5, halving"],
}


@pytest.mark.parametrize("shape", [(3, 5, 7, 6), (2, 16, 9, 8)], ids=str)
@pytest.mark.parametrize("made", TOGETHER.values(), ids=TOGETHER)
def test_chains_are_their_modules(made: list[str], shape, generator):
    check_chains(made, shape, generator)


def test_chains_of_more_channels_than_a_program_takes_are_their_modules(generator):
    check_chains(["1x1"], (1, 66, 3, 2), generator)


def check_chains(made: list[str], shape: tuple[int, ...], generator: torch.Generator) -> None:
    """Chains that are computed together have the results, gradients and statistics of their modules."""
    torch.manual_seed(0)
    ops = [MAKES[name](shape[1]).to(DEVICE) for name in made]
    twins = copy.deepcopy(ops)
    x = drawn(generator, *shape).requires_grad_()
    known = [links(op) for op in ops]
    assert all(chain is not None for chain in known)
    assert chains.groups(known) == ([list(range(len(ops)))], [])
    results = chains.convolve(x, known)
    y = x.detach().clone().requires_grad_()
    expected = []
    for twin in twins:
        *before, last = twin if isinstance(twin, nn.Sequential) else [twin]
        value = y
        for part in before:
            value = part(value)
        expected.append(links(last)[0].convolve(value))
    weights = [drawn(generator, *each.shape) for each in expected]
    for found in (results, expected):
        sum((each * weight).sum() for each, weight in zip(found, weights, strict=True)).backward()
    close = {"rtol": 2e-4, "atol": 2e-4}
    torch.testing.assert_close(results, tuple(expected), **close)
    torch.testing.assert_close(x.grad, y.grad, **close)
    for op, twin in zip(ops, twins, strict=True):
        assert all(parameter.grad is not None for parameter in op.parameters())
        torch.testing.assert_close([p.grad for p in op.parameters()], [p.grad for p in twin.parameters()], **close)
        if isinstance(op, nn.Sequential):  # the statistics before the last link are the chain's to update
            torch.testing.assert_close(list(op[0].norm.buffers()), list(twin[0].norm.buffers()), **close)


@pytest.mark.parametrize("space", [darts, nas_bench_201], ids=lambda space: space.name)
@pytest.mark.parametrize("share", [1.0, 0.3])
def test_a_supernet_rounds_like_the_plain_one(space: SearchSpace, share: float, generator):
    """Against double precision: values, gradients and running statistics, no farther than twice the stock kernels."""
    torch.manual_seed(0)
    net = Supernet(space, classes=3, channels=4, depth=3).to(DEVICE, memory_format=torch.channels_last)
    mix = torch.rand(len(space.edges), len(space.ops), generator=generator).to(DEVICE)
    keep = torch.rand(mix.shape, generator=generator).to(DEVICE) < share
    net.prune_(keep)
    x, mix = drawn(generator, 3, 3, 5, 5), mix * keep

    def results(how: str, dtype: torch.dtype) -> Tensor:
        own = copy.deepcopy(net).to(dtype)
        own.backend = GPU() if how == "gpu" else None
        weights = mix.to(dtype, copy=True).requires_grad_()
        logits = own(x.to(dtype), EdgeWeights(weights))
        (logits * torch.linspace(-1, 1, logits.numel(), device=DEVICE).view_as(logits)).sum().backward()
        gradients = [p.grad for p in own.parameters() if p.grad is not None]
        numbers = [logits, weights.grad, *gradients, *own.buffers()]
        return torch.cat([part.detach().double().flatten() for part in numbers if part is not None])

    exact, plain, ours = (
        results(how, dtype)
        for how, dtype in (("plain", torch.float64), ("plain", torch.float32), ("gpu", torch.float32))
    )
    assert (ours - exact).norm() <= 2 * (plain - exact).norm() + 1e-6 * exact.norm()
