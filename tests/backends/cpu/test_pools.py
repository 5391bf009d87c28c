from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("numba")

from diffnas.backends.cpu.conv_group import workspace
from diffnas.backends.cpu.kernels import pool as compiled
from diffnas.backends.cpu.kernels.buffer import Shape
from diffnas.backends.cpu.kernels.pool import AVERAGE, MAX
from diffnas.backends.cpu.kernels.sums import joined
from diffnas.backends.cpu.launches import addresses
from diffnas.backends.norms import channels_last
from diffnas.parallel import in_parallel

SIZES = [(3, 3, 1, 1), (2, 16, 1, 5), (1, 17, 6, 1), (5, 1, 2, 3), (2, 5, 7, 9), (9, 4, 8, 8), (1, 33, 3, 17)]


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def both(stride: int) -> list[nn.Module]:
    return [nn.MaxPool2d(3, stride, padding=1), nn.AvgPool2d(3, stride, padding=1, count_include_pad=False)]


def kinds(modules: list[nn.Module]) -> Any:
    return np.array([MAX if isinstance(module, nn.MaxPool2d) else AVERAGE for module in modules])


def sizes(x: Tensor, stride: int) -> Shape:
    B, C, H, W = x.shape
    return Shape(B, H, W, C, (H - 1) // stride + 1, (W - 1) // stride + 1, C, 0, W)


def pools(x: Tensor, modules: list[nn.Module]) -> tuple[list[Tensor], Any, Any]:
    """The results of pools of a map with its channels last, and of each picture its means and squared distances."""
    stride, shape = modules[0].stride, sizes(x, modules[0].stride)
    size = shape.B, shape.C, shape.rows, shape.columns
    results = [torch.empty(size, memory_format=torch.channels_last) for _ in modules]
    means, squares = np.empty((2, len(modules), shape.B, shape.C), np.float32)

    def work(first: int, last: int) -> None:
        scratch = workspace(compiled.scratch_size(shape))
        places = kinds(modules), x.data_ptr(), addresses(results)
        compiled.forward(*places, stride, shape, means, squares, scratch, first, last)

    in_parallel(work, shape.B)
    return results, means, squares


def backward(x: Tensor, modules: list[nn.Module], grads: list[Tensor]) -> Tensor:
    """The gradient for a map from those for the results of its pools, all with their channels last."""
    stride, shape, out = modules[0].stride, sizes(x, modules[0].stride), torch.empty_like(x)

    def work(first: int, last: int) -> None:
        scratch = workspace(compiled.scratch_size(shape))
        places = kinds(modules), x.data_ptr(), addresses(grads), out.data_ptr()
        compiled.backward(*places, stride, shape, scratch, first, last)

    in_parallel(work, shape.B)
    return out


def by_modules(x: Tensor, modules: list[nn.Module], grads: list[Tensor]) -> list[Tensor]:
    x = x.detach().double().contiguous().requires_grad_()
    results = [module(x) for module in modules]
    (grad,) = torch.autograd.grad(results, x, [grad.double() for grad in grads])
    return [*(result.detach() for result in results), grad]


def by_kernels(x: Tensor, modules: list[nn.Module], grads: list[Tensor]) -> list[Tensor]:
    x, *grads = (channels_last(each) for each in (x, *grads))
    return [*pools(x, modules)[0], backward(x, modules, grads)]


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
    results, means, squares = pools(channels_last(torch.randn(size, generator=generator) + 5), both(stride))
    pixels = results[0].shape[2] * results[0].shape[3]
    mean, variance = (torch.from_numpy(each) for each in joined(means, squares, pixels))
    for n, result in enumerate(results):
        known = torch.var_mean(result.double(), (0, 2, 3), correction=0)
        torch.testing.assert_close((variance[n], mean[n]), known, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_passes_as_through_the_modules(value, generator):
    x = torch.randn(2, 3, 6, 6, generator=generator)
    x[0, 1, 2, 3] = x[1, 2, :2] = x[1, :, 0, 0] = value
    for one, module in zip(pools(channels_last(x), both(1))[0], both(1), strict=True):
        torch.testing.assert_close(one, module(x), equal_nan=True)


def test_threads_leave_no_trace(generator):
    x, grads = torch.randn(7, 5, 6, 6, generator=generator), [torch.randn(7, 5, 3, 3, generator=generator)] * 2
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(by_kernels(x, both(2), grads))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))
