"""Depthwise convolution whose gradient for its input is as fast on a CPU as its forward pass.

PyTorch's gradients of a 5x5 or dilated depthwise convolution take 10 to 40 times as long as its forward pass. Here the
gradient for the input is a forward convolution; the gradient for the weight is still PyTorch's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import grad as stock

# PyTorch's own gradients, which come without types.
_stock_input_grad: Callable[..., Tensor] = stock.conv2d_input
_stock_weight_grad: Callable[..., Tensor] = stock.conv2d_weight


class _Window(NamedTuple):
    """How the kernel moves over the picture, and how far apart its taps are."""

    stride: int
    padding: int
    dilation: int


def depthwise(x: Tensor, weight: Tensor, *, stride: int, padding: int, dilation: int) -> Tensor:
    """The depthwise convolution of x: each channel with its own kernel, no bias.

    The result is ``F.conv2d(x, weight, None, stride, padding, dilation, groups=C)``, in the same memory format.
    Its gradients are the same up to rounding; for float32 on a CPU, the gradient for x is several times as fast.
    PyTorch's operations run for other devices or dtypes, under autocast or ``torch.compile``, and for a gradient that
    will be differentiated.

    Args:
        x: pictures, ``(B, C, H, W)``.
        weight: one square kernel for each channel, ``(C, 1, k, k)``.
        stride: step of the kernel, in pixels.
        padding: zeros around the picture, in pixels.
        dilation: distance between the taps of the kernel, in pixels.

    Raises:
        ValueError: if the weight is not one square kernel for each channel.

    >>> x = torch.ones(2, 3, 8, 8, requires_grad=True)
    >>> y = depthwise(x, torch.ones(3, 1, 3, 3), stride=2, padding=1, dilation=1)
    >>> y.shape
    torch.Size([2, 3, 4, 4])
    >>> y.sum().backward()
    >>> x.grad[0, 0, 0, :4]
    tensor([1., 2., 1., 2.])
    """
    if x.dim() != 4 or weight.dim() != 4 or weight.shape != (x.shape[1], 1, weight.shape[2], weight.shape[2]):
        raise ValueError(
            f"got x {tuple(x.shape)} and weight {tuple(weight.shape)}; expected (B, C, H, W) and (C, 1, k, k)."
        )
    window = _Window(stride, padding, dilation)
    if not _applies(x, weight, window):
        return F.conv2d(x, weight, None, stride, padding, dilation, groups=x.shape[1])
    apply: Callable[..., Tensor] = _Depthwise.apply
    return apply(x, weight, window)


def _applies(x: Tensor, weight: Tensor, window: _Window) -> bool:
    return (
        torch.is_grad_enabled()
        and all(t.device.type == "cpu" and t.dtype == torch.float32 for t in (x, weight))
        # PyTorch's gradients are fast for a 3x3 kernel without dilation, and so far for no other.
        and (weight.shape[-1] > 3 or window.dilation > 1)
        # The padding of the forward convolution that gives the gradient for x must not be negative.
        and window.padding <= window.dilation * (weight.shape[-1] - 1)
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


class _Depthwise(torch.autograd.Function):
    """PyTorch's forward pass with gradients of our own."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, window: _Window) -> Tensor:
        return F.conv2d(x, weight, None, *window, groups=x.shape[1])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, _Window], output: Tensor) -> None:
        x, weight, ctx.window = inputs
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        need_x, need_weight, _ = ctx.needs_input_grad
        how = {**ctx.window._asdict(), "groups": x.shape[1]}
        grad_x = grad_weight = None
        if need_x and torch.is_grad_enabled():  # this gradient will be differentiated too
            grad_x = _stock_input_grad(x.shape, weight, grad, **how)
        elif need_x:
            grad_x = _input_grad(x, weight, grad.contiguous(memory_format=torch.channels_last), ctx.window)
        if need_weight:
            grad_weight = _stock_weight_grad(x, weight.shape, grad, **how)
        return grad_x, grad_weight, None


def _input_grad(x: Tensor, weight: Tensor, grad: Tensor, window: _Window) -> Tensor:
    """The gradient for x, ``(B, C, H, W)``, as a forward convolution with the kernel rotated by 180 degrees."""
    B, C, H, W = x.shape
    stride, padding, dilation = window
    reach = dilation * (weight.shape[-1] - 1)
    if stride > 1:  # the results that the kernel skipped have zero gradient
        size = (B, C, H + 2 * padding - reach, W + 2 * padding - reach)
        dense = torch.empty(size, dtype=grad.dtype, memory_format=torch.channels_last).zero_()
        dense[:, :, ::stride, ::stride] = grad
        grad = dense
    result = F.conv2d(grad, weight.flip(2, 3), None, 1, reach - padding, dilation, groups=C)
    # In the memory format of x, because the operation before is slow if its result and its gradient differ in it.
    return result if x.is_contiguous(memory_format=torch.channels_last) else result.contiguous()
