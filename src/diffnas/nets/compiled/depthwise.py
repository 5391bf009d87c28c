"""The weight gradient of a depthwise convolution on its own, for Numba."""

from __future__ import annotations

import numpy as np

from diffnas.nets.compiled.buffer import Floats, Shape, clear, filled, widen
from diffnas.nets.compiled.products import depthwise_weights
from diffnas.nets.compiled.vectors import compiled


@compiled
def weight_grad(
    x: int, grad: int, by_picture: Floats, shape: Shape, kernel: int, stride: int, dilation: int, first: int, last: int
) -> None:
    """Write the weight gradient of each picture from ``first`` up to ``last``.

    Args:
        x: pictures, ``(B, H, W, C)``.
        grad: the gradient for the convolution's result, ``(B, H', W', C)``.
        by_picture: the result, ``(B, k * k, full)``; its sum over the pictures is the gradient for the weight.
        shape: the sizes; the margin is the padding.
        kernel: as in the convolution.
        stride: as in the convolution.
        dilation: as in the convolution.
        first: the first picture to handle.
        last: one past the last picture to handle.
    """
    C, full, pixels = shape.C, filled(shape.C), shape.rows * shape.columns
    buffered = (shape.H + 2 * shape.margin) * shape.pitch * full
    memory = np.empty(buffered + pixels * full, np.float32)
    padded, wide = memory.ctypes.data, memory[buffered:].ctypes.data
    clear(padded, buffered)
    for b in range(first, last):
        widen(x + 4 * b * shape.H * shape.W * C, padded, shape.H, shape.W, C, shape.pitch, shape.margin)
        widen(grad + 4 * b * pixels * C, wide, shape.rows, shape.columns, C, shape.columns, 0)
        by_picture[b] = 0
        depthwise_weights(
            by_picture[b].ctypes.data, padded, shape.pitch, wide, shape.columns, shape.rows, shape.columns, full,
            kernel, dilation, stride,
        )  # fmt: skip
