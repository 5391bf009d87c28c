import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from diffnas.backends.norms import Statistics, channels_last
from diffnas.parallel import alone

pytest.importorskip("numba")

from diffnas.backends.cpu.launches import Fold, normalized

# B, C, H, W: no lane count divides them; one pixel a picture; rows of one pixel.
SHAPES = [(4, 8, 8, 8), (3, 5, 7, 3), (5, 3, 1, 1), (2, 40, 5, 1), (64, 1, 2, 2)]


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def by_kernels(x: Tensor, grad: Tensor) -> list[Tensor]:
    """A batch norm's result, and the gradient for its input."""
    variance, mean = torch.var_mean(x.double(), (0, 2, 3), correction=0)
    fold, leaf = Fold(), channels_last(x).requires_grad_()
    out = normalized(
        leaf,
        Statistics(mean[None], variance[None], x.numel() // x.shape[1]),
        fold,
        torch.ones(x.shape[1]),
        torch.zeros(x.shape[1]),
        eps=1e-5,
    )
    (sent,) = torch.autograd.grad(out, leaf, grad)
    scale, slope, shift = (row.float().view(1, -1, 1, 1) for row in fold.factors(mean))
    return [out.detach(), scale * sent + slope * x + shift]


def by_pytorch(x: Tensor, grad: Tensor) -> list[Tensor]:
    x = x.detach().requires_grad_()
    out = F.batch_norm(x, None, None, training=True)
    return [out.detach(), *torch.autograd.grad(out, x, grad)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("offset", [0, 30])
def test_batch_norm_rounds_as_little_as_stock(shape, offset, generator):
    x, grad = torch.randn(shape, generator=generator) + offset, torch.randn(shape, generator=generator)
    exact = by_pytorch(x.double(), grad.double())
    for ours, stock, right in zip(by_kernels(x, grad), by_pytorch(x, grad), exact, strict=True):
        assert (ours - right).norm() <= 2 * (stock - right).norm() + 1e-6 * right.norm()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_threads_leave_no_trace(shape, generator):
    x, grad = torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)
    results = []
    for threads in (1, 3):
        with alone(threads):
            results.append(by_kernels(x, grad))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
