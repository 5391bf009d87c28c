"""Batch norm, mixing and summing of many operations in few passes over memory on a CPU, compiled by Numba.

Import this module only where it is used, optional. Pictures have their channels last and
lie without gaps, so a picture row is a vector of ``W * C`` numbers; sums over pixels are kept in one such vector
and folded onto the channels at the end, which is fast for any number of channels and rounds little. Every
picture has its own sums, added up elsewhere in one order: the number of threads leaves no trace.

Many tensors are passed as one array of their addresses, so that one compiled function serves any number of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffnas.nets.compiled.address import floats
from diffnas.nets.compiled.vectors import compiled

Array = NDArray[np.float32]
Addresses = NDArray[np.int64]
Flags = NDArray[np.bool_]

@compiled
def _row(address: int, start: int, size: int) -> Any:
    return floats(address + 4 * start, size)


@compiled
def _widen(narrow: Array, wide: Array) -> None:
    """Repeat a value for each channel along a row."""
    C = len(narrow)
    for w in range(len(wide) // C):
        for c in range(C):
            wide[w * C + c] = narrow[c]


@compiled
def _fold(wide: Array, narrow: Array) -> None:
    """Add up a row by channel."""
    C = len(narrow)
    narrow[:] = 0
    for w in range(len(wide) // C):
        for c in range(C):
            narrow[c] += wide[w * C + c]


@compiled
def moments(inputs: Addresses, means: Array, squares: Array, H: int, W: int, first: int, last: int) -> None:
    """Write each picture's channel means, and the sums of squared distances to them.

    Args:
        inputs: K tensors ``(B, H, W, C)``.
        means: ``(K, B, C)``, written for the pictures from ``first`` up to ``last``.
        squares: ``(K, B, C)``, likewise.
        H: height of the pictures.
        W: their width.
        first: the first picture to handle.
        last: one past the last picture to handle.
    """
    K, _, C = means.shape
    L = W * C
    sums, center = np.empty(L, np.float32), np.empty(L, np.float32)
    for k in range(K):
        for b in range(first, last):
            sums[:] = 0
            for h in range(H):
                x = _row(inputs[k], (b * H + h) * L, L)
                for i in range(L):
                    sums[i] += x[i]
            _fold(sums, means[k, b])
            means[k, b] /= np.float32(H * W)
            _widen(means[k, b], center)
            sums[:] = 0
            for h in range(H):
                x = _row(inputs[k], (b * H + h) * L, L)
                for i in range(L):
                    sums[i] += (x[i] - center[i]) * (x[i] - center[i])
            _fold(sums, squares[k, b])


@compiled
def combine(
    inputs: Addresses, outputs: Addresses, scale: Array, shift: Array, H: int, W: int, first: int, last: int
) -> None:
    """Write output t = shift t + the sum over k of scale tk times input k, by channel.

    Args:
        inputs: K tensors ``(B, H, W, C)``.
        outputs: T tensors ``(B, H, W, C)``, written for the pictures from ``first`` up to ``last``.
        scale: ``(T, K, C)``.
        shift: ``(T, C)``.
        H: height of the pictures.
        W: their width.
        first: the first picture to handle.
        last: one past the last picture to handle.
    """
    T, K, C = scale.shape
    L = W * C
    wide_scale, wide_shift = np.empty((T, K, L), np.float32), np.empty((T, L), np.float32)
    used = np.empty((T, K), np.bool_)
    for t in range(T):
        _widen(shift[t], wide_shift[t])
        for k in range(K):
            _widen(scale[t, k], wide_scale[t, k])
            used[t, k] = np.any(scale[t, k] != 0)
    for row in range(first * H, last * H):
        for t in range(T):
            out = _row(outputs[t], row * L, L)
            for i in range(L):
                out[i] = wide_shift[t, i]
            for k in range(K):
                if used[t, k]:
                    x = _row(inputs[k], row * L, L)
                    for i in range(L):
                        out[i] += wide_scale[t, k, i] * x[i]


@compiled
def reduce(
    grads: Addresses,
    inputs: Addresses,
    means: Array,
    wanted: Flags,
    totals: Array,
    products: Array,
    H: int,
    W: int,
    first: int,
    last: int,
) -> None:
    """Write each picture's sums of grad t, and of grad t times input k less its mean.

    Args:
        grads: T tensors ``(B, H, W, C)``.
        inputs: K tensors ``(B, H, W, C)``.
        means: ``(K, C)``.
        wanted: which products are to be made, ``(T, K)``; the others are left as they are.
        totals: ``(T, B, C)``, written for the pictures from ``first`` up to ``last``.
        products: ``(T, K, B, C)``, likewise.
        H: height of the pictures.
        W: their width.
        first: the first picture to handle.
        last: one past the last picture to handle.
    """
    T, K = wanted.shape
    C = means.shape[1]
    L = W * C
    center, sums = np.empty((K, L), np.float32), np.empty(L, np.float32)
    for k in range(K):
        _widen(means[k], center[k])
    for b in range(first, last):
        for t in range(T):
            sums[:] = 0
            for h in range(H):
                grad = _row(grads[t], (b * H + h) * L, L)
                for i in range(L):
                    sums[i] += grad[i]
            _fold(sums, totals[t, b])
            for k in range(K):
                if not wanted[t, k]:
                    continue
                sums[:] = 0
                for h in range(H):
                    grad = _row(grads[t], (b * H + h) * L, L)
                    x = _row(inputs[k], (b * H + h) * L, L)
                    for i in range(L):
                        sums[i] += grad[i] * (x[i] - center[k, i])
                _fold(sums, products[t, k, b])


@compiled
def spread(
    grads: Addresses,
    inputs: Addresses,
    outputs: Addresses,
    scale: Array,
    slope: Array,
    shift: Array,
    normed: Flags,
    H: int,
    W: int,
    first: int,
    last: int,
) -> None:
    """Write output k = shift k + slope k times input k + the sum over t of scale tk times grad t, by channel.

    Args:
        grads: T tensors ``(B, H, W, C)``.
        inputs: K tensors ``(B, H, W, C)``.
        outputs: K tensors ``(B, H, W, C)``, written for the pictures from ``first`` up to ``last``.
        scale: ``(T, K, C)``.
        slope: ``(K, C)``.
        shift: ``(K, C)``.
        normed: ``(K,)``; where False, shift and slope are 0 and the input is not read.
        H: height of the pictures.
        W: their width.
        first: the first picture to handle.
        last: one past the last picture to handle.
    """
    T, K, C = scale.shape
    L = W * C
    wide_scale = np.empty((T, K, L), np.float32)
    wide_slope, wide_shift = np.empty((K, L), np.float32), np.empty((K, L), np.float32)
    used = np.empty((T, K), np.bool_)
    for k in range(K):
        _widen(slope[k], wide_slope[k])
        _widen(shift[k], wide_shift[k])
        for t in range(T):
            _widen(scale[t, k], wide_scale[t, k])
            used[t, k] = np.any(scale[t, k] != 0)
    for row in range(first * H, last * H):
        for k in range(K):
            out = _row(outputs[k], row * L, L)
            grad = _row(grads[0], row * L, L)
            if normed[k]:
                x = _row(inputs[k], row * L, L)
                for i in range(L):
                    out[i] = wide_shift[k, i] + wide_slope[k, i] * x[i] + wide_scale[0, k, i] * grad[i]
            else:
                for i in range(L):
                    out[i] = wide_scale[0, k, i] * grad[i]
            for t in range(1, T):
                if used[t, k]:
                    grad = _row(grads[t], row * L, L)
                    for i in range(L):
                        out[i] += wide_scale[t, k, i] * grad[i]
