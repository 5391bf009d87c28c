import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("numba")

from diffnas.backends.cpu.pools import pools

SIZES = [(3, 3, 1, 1), (2, 16, 1, 5), (1, 17, 6, 1), (5, 1, 2, 3), (2, 5, 7, 9), (9, 4, 8, 8), (1, 33, 3, 17)]


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def both(stride: int) -> list[nn.Module]:
    return [nn.MaxPool2d(3, stride, padding=1), nn.AvgPool2d(3, stride, padding=1, count_include_pad=False)]


def by_modules(x: Tensor, modules: list[nn.Module], grads: list[Tensor]) -> list[Tensor]:
    x = x.detach().double().contiguous().requires_grad_()
    results = [module(x) for module in modules]
    (grad,) = torch.autograd.grad(results, x, [grad.double() for grad in grads])
    return [*(result.detach() for result in results), grad]


def by_kernels(x: Tensor, modules: list[nn.Module], grads: list[Tensor]) -> list[Tensor]:
    x = x.detach().requires_grad_()
    results, _, _ = pools(x, modules)
    return [*(result.detach() for result in results), *torch.autograd.grad(results, x, grads)]


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_pools_and_their_gradients_are_those_of_the_modules(size, stride, ties, generator, fences):
    modules = both(stride)
    # Of equal pixels the first one gets the gradient, as in PyTorch; whole numbers from 0 to 2 are often equal.
    drawn = torch.randint(3, size, generator=generator).float() if ties else torch.randn(size, generator=generator)
    x = fences.around(drawn)
    grads = [fences.around(torch.randn(module(drawn).shape, generator=generator)) for module in modules]
    ours, exact = by_kernels(x, modules, grads), by_modules(drawn, modules, grads)
    assert fences.stand()
    for one, right in zip(ours, exact, strict=True):
        torch.testing.assert_close(one.double(), right, rtol=1e-6, atol=2e-6)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", SIZES[1:], ids=str)
def test_statistics_are_those_of_the_results(size, stride, generator):
    results, mean, variance = pools(torch.randn(size, generator=generator) + 5, both(stride))
    for n, result in enumerate(results):
        known = torch.var_mean(result.double(), (0, 2, 3), correction=0)
        torch.testing.assert_close((variance[n], mean[n]), known, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_passes_as_through_the_modules(value, generator):
    x = torch.randn(2, 3, 6, 6, generator=generator)
    x[0, 1, 2, 3] = x[1, 2, :2] = x[1, :, 0, 0] = value
    for one, module in zip(pools(x, both(1))[0], both(1), strict=True):
        torch.testing.assert_close(one, module(x), equal_nan=True)


def test_threads_leave_no_trace(generator):
    x, grads = torch.randn(7, 5, 6, 6, generator=generator), [torch.randn(7, 5, 3, 3, generator=generator)] * 2
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(by_kernels(x, both(2), grads))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))
