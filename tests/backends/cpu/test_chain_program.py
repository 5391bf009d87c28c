import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffnas.backends.norms import Statistics
from diffnas.convolutions import CONVOLUTIONS
from diffnas.nets import depthwise
from diffnas.nets.links import links
from diffnas.nets.ops import OPS, Depthwise, FactorizedReduce, Separable, build, relu_conv_norm
from diffnas.nets.ops.chain import CHAIN, chained
from diffnas.nets.ops.transformer import TRANSFORMER
from diffnas.nets.slot import Slot

pytest.importorskip("numba")

from diffnas.backends.cpu.chain_program import convolve
from diffnas.backends.cpu.launches import normalized


def separable(kernel: int, stride: int = 1, dilation: int = 1):
    return lambda C: Separable(C, kernel, stride=stride, affine=False, dilation=dilation)


def dense(kernel: int, stride: int = 1, more: int = 0, bias: bool = False):
    return lambda C: relu_conv_norm(C, C + more, kernel, stride=stride, affine=False, bias=bias)


def unusual(more: int, **options: int):
    return lambda C: relu_conv_norm(C, C + more, affine=False, **options)


def alone(kernel: int, stride: int = 1, dilation: int = 1, rectifies: bool = False):
    """A depthwise convolution and a batch norm."""
    relu = [nn.ReLU()] if rectifies else []
    conv = lambda C: Depthwise(C, kernel, stride=stride, dilation=dilation)  # noqa: E731
    return lambda C: chained(*relu, conv(C), nn.BatchNorm2d(C, affine=False))


def straight(more: int = 0):
    """A 1x1 convolution without a ReLU, and a batch norm."""
    return lambda C: chained(nn.Conv2d(C, C + more, 1, bias=False), nn.BatchNorm2d(C + more, affine=False))


# One link each, from the number of channels.
LINKS = {
    "depthwise 3": separable(3),
    "depthwise 5": separable(5),
    "depthwise 7": separable(7),
    "depthwise 1": separable(1),
    "depthwise 3, dilated": separable(3, dilation=2),
    "depthwise 5, dilated": separable(5, dilation=2),
    "depthwise 3, dilated by 3": separable(3, dilation=3),
    "depthwise 3, stride 2": separable(3, stride=2),
    "depthwise 5, stride 2": separable(5, stride=2),
    "depthwise 5, dilated, stride 2": separable(5, stride=2, dilation=2),
    "depthwise 7, stride 2": separable(7, stride=2),
    "depthwise 3, stride 3": separable(3, stride=3),
    "depthwise alone 3": alone(3),
    "depthwise alone 5, rectified": alone(5, rectifies=True),
    "depthwise alone 7": alone(7),
    "depthwise alone 9, rectified": alone(9, rectifies=True),
    "depthwise alone 5, stride 2": alone(5, stride=2),
    "depthwise alone 7, stride 2, rectified": alone(7, stride=2, rectifies=True),
    "depthwise alone 3, dilated by 2": alone(3, dilation=2),
    "1x1 without a ReLU": straight(),
    "1x1 without a ReLU, more channels": straight(19),
    "pairs": lambda C: FactorizedReduce(C, C + 1, affine=False),
    "pairs, more channels": lambda C: FactorizedReduce(C, C + 19, affine=False),
    "1x1": dense(1),
    "1x1, more channels, bias": dense(1, more=20, bias=True),
    "1x1, stride 2": dense(1, stride=2),
    "dense 3": dense(3),
    "dense 3, more channels": dense(3, more=17),
    "dense 3, stride 2, bias": dense(3, stride=2, bias=True),
    "dense 5": unusual(0, kernel=5, padding=2, dilation=1),
    "dense 3, dilated, stride 2": unusual(3, kernel=3, padding=2, dilation=2, stride=2),
    "dense 5, stride 2": unusual(2, kernel=5, padding=2, stride=2),
    "dense 3, stride 3, dilated": unusual(0, kernel=3, padding=2, dilation=2, stride=3),
    "dense 2, larger result": unusual(1, kernel=2, padding=1),
}

# B, C, H, W: single pixels, rows and columns; widths around the eight pixels of a block; channels around sixteen lanes;
# what dense convolutions take by tiles: a single one, and more rows of them than are handled at once.
SIZES = [(3, 3, 1, 1), (2, 16, 1, 5), (1, 17, 6, 1), (5, 1, 2, 3), (2, 5, 7, 9), (9, 4, 8, 8), (1, 33, 3, 17)]
SIZES += [(3, 16, 2, 2), (2, 40, 18, 6), (5, 16, 10, 32)]


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(autouse=True)
def _stock_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """The modules compute by PyTorch's own kernels alone."""
    monkeypatch.setattr(depthwise, "_applies", lambda *_: False)


def draw(shape, generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator)


def made(ops: list[nn.Module], generator: torch.Generator) -> list[nn.Module]:
    """The operations with weights drawn from the generator."""
    for op in ops:
        for weight in op.parameters():
            nn.init.normal_(weight, std=weight[0].numel() ** -0.5, generator=generator)
    return ops


def distance(result: Tensor, exact: Tensor) -> float:
    return float((result.double() - exact).norm())


def assert_as_exact(ours: list[Tensor], exact: list[Tensor], *stock: list[Tensor]) -> None:
    """Every tensor of ours is at most twice as far from the exact one as the worst of the stock ones."""
    assert len(ours) == len(exact)
    for n, (one, right) in enumerate(zip(ours, exact, strict=True)):
        assert one.shape == right.shape
        worst = max(distance(each[n], right) for each in stock)
        # The floor is a few roundings of each number, for where stock is exact by luck.
        floor = 4 * torch.finfo(torch.float32).eps * float(right.norm()) + 1e-7
        assert distance(one, right) <= 2 * worst + floor, n


def through_stock(ops: list[nn.Module], x: Tensor, grads: list[Tensor], dtype, layout, normed: bool) -> list[Tensor]:
    """What the modules give, and the gradients for x and all weights."""
    twins = [copy.deepcopy(op).to(dtype, memory_format=layout) for op in ops]
    x = x.detach().to(dtype).contiguous(memory_format=layout).requires_grad_()
    results = []
    for twin in twins:
        chain = links(twin)
        value = x
        for n, link in enumerate(chain):
            value = link.convolve(value)
            if link.after is not None:
                value = link.norm(value) if normed or n + 1 < len(chain) else value - _bias(link)
        results.append(value)
    weights = [weight for twin in twins for weight in twin.parameters()]
    sent = [grad.to(dtype).contiguous(memory_format=layout) for grad in grads]
    gradients = torch.autograd.grad(results, [x, *weights], sent, allow_unused=True)
    found = [torch.zeros_like(w) if g is None else g for w, g in zip([x, *weights], gradients, strict=True)]
    return [*(result.detach() for result in results), *found]


def _bias(link) -> Tensor:
    """Kernels leave the bias of a convolution before a batch norm away."""
    return torch.zeros(()) if link.bias is None else link.bias.view(-1, 1, 1).detach()


def through_kernels(ops: list[nn.Module], x: Tensor, grads: list[Tensor], normed: bool) -> list[Tensor]:
    x = x.detach().requires_grad_()
    results, statistics, folds = convolve(x, [links(op) for op in ops])
    if normed:
        known = [
            Statistics(mean[None], variance[None], statistics.pixels)
            for mean, variance in zip(*statistics[:2], strict=True)
        ]
        results = [
            normalized(result, each, fold, torch.ones(len(result[0])), torch.zeros(len(result[0])), eps=1e-5)
            for result, each, fold in zip(results, known, folds, strict=True)
        ]
    weights = [weight for op in ops for weight in op.parameters()]
    gradients = torch.autograd.grad(results, [x, *weights], grads)
    return [*(result.detach() for result in results), *gradients]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("link", LINKS.values(), ids=LINKS)
def test_a_link_is_as_exact_as_stock_and_stays_within_its_memory(link, size, generator, fences):
    op = link(size[1])
    made([op], generator)
    for weight in op.parameters():
        weight.data = fences.numbers(weight.numel()).view(weight.shape).copy_(weight.data)
    x = fences.around(draw(size, generator))
    grads = [draw(result.shape, generator) for result in [links(op)[0].convolve(x)]]
    ours = through_kernels([op], x, [fences.around(grad) for grad in grads], normed=False)
    assert fences.stand()
    stock = [
        through_stock([op], x, grads, torch.float32, layout, False)
        for layout in (torch.contiguous_format, torch.channels_last)
    ]
    exact = through_stock([op], x, grads, torch.float64, torch.channels_last, False)
    # The gradient of a bias before a batch norm is zero; without one it is not, and nothing is left to compare.
    keep = [n for n, tensor in enumerate(ours) if n < 2 or tensor.dim() > 1]
    assert_as_exact(*([tensors[n] for n in keep] for tensors in (ours, exact, *stock)))


# Which operations are left; between them every pair of kinds meets.
LEFT = {
    # But for what has other channels between two links: that is not taken together.
    "all": tuple(
        op
        for op in OPS
        if op not in {**TRANSFORMER, **CHAIN} and (op not in CONVOLUTIONS or CONVOLUTIONS[op].width == 1)
    ),
    "pairs and 1x1": ("skip_connect", "nor_conv_1x1"),
    "two links": ("sep_conv_3x3", "sep_conv_7x7"),
    "one and two links": ("dil_conv_5x5", "sep_conv_5x5"),
    "dense and depthwise": ("nor_conv_3x3", "dil_conv_3x3"),
}


@pytest.mark.parametrize("size", [(3, 5, 9, 7), (2, 16, 8, 8), (6, 20, 4, 3)], ids=str)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("left", LEFT.values(), ids=LEFT)
def test_operations_taken_together_are_as_exact_as_stock(left, stride, size, generator, fences):
    candidates = [build(op, Slot(width=size[1], stride=stride)) for op in left]
    ops = made([op for op in candidates if links(op) is not None], generator)
    x = fences.around(draw(size, generator))
    rows, columns = (-(-length // stride) for length in size[2:])
    grads = [draw((*size[:2], rows, columns), generator) for _ in ops]
    ours = through_kernels(ops, x, grads, normed=True)
    assert fences.stand()
    both = torch.contiguous_format, torch.channels_last
    stock = [through_stock(ops, x, grads, torch.float32, layout, True) for layout in both]
    assert_as_exact(ours, through_stock(ops, x, grads, torch.float64, both[1], True), *stock)


def inverted(kernel: int, wide: int, stride: int = 1):
    """An inverted bottleneck whose batch norms have no weights, from the number of channels."""
    return lambda C: chained(
        nn.Conv2d(C, wide, 1, bias=False), plain(wide), nn.ReLU(), Depthwise(wide, kernel, stride=stride), plain(wide),
        nn.ReLU(), nn.Conv2d(wide, C, 1, bias=False), plain(C),
    )  # fmt: skip


def spread(kernel: int, stride: int = 1):
    """The block of ConvNeXt, with a convolution that no batch norm follows."""
    return lambda C: chained(
        Depthwise(C, kernel, stride=stride), plain(C), nn.Conv2d(C, 4 * C, 1, bias=False), nn.ReLU(),
        nn.Conv2d(4 * C, C, 1, bias=False), plain(C),
    )  # fmt: skip


def plain(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, affine=False)


LONG = {
    "inverted bottlenecks": (inverted(3, 20), inverted(5, 20), inverted(7, 20)),
    "inverted bottlenecks, stride 2": (inverted(3, 20, 2), inverted(5, 20, 2), inverted(7, 20, 2)),
    "a wide one": (inverted(3, 70),),
    "blocks of ConvNeXt": (spread(5), spread(7)),
    "blocks of ConvNeXt, stride 2": (spread(5, 2), spread(7, 2)),
}


@pytest.mark.parametrize("size", [(3, 5, 9, 7), (2, 16, 8, 8), (6, 20, 4, 3)], ids=str)
@pytest.mark.parametrize("makes", LONG.values(), ids=LONG)
def test_chains_of_three_links_are_as_exact_as_stock(makes, size, generator, fences):
    ops = made([make(size[1]) for make in makes], generator)
    x = fences.around(draw(size, generator))
    grads = [draw(op(x).shape, generator) for op in ops]
    ours = through_kernels(ops, x, grads, normed=True)
    assert fences.stand()
    both = torch.contiguous_format, torch.channels_last
    stock = [through_stock(ops, x, grads, torch.float32, layout, True) for layout in both]
    assert_as_exact(ours, through_stock(ops, x, grads, torch.float64, both[1], True), *stock)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_kinds_that_widen_are_as_exact_as_stock(order, generator):
    widened = Separable(16, 3, stride=1, affine=False, out=32)
    makes = widened, dense(3, more=16)(16), unusual(16, kernel=5, padding=2)(16)
    ops, x = made([makes[n] for n in order], generator), draw((3, 16, 8, 8), generator)
    grads = [draw((3, 32, 8, 8), generator) for _ in ops]
    stock = through_stock(ops, x, grads, torch.float32, torch.channels_last, True)
    exact = through_stock(ops, x, grads, torch.float64, torch.channels_last, True)
    assert_as_exact(through_kernels(ops, x, grads, normed=True), exact, stock)


KINDS = {
    "depthwise and pairs": (5, (9, 7), 2, ("sep_conv_3x3", "dil_conv_5x5", "skip_connect")),
    "dense": (16, (8, 6), 1, ("nor_conv_3x3", "nor_conv_1x1", "nor_conv_3x3")),
}


@pytest.mark.parametrize("kinds", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("B", [1, 4, 7, 13])
def test_threads_leave_no_trace(B, kinds, generator):
    C, (H, W), stride, names = kinds
    ops = made([build(op, Slot(width=C, stride=stride)) for op in names], generator)
    x, grads = draw((B, C, H, W), generator), [draw((B, C, -(-H // stride), -(-W // stride)), generator) for _ in ops]
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(through_kernels(ops, x, grads, normed=True))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("C", [4, 16])
def test_what_is_no_number_shows_in_the_statistics(C, link, bad, generator):
    op = LINKS[link](C)
    made([op], generator)
    x = draw((2, C, 6, 6), generator)
    x[1, :, 2, 2] = bad
    statistics = convolve(x, [links(op)]).statistics
    assert not torch.isfinite(statistics.mean + statistics.variance).any()


def test_running_averages_between_the_links_move_as_batch_norm_moves_them(generator):
    (op,) = made([build("sep_conv_3x3", Slot(width=4))], generator)
    twin, x = copy.deepcopy(op), draw((3, 4, 5, 5), generator)
    convolve(x, [links(op)])
    twin(x)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        torch.testing.assert_close(getattr(op[0].norm, name), getattr(twin[0].norm, name))
    assert op[1].norm.num_batches_tracked == 0  # the last is the caller's


def test_memory_formats_and_expanded_gradients_make_no_difference(generator):
    (op,) = made([build("dil_conv_3x3", Slot(width=4))], generator)
    x, one = draw((2, 4, 6, 5), generator), torch.tensor(0.5).expand(2, 4, 6, 5)
    last = {"memory_format": torch.channels_last}
    expected = through_kernels([op], x, [one.contiguous()], normed=True)
    found = through_kernels([op], x.contiguous(**last), [one], normed=True)
    sliced = F.pad(x, (0, 3, 0, 0, 1, 0))[:, 1:, :, :5]
    for results in (found, through_kernels([op], sliced, [one], normed=True)):
        assert all(torch.equal(a, b) for a, b in zip(results, expected, strict=True))
