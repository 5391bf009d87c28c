"""Batch norm, mixing and summing of many operations in few passes over memory on a CPU, compiled by Numba.

Import this module only where it is used, because it needs Numba. Pictures have their channels last and no gaps, so a
picture is one row of numbers. Values for each channel are repeated along it with a *period*, the least common multiple
of the channels and the lanes of a vector. Every picture has its own sums, which are added up elsewhere in a fixed
order, so that results do not depend on the number of threads.

Many tensors are passed as one array of their addresses, so that one compiled function serves any number of them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffnas.backends.cpu.kernels.address import address_of, floats
from diffnas.backends.cpu.kernels.compiler import compiled, part
from diffnas.backends.cpu.kernels.llvm import LANES
from diffnas.backends.cpu.kernels.vectors import load, load_part, multiply_add, splat, store, store_part, zeros

Array = NDArray[np.float32]
Doubles = NDArray[np.float64]
Addresses = NDArray[np.int64]
Flags = NDArray[np.bool_]

RUN = 64  # vectors of a run; in a long sum, each run is summed by itself first

PIECE = 1 << 14
"""Numbers of a picture that are read from each tensor in turn: so few that a piece stays in the L2 cache until all
tensors were read, and so many that memory, which is slow where a piece begins, is fast on the whole."""

# In place of an address, which is above 0: every factor is 1.
ONE = 0


@part
def period(channels: int) -> int:
    """The least common multiple of the channels and the lanes of a vector."""
    return channels // math.gcd(channels, LANES) * LANES


@part
def _piece(size: int) -> int:
    """``PIECE``, rounded to a whole number of periods."""
    return max(1, PIECE // size) * size


@part
def repeated(narrow: Array) -> Array:
    """Each row of ``(..., C)``, repeated along a period."""
    size = period(narrow.shape[-1])
    flat = narrow.reshape(-1, narrow.shape[-1])
    wide = np.empty((len(flat), size), np.float32)
    for row in range(len(flat)):
        for at in range(size):
            wide[row, at] = flat[row, at % flat.shape[1]]
    return wide


@part
def _plus(part: Any, x: int, middles: Any, y: int, at: int) -> Any:
    """``part`` plus one more term of ``_total``."""
    value = load(x) - middles
    if y == ONE:
        return part + value
    return multiply_add(value, load(y + at), part)


@part
def _total(x: int, middle: int, y: int, size: int, count: int) -> Any:
    """The sum of ``(x - middle) * y`` over every ``size``-th vector of a picture; ``y`` is ONE or an address.

    Numbers from the ``count``-th on are not part of the picture.
    """
    total, middles = zeros(), load(middle)
    whole = max(0, (count - LANES) // size + 1)
    # In two levels, for small rounding errors.
    step = 4 * size
    for begin in range(0, whole, RUN):
        at, end = begin * step, min(whole, begin + RUN) * step
        first, second = zeros(), zeros()  # two sums, so that successive additions need not wait for each other
        while at + step < end:
            first = _plus(first, x + at, middles, y, at)
            second = _plus(second, x + at + step, middles, y, at + step)
            at += 2 * step
        if at < end:
            first = _plus(first, x + at, middles, y, at)
        total = total + (first + second)
    rest = count - whole * size
    if rest > 0:
        at = 4 * whole * size
        value = load_part(x + at, rest) - load_part(middle, rest)
        factor = splat(np.float32(1)) if y == ONE else load_part(y + at, rest)
        total = multiply_add(value, factor, total)
    return total


@part
def _folded(sums: Array, out: Array) -> None:
    """Write the sum of each channel, from sums along a period."""
    C = len(out)
    out[:] = 0
    for at in range(len(sums)):
        out[at % C] += sums[at]


@part
def joined(means: Array, squares: Array, pixels: int) -> tuple[Doubles, Doubles]:
    """Mean and (biased) variance over a batch, ``(K, C)``.

    Args:
        means: the means of each picture, ``(K, B, C)``.
        squares: each picture's sums of squared deviations from its means, ``(K, B, C)``.
        pixels: how many pixels a picture has.
    """
    K, B, C = means.shape
    mean, variance = np.zeros((K, C)), np.zeros((K, C))
    for k in range(K):
        for b in range(B):
            for c in range(C):
                mean[k, c] += np.float64(means[k, b, c]) / B
        for b in range(B):
            for c in range(C):
                apart = means[k, b, c] - mean[k, c]
                variance[k, c] += (np.float64(squares[k, b, c]) / pixels + apart * apart) / B
    return mean, variance


@part
def _add_four(out: int, start: int, x: Addresses, factors: Addresses, size: int, numbers: int, onto: bool) -> None:
    """Write the sum of four pictures times their factors, plus ``start`` for each channel, or plus ``out`` itself."""
    for base in range(0, 4 * numbers, 4 * size):
        for v in range(base, min(4 * numbers, base + 4 * size), 4 * LANES):
            at, count = v - base, numbers - v // 4
            if count >= LANES:
                total = load(out + v) if onto else load(start + at)
                total = multiply_add(load(x[0] + v), load(factors[0] + at), total)
                total = multiply_add(load(x[1] + v), load(factors[1] + at), total)
                total = multiply_add(load(x[2] + v), load(factors[2] + at), total)
                store(multiply_add(load(x[3] + v), load(factors[3] + at), total), out + v)
            else:
                total = load_part(out + v, count) if onto else load(start + at)
                for i in range(4):
                    total = multiply_add(load_part(x[i] + v, count), load(factors[i] + at), total)
                store_part(total, out + v, count)


@compiled
def combine(
    out: int, inputs: Addresses, scale: Array, shift: Array, shares: Addresses, own: Array, numbers: int, first: int,
    last: int,
) -> None:  # fmt: skip
    """Write ``out = shift + sum_k share[k] * (scale[k] * inputs[k] + own[k])``, by channel.

    Args:
        out: a tensor ``(B, H, W, C)``, written for the pictures from ``first`` up to ``last``.
        inputs: K tensors ``(B, H, W, C)``; 0 for none.
        scale: ``(K, C)``.
        shift: ``(C,)``.
        shares: K arrays with a number for each picture; or none, if all shares are 1.
        own: ``(K, C)``; without shares, it is not read.
        numbers: how many numbers a picture has, ``H * W * C``.
        first: the first picture to handle.
        last: one past the last picture to handle.
    """
    K, C = scale.shape
    size = period(C)
    piece = _piece(size)
    wide_shift, wide_scale = repeated(shift.reshape(1, C)), repeated(scale)
    start, nothing = address_of(wide_shift), np.zeros(size, np.float32)
    x, factors = np.empty(4, np.int64), np.empty(4, np.int64)
    for b in range(first, last):
        if len(shares):
            _share(shares, b, scale, shift, own, wide_scale, wide_shift[0])
        for begin in range(0, numbers, piece):
            count, at = min(piece, numbers - begin), 4 * (b * numbers + begin)
            taken, onto = 0, False
            for k in range(K):
                if inputs[k]:
                    x[taken], factors[taken] = inputs[k] + at, address_of(wide_scale[k])
                    taken += 1
                if taken == 4 or (k == K - 1 and (taken or not onto)):
                    for i in range(taken, 4):  # fewer than four are left: fill up with factors of zero
                        x[i], factors[i] = x[0] if taken else out + at, address_of(nothing)
                    if not taken:
                        _fill(out + at, start, size, count)
                    else:
                        _add_four(out + at, start, x, factors, size, count, onto)
                    taken, onto = 0, True


@part
def _share(
    shares: Addresses, b: int, scale: Array, shift: Array, own: Array, wide_scale: Array, wide_shift: Array
) -> None:
    """Write the scales of picture ``b`` with its shares, and the sum of its offsets, both repeated along a period.

    Each share multiplies the tensor's scale and its own offset in ``own``, but not ``shift``.
    """
    K, C = scale.shape
    for begin in range(0, len(wide_shift), C):
        for c in range(C):
            wide_shift[begin + c] = shift[c]
        for k in range(K):
            share = floats(shares[k], b + 1)[b]
            for c in range(C):
                wide_scale[k, begin + c] = share * scale[k, c]
                wide_shift[begin + c] += share * own[k, c]


@part
def _fill(out: int, start: int, size: int, numbers: int) -> None:
    for at in range(0, numbers, LANES):
        store_part(load(start + 4 * (at % size)), out + 4 * at, numbers - at)


@compiled
def reduce(
    grads: Addresses, inputs: Addresses, means: Array, wanted: Flags, totals: Array, products: Array, numbers: int,
    first: int, last: int,
) -> None:  # fmt: skip
    """Write each picture's ``sum(grads[t])`` and ``sum(grads[t] * (inputs[k] - means[k]))``, by channel.

    Args:
        grads: T tensors ``(B, H, W, C)``.
        inputs: K tensors ``(B, H, W, C)``.
        means: ``(K, C)``.
        wanted: ``(T, K)``; where False, the product is left as it is.
        totals: ``(T, B, C)``, written for the pictures from ``first`` up to ``last``.
        products: ``(T, K, B, C)``; see ``totals``.
        numbers: how many numbers a picture has, ``H * W * C``.
        first: the first picture to handle.
        last: one past the last picture to handle.
    """
    K, size = len(inputs), period(totals.shape[2])
    centers = repeated(means)
    sums, nothing = np.empty((K + 1, size), np.float32), np.zeros(size, np.float32)
    piece = _piece(size)
    for b in range(first, last):
        for t in range(len(grads)):
            sums[:] = 0
            for begin in range(0, numbers, piece):
                count, start = min(piece, numbers - begin), 4 * (b * numbers + begin)
                grad = grads[t] + start
                for v in range(0, size, LANES):
                    place = address_of(sums[K]) + 4 * v
                    part = _total(grad + 4 * v, address_of(nothing), ONE, size, count - v)
                    store(load(place) + part, place)
                for k in range(K):
                    if wanted[t, k]:
                        x = inputs[k] + start
                        for v in range(0, size, LANES):
                            place, center = address_of(sums[k]) + 4 * v, address_of(centers[k]) + 4 * v
                            part = _total(x + 4 * v, center, grad + 4 * v, size, count - v)
                            store(load(place) + part, place)
            _folded(sums[K], totals[t, b])
            for k in range(K):
                if wanted[t, k]:
                    _folded(sums[k], products[t, k, b])


@compiled
def join(parts: Addresses, out: int, pixels: int, C: int, first: int, last: int) -> None:
    """Concatenate maps of C channels along their channels, for the pictures from ``first`` up to ``last``."""
    K = len(parts)
    for p in range(first * pixels, last * pixels):
        for k in range(K):
            for c in range(0, C, LANES):
                value = load_part(parts[k] + 4 * (p * C + c), C - c)
                store_part(value, out + 4 * ((p * K + k) * C + c), C - c)


@compiled
def divide(joined: int, parts: Addresses, pixels: int, C: int, first: int, last: int) -> None:
    """The inverse of ``join``."""
    K = len(parts)
    for p in range(first * pixels, last * pixels):
        for k in range(K):
            for c in range(0, C, LANES):
                value = load_part(joined + 4 * ((p * K + k) * C + c), C - c)
                store_part(value, parts[k] + 4 * (p * C + c), C - c)


@compiled
def move(running: Addresses, values: Doubles, rate: float) -> None:
    """Move N running averages, each ``(C,)`` at its address, towards ``values``, ``(N, C)``, by a rate."""
    by = np.float32(rate)
    for n in range(len(running)):
        average = floats(running[n], values.shape[1])
        for c in range(values.shape[1]):
            average[c] += by * (np.float32(values[n, c]) - average[c])
