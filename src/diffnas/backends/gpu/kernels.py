"""Triton kernels of mixed sums, for maps that lie in memory as ``(B, H, W, C)``.

A kernel for several maps takes a table of their addresses, a tuple of int64, so that one launch serves all of them. A
tuple is part of the launch: no memory has to be written before it, and a CUDA graph keeps it.

A program computes a tile of pixels with all channels; ``CHANNELS`` is their number rounded up to a power of two. Tiles
are on the first axis of a grid, because the others have at most 65,535 programs.

Sizes are constants of a kernel, which is compiled for each of them: so the compiler can prove that 4 channels lie
together, and loads them at once.
"""

# Triton compiles these functions; they have no types that a checker knows.
# mypy: ignore-errors

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def map_of(table, k, C: tl.constexpr):
    """The map at a place of a table of addresses."""
    address = table[0]
    for place in tl.static_range(1, len(table)):
        address = tl.where(k == place, table[place], address)
    x = address.to(tl.pointer_type(tl.float32))
    if C % 4 == 0:
        # True of memory as PyTorch gives it, and of each map in it. Without it, a kernel loads 4 bytes at a time.
        x = tl.multiple_of(x, 16)
    return x


@triton.jit
def with_moments(values, mask, count, mean, square, before):
    """The moments of ``before`` pixels and of ``count`` more; ``values`` is 0 where ``mask`` is false."""
    count = count.to(tl.float32)
    own = tl.sum(values, 0) / count
    off = tl.where(mask, values - own[None, :], 0.0)
    # Chan, Golub & LeVeque (1979): join the moments of two parts without cancellation.
    away, total = own - mean, before + count
    square += tl.sum(off * off, 0) + away * away * (before * count / total)
    return mean + away * (count / total), square, total


@triton.jit
def moments(table, which, means, squares, pixels, chunk, C: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr):
    """For some maps and S chunks of pixels: the mean, and the sum of squared deviations from it, ``(maps, S, C)``.

    ``which`` has the places of these maps in the table.
    """
    k, s = tl.program_id(0), tl.program_id(1)
    x = map_of(table, tl.load(which + k), C)
    channel = tl.arange(0, CHANNELS)
    inside = channel < C
    mean = tl.zeros((CHANNELS,), tl.float32)
    square = tl.zeros((CHANNELS,), tl.float32)
    first = s * chunk
    end = tl.minimum(first + chunk, pixels)
    before = 0.0
    for start in range(first, end, PIXELS):
        pixel = start + tl.arange(0, PIXELS)
        mask = (pixel < end)[:, None] & inside[None, :]
        values = tl.load(x + pixel[:, None] * C + channel[None, :], mask=mask, other=0.0)
        mean, square, before = with_moments(values, mask, tl.minimum(PIXELS, end - start), mean, square, before)
    place = (k * tl.num_programs(1) + s) * C + channel
    tl.store(means + place, mean, mask=inside)
    tl.store(squares + place, square, mask=inside)


@triton.jit
def _follow(buffer, value, rate, channel, inside):
    """Move a running average towards a value."""
    running = tl.load(buffer).to(tl.pointer_type(tl.float32)) + channel
    before = tl.load(running, mask=inside, other=0.0)
    tl.store(running, before + rate * (value - before), mask=inside)


@triton.jit(do_not_specialize=["pixels", "chunk", "chunks"])
def join(
    means, squares, rows, ends, buffers, momentum, mean, variance, rate, shift, pixels, chunk, chunks, eps, unbiased,
    C: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The batch norm of each of K maps, from the moments of its chunks: four tables, ``(K, C)``.

    They are the mean, the biased variance, and the batch norm as a linear map: ``rate`` times a number, plus ``shift``.
    ``rows`` has the row of each map in ``means``; a map with -1 has no batch norm, and its linear map changes nothing.

    The buffers of the batch norms are updated as their own forward passes would. ``buffers`` has three addresses for
    each batch norm: of its mean, its variance and its number of batches; ``momentum`` has its rate. The batch norms of
    map k are those from ``ends[k]`` to ``ends[k + 1]``. ``unbiased`` times a variance is the unbiased one.
    """
    k = tl.program_id(0)
    row = tl.load(rows + k)
    channel = tl.arange(0, CHANNELS)
    inside = channel < C
    total = tl.zeros((CHANNELS,), tl.float64)
    square = tl.zeros((CHANNELS,), tl.float64)
    before = tl.zeros((CHANNELS,), tl.float64)
    if row >= 0:
        for s in range(chunks):
            place = (row * chunks + s) * C + channel
            count = (tl.minimum((s + 1) * chunk, pixels) - s * chunk).to(tl.float64)
            away = tl.load(means + place, mask=inside, other=0.0).to(tl.float64) - total
            joint = before + count
            square += tl.load(squares + place, mask=inside, other=0.0).to(tl.float64)
            square += away * away * (before * count / joint)
            total += away * (count / joint)
            before = joint
    spread = tl.where(row >= 0, square / pixels, 1.0)
    factor = 1.0 / tl.sqrt(tl.where(row >= 0, spread + eps, 1.0))
    own = k * C + channel
    tl.store(mean + own, total.to(tl.float32), mask=inside)
    tl.store(variance + own, spread.to(tl.float32), mask=inside)
    tl.store(rate + own, factor.to(tl.float32), mask=inside)
    tl.store(shift + own, (-total * factor).to(tl.float32), mask=inside)
    for n in range(tl.load(ends + k), tl.load(ends + k + 1)):
        speed = tl.load(momentum + n)
        _follow(buffers + 3 * n, total.to(tl.float32), speed, channel, inside)
        _follow(buffers + 3 * n + 1, (spread * unbiased).to(tl.float32), speed, channel, inside)
        batches = tl.load(buffers + 3 * n + 2).to(tl.pointer_type(tl.int64))
        tl.store(batches, tl.load(batches) + 1)


@triton.jit(do_not_specialize=["K", "added"])
def mixed(table, mix, rate, shift, pixels, K, added, C: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr):
    """T weighted sums of K maps after their batch norms, plus maps that are added to each of them.

    The table has the K maps, the maps that are added, and the T results; ``mix`` is ``(T, K)``.
    """
    tile, t = tl.program_id(0), tl.program_id(1)
    pixel = tile * PIXELS + tl.arange(0, PIXELS)
    channel = tl.arange(0, CHANNELS)
    inside = channel < C
    mask = (pixel < pixels)[:, None] & inside[None, :]
    place = pixel[:, None] * C + channel[None, :]
    total = tl.zeros((PIXELS, CHANNELS), tl.float32)
    for k in range(K):
        weight = tl.load(mix + t * K + k)
        factor = weight * tl.load(rate + k * C + channel, mask=inside, other=0.0)
        begin = weight * tl.load(shift + k * C + channel, mask=inside, other=0.0)
        x = map_of(table, k, C)
        total += factor[None, :] * tl.load(x + place, mask=mask, other=0.0) + begin[None, :]
    for k in range(added):
        x = map_of(table, K + k, C)
        total += tl.load(x + place, mask=mask, other=0.0)
    out = map_of(table, K + added + t, C)
    tl.store(out + place, total, mask=mask)


@triton.jit(do_not_specialize=["grads", "K"])
def reduce(
    table, mean, sums, pixels, chunk, grads, K,
    PAIRED: tl.constexpr, C: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """For each of P pairs ``(grad, input)`` and S chunks of pixels: ``sum(grad)`` and ``sum(grad * (input - mean))``.

    The table has the gradients and the K inputs. The pairs are each gradient with each input or, if ``PAIRED``, each
    input with its own gradient. Both sums are by channel, ``(P, S, 2, C)``.
    """
    p, s = tl.program_id(0), tl.program_id(1)
    k = p % K
    grad = map_of(table, p if PAIRED else p // K, C)
    x = map_of(table, grads + k, C)
    channel = tl.arange(0, CHANNELS)
    inside = channel < C
    middle = tl.load(mean + k * C + channel, mask=inside, other=0.0)
    total = tl.zeros((PIXELS, CHANNELS), tl.float32)
    product = tl.zeros((PIXELS, CHANNELS), tl.float32)
    first = s * chunk
    end = tl.minimum(first + chunk, pixels)
    for start in range(first, end, PIXELS):
        pixel = start + tl.arange(0, PIXELS)
        mask = (pixel < end)[:, None] & inside[None, :]
        place = pixel[:, None] * C + channel[None, :]
        sent = tl.load(grad + place, mask=mask, other=0.0)
        total += sent
        product += sent * (tl.load(x + place, mask=mask, other=0.0) - middle[None, :])
    place = (p * tl.num_programs(1) + s) * 2 * C + channel
    tl.store(sums + place, tl.sum(total, 0), mask=inside)
    tl.store(sums + place + C, tl.sum(product, 0), mask=inside)


@triton.jit(do_not_specialize=["pixels", "chunks", "T", "K"])
def settle(
    sums, mix, mean, rate, normed, factors, shift, grad_mix, pixels, chunks, T, K,
    C: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The backward pass of ``mixed`` for its small tensors, from the sums of ``reduce``.

    For each input k: its gradient is ``shift + factors[0] * input + sum_t factors[1 + t] * grads[t]``, with ``shift``,
    ``(K, C)``, and ``factors``, ``(K, 1 + T, C)``. The gradient for ``mix`` is ``(T, K)``.
    """
    k = tl.program_id(0)
    channel = tl.arange(0, CHANNELS)
    inside = channel < C
    own = tl.load(rate + k * C + channel, mask=inside, other=0.0).to(tl.float64)
    middle = tl.load(mean + k * C + channel, mask=inside, other=0.0).to(tl.float64)
    shared = tl.zeros((CHANNELS,), tl.float64)
    along = tl.zeros((CHANNELS,), tl.float64)
    into = factors + k * (1 + T) * C + channel
    for t in range(T):
        weight = tl.load(mix + t * K + k).to(tl.float64)
        total = tl.zeros((CHANNELS,), tl.float64)
        product = tl.zeros((CHANNELS,), tl.float64)
        for s in range(chunks):
            place = ((t * K + k) * chunks + s) * 2 * C + channel
            total += tl.load(sums + place, mask=inside, other=0.0).to(tl.float64)
            product += tl.load(sums + place + C, mask=inside, other=0.0).to(tl.float64)
        product *= own
        tl.store(grad_mix + t * K + k, tl.sum(product, 0).to(tl.float32))
        tl.store(into + (1 + t) * C, (weight * own).to(tl.float32), mask=inside)
        shared += weight * total
        along += weight * product
    is_normed = tl.load(normed + k).to(tl.float64)
    slope = -own * own * along / pixels * is_normed
    tl.store(into, slope.to(tl.float32), mask=inside)
    begin = -(own * shared / pixels * is_normed + slope * middle)
    tl.store(shift + k * C + channel, begin.to(tl.float32), mask=inside)


@triton.jit(do_not_specialize=["K", "T"])
def spread(
    table, normed, factors, shift, pixels, K, T, C: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr
):  # fmt: skip
    """The gradient for each input, as ``settle`` defines it.

    The table has the T gradients, the K inputs and the K results.
    """
    tile, k = tl.program_id(0), tl.program_id(1)
    pixel = tile * PIXELS + tl.arange(0, PIXELS)
    channel = tl.arange(0, CHANNELS)
    inside = channel < C
    mask = (pixel < pixels)[:, None] & inside[None, :]
    place = pixel[:, None] * C + channel[None, :]
    own = factors + k * (1 + T) * C + channel
    x = map_of(table, T + k, C)
    total = tl.zeros((PIXELS, CHANNELS), tl.float32)
    if tl.load(normed + k) != 0:
        slope = tl.load(own, mask=inside, other=0.0)
        begin = tl.load(shift + k * C + channel, mask=inside, other=0.0)
        total += slope[None, :] * tl.load(x + place, mask=mask, other=0.0) + begin[None, :]
    for t in range(T):
        grad = map_of(table, t, C)
        factor = tl.load(own + (1 + t) * C, mask=inside, other=0.0)
        total += factor[None, :] * tl.load(grad + place, mask=mask, other=0.0)
    out = map_of(table, T + K + k, C)
    tl.store(out + place, total, mask=mask)
