from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from diffnas.nets import depthwise as module
from diffnas.nets.depthwise import depthwise

FORMATS = [torch.contiguous_format, torch.channels_last]

# channels, height, width, kernel, stride, padding, dilation
CASES = [
    (8, 8, 8, 5, 1, 2, 1),
    (16, 8, 8, 3, 1, 2, 2),
    (16, 9, 7, 5, 1, 4, 2),
    (16, 8, 8, 5, 2, 2, 1),
    (8, 8, 8, 3, 2, 2, 2),
    (8, 7, 9, 5, 2, 4, 2),
    (24, 8, 6, 5, 2, 4, 2),
    (12, 5, 6, 5, 1, 2, 1),
    (5, 6, 5, 3, 2, 2, 2),
    (3, 4, 4, 5, 1, 4, 2),
    (1, 6, 6, 5, 1, 2, 1),
    (7, 1, 1, 5, 1, 2, 1),
    (3, 1, 1, 3, 2, 2, 2),
    (4, 9, 9, 7, 1, 3, 1),
    (4, 9, 9, 7, 2, 3, 1),
    (6, 8, 8, 4, 3, 1, 1),
    (6, 9, 9, 5, 1, 0, 1),
    (40, 6, 6, 5, 1, 2, 1),
    # Stock gradients by design: a dense 3x3, and more padding than the kernel reaches.
    (8, 6, 6, 3, 1, 1, 1),
    (8, 6, 6, 1, 1, 1, 2),
]


@pytest.fixture(scope="module")
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def draw(shape, generator, layout=torch.contiguous_format) -> Tensor:
    return in_format(torch.randn(shape, generator=generator), layout)


def in_format(x: Tensor, layout: torch.memory_format) -> Tensor:
    return x.contiguous(memory_format=layout)


def root_mean_square(x: Tensor) -> float:
    return x.double().square().mean().sqrt().item()


def stock_depthwise(x: Tensor, weight: Tensor, **window: int) -> Tensor:
    return F.conv2d(x, weight, groups=x.shape[1], **window)


def results(x, weight, grad, by=depthwise, **window):
    """The convolution of x and its gradients for x and for the weight."""
    x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
    y = by(x, weight, **window)
    return y.detach(), *torch.autograd.grad(y, (x, weight), grad)


@pytest.mark.parametrize("layout", FORMATS, ids=["NCHW", "channels_last"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_result_and_gradients_are_as_exact_as_the_stock_ones(case, layout, generator):
    C, H, W, k, stride, padding, dilation = case
    window = {"stride": stride, "padding": padding, "dilation": dilation}
    x, weight = draw((6, C, H, W), generator, layout), draw((C, 1, k, k), generator)
    grad = draw(F.conv2d(x, weight, groups=C, **window).shape, generator, layout)
    exact = results(x.double(), weight.double(), grad.double(), stock_depthwise, **window)
    # PyTorch has one kernel for each format, and they round differently.
    stock = zip(
        *(results(in_format(x, f), weight, in_format(grad, f), stock_depthwise, **window) for f in FORMATS), strict=True
    )
    for own, theirs, truth in zip(results(x, weight, grad, **window), stock, exact, strict=True):
        assert own.shape == truth.shape
        assert own.dtype == torch.float32
        # The floor is one rounding of each number, for where the stock result is exact by luck.
        floor = torch.finfo(torch.float32).eps * root_mean_square(truth)
        worst = max(root_mean_square(each - truth) for each in theirs)
        assert root_mean_square(own - truth) <= max(2 * worst, floor)


@pytest.mark.parametrize("layout", FORMATS, ids=["NCHW", "channels_last"])
def test_result_and_input_gradient_keep_the_memory_format_of_x(layout, generator):
    x, weight = draw((2, 8, 8, 8), generator, layout), draw((8, 1, 5, 5), generator)
    y, x_grad, _ = results(x, weight, torch.ones(2, 8, 4, 4), stride=2, padding=2, dilation=1)
    assert y.is_contiguous(memory_format=layout)
    assert x_grad.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("stride", [1, 2])
def test_an_expanded_gradient_and_a_sliced_input_are_understood(stride, generator):
    x, weight = draw((4, 8, 20, 9), generator)[:, :, ::2], draw((8, 1, 5, 5), generator)
    window = {"stride": stride, "padding": 2, "dilation": 1}
    shape = F.conv2d(x, weight, groups=8, **window).shape
    expanded = torch.tensor(0.5).expand(shape)
    for own, stock in zip(
        results(x, weight, expanded, **window),
        results(x, weight, expanded.contiguous(), stock_depthwise, **window),
        strict=True,
    ):
        torch.testing.assert_close(own, stock, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("stride", [1, 2])
def test_gradients_pass_gradcheck_in_float64(stride, generator):
    x = torch.randn(2, 3, 5, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 1, 3, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda x, w: depthwise(x, w, stride=stride, padding=2, dilation=2), (x, weight))


def test_a_gradient_can_be_differentiated_again(generator):
    x, weight = draw((2, 4, 6, 6), generator), draw((4, 1, 5, 5), generator)

    def second(by):
        a, b = x.clone().requires_grad_(), weight.clone().requires_grad_()
        y = by(a, b, stride=1, padding=2, dilation=1).square().sum()
        first = torch.autograd.grad(y, (a, b), create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in first), (a, b))

    for own, stock in zip(second(depthwise), second(stock_depthwise), strict=True):
        torch.testing.assert_close(own, stock, rtol=1e-5, atol=1e-5 * stock.abs().max().item())


def test_functional_gradients_work(generator):
    x, weight = draw((2, 4, 6, 6), generator), draw((4, 1, 5, 5), generator)
    loss = torch.func.grad(lambda w: depthwise(x, w, stride=1, padding=2, dilation=1).square().sum())
    reference = torch.func.grad(lambda w: F.conv2d(x, w, padding=2, groups=4).square().sum())
    torch.testing.assert_close(loss(weight), reference(weight))


@pytest.mark.parametrize("frozen", ["x", "weight"])
def test_only_the_gradients_asked_for_are_computed(frozen, generator, monkeypatch):
    name = {"x": "_input_grad", "weight": "_stock_weight_grad"}[frozen]
    monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail(f"{name} was called"))
    inputs = {"x": draw((2, 4, 6, 6), generator), "weight": draw((4, 1, 5, 5), generator)}
    (live,) = {"x", "weight"} - {frozen}
    inputs[live].requires_grad_()
    depthwise(inputs["x"], inputs["weight"], stride=1, padding=2, dilation=1).sum().backward()
    assert inputs[live].grad is not None


def test_many_threads_may_differentiate_at_once(generator):
    x, weight = draw((4, 8, 8, 8), generator), draw((8, 1, 5, 5), generator)
    grad = draw((4, 8, 8, 8), generator)
    window = {"stride": 1, "padding": 2, "dilation": 1}
    expected = results(x, weight, grad, **window)
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(results, x, weight, grad, **window) for _ in range(16)]
        for found in waiting:
            torch.testing.assert_close(found.result()[2], expected[2], rtol=0, atol=0)


def test_without_gradients_and_under_autocast_the_stock_convolution_runs(generator, monkeypatch):
    monkeypatch.setattr(module, "_Depthwise", None)
    x, weight = draw((2, 8, 6, 6), generator), draw((8, 1, 5, 5), generator).requires_grad_()
    with torch.no_grad():
        y = depthwise(x, weight, stride=1, padding=2, dilation=1)
    assert torch.equal(y, F.conv2d(x, weight, padding=2, groups=8))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = depthwise(x, weight, stride=1, padding=2, dilation=1)
    assert y.dtype == torch.bfloat16
    y.sum().backward()
    assert weight.grad is not None


@pytest.mark.parametrize(
    ("x", "weight", "message"),
    [
        ((2, 4, 6, 6), (4, 1, 3, 5), r"got x \(2, 4, 6, 6\) and weight \(4, 1, 3, 5\); expected"),
        ((2, 4, 6, 6), (8, 1, 3, 3), r"got x \(2, 4, 6, 6\) and weight \(8, 1, 3, 3\); expected"),
    ],
)
def test_a_wrong_argument_is_named(x, weight, message):
    with pytest.raises(ValueError, match=message):
        depthwise(torch.ones(x), torch.ones(weight), stride=1, padding=1, dilation=1)
