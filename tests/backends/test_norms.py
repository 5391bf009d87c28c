import pytest
import torch
from sums_reference import mixed_sums as in_pytorch
from torch import Tensor, nn

from diffnas.backends.norms import update_running


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("normed", [(True, True, True), (True, False, True), (False, False, False)], ids=str)
@pytest.mark.parametrize("added", [0, 2])
def test_gradients_of_a_mixed_sum_are_right(normed, added, generator):
    rows = 1 if added else 2
    inputs = [torch.randn(2, 3, 2, 3, generator=generator, dtype=torch.float64) for _ in range(3 + added)]
    mix = torch.randn(rows, 3, generator=generator, dtype=torch.float64)

    def sums(mix: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        return in_pytorch(tensors[:3], mix, normed=normed, added=tensors[3:])[0]

    assert torch.autograd.gradcheck(sums, tuple(t.requires_grad_() for t in (mix, *inputs)))


def test_batch_norm_of_one_pixel_is_an_error():
    x = torch.ones(1, 3, 1, 1)
    with pytest.raises(ValueError, match=r"more than one value for each channel to train on, got \(1, 3, 1, 1\)"):
        in_pytorch([x], torch.ones(1, 1), normed=[True])


@pytest.mark.parametrize("other", [torch.ones(2, 3, 2, 1), torch.ones(1, 3, 2, 2), torch.ones(2, 3, 2, 2).double()])
@pytest.mark.parametrize("added", [False, True])
def test_tensors_of_several_shapes_or_dtypes_are_an_error(other, added):
    inputs = [torch.ones(2, 3, 2, 2)] if added else [torch.ones(2, 3, 2, 2), other]
    with pytest.raises(ValueError, match=r"must have one shape and dtype, got \(2, 3, 2, 2\) in torch.float32 and"):
        in_pytorch(inputs, torch.ones(1, len(inputs)), normed=[True] * len(inputs), added=[other] if added else [])


def test_a_gradient_that_is_the_input_itself_is_understood(generator):
    x = torch.randn(3, 4, 5, 2, generator=generator).contiguous(memory_format=torch.channels_last)
    mix = torch.tensor([[2.0]], requires_grad=True)
    results = []
    for sent in (x, x.clone()):
        leaf = x.clone().requires_grad_() if sent is not x else x.requires_grad_()
        (total,), _ = in_pytorch([leaf + 0 if sent is not x else leaf], mix, normed=[True])
        results.append(torch.autograd.grad(total, (mix, leaf), sent.detach()))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


def test_running_averages_move_as_batch_norm_moves_them(generator):
    norms = [nn.BatchNorm2d(3, affine=False, momentum=momentum) for momentum in (0.1, 0.1, 0.3)]
    twins = [nn.BatchNorm2d(3, affine=False, momentum=norm.momentum) for norm in norms]
    inputs = [torch.randn(2, 3, 4, 4, generator=generator) + n for n in range(3)]
    _, statistics = in_pytorch(inputs, torch.ones(1, 3), normed=[True] * 3)
    update_running(norms, statistics, [0, 1, 2])
    for norm, twin, x in zip(norms, twins, inputs, strict=True):
        twin(x)
        for name, buffer in twin.named_buffers():
            torch.testing.assert_close(getattr(norm, name), buffer)
