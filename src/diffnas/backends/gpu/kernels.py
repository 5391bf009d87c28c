"""Triton kernels of a supernet's step, for maps that lie in memory as ``(B, H, W, C)``.

A kernel for several maps takes a table of their addresses, int64 on the device, so that one launch serves all of them.
A program computes a tile of pixels with all channels; ``CHANNELS`` is their number rounded up to a power of two. Tiles
are on the first axis of a grid, because the others have at most 65,535 programs.

Sizes of maps and convolutions are constants of a kernel, which is compiled for each of them: so divisions by them are
cheap, loops over taps are unrolled, and the compiler can prove that 4 channels lie together and loads them at once.
"""

# Triton compiles these functions; they have no types that a checker knows.
# mypy: ignore-errors

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["start", "count", *(f"a{n}" for n in range(16))])
def write(
    table, start, count,
    a0: tl.int64, a1: tl.int64, a2: tl.int64, a3: tl.int64, a4: tl.int64, a5: tl.int64, a6: tl.int64, a7: tl.int64,
    a8: tl.int64, a9: tl.int64, a10: tl.int64, a11: tl.int64,
    a12: tl.int64, a13: tl.int64, a14: tl.int64, a15: tl.int64,
):  # fmt: skip
    """Write up to 16 addresses into ``table``, from ``start`` on. As arguments they need no copy from the host."""
    first = table + start
    tl.store(first, a0, mask=count > 0)
    tl.store(first + 1, a1, mask=count > 1)
    tl.store(first + 2, a2, mask=count > 2)
    tl.store(first + 3, a3, mask=count > 3)
    tl.store(first + 4, a4, mask=count > 4)
    tl.store(first + 5, a5, mask=count > 5)
    tl.store(first + 6, a6, mask=count > 6)
    tl.store(first + 7, a7, mask=count > 7)
    tl.store(first + 8, a8, mask=count > 8)
    tl.store(first + 9, a9, mask=count > 9)
    tl.store(first + 10, a10, mask=count > 10)
    tl.store(first + 11, a11, mask=count > 11)
    tl.store(first + 12, a12, mask=count > 12)
    tl.store(first + 13, a13, mask=count > 13)
    tl.store(first + 14, a14, mask=count > 14)
    tl.store(first + 15, a15, mask=count > 15)


@triton.jit
def _map(table, k, C: tl.constexpr):
    """The map at a place of a table of addresses."""
    x = tl.load(table + k).to(tl.pointer_type(tl.float32))
    if C % 4 == 0:
        # True of memory as PyTorch gives it, and of each map in it. The compiler cannot know it of a number that is
        # loaded, and without it loads 4 bytes at a time.
        x = tl.multiple_of(x, 16)
    return x


@triton.jit
def moments(table, which, means, squares, pixels, chunk, C: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr):
    """For some maps and S chunks of pixels: the mean, and the sum of squared deviations from it, ``(maps, S, C)``.

    ``which`` has the places of these maps in the table.
    """
    k, s = tl.program_id(0), tl.program_id(1)
    x = _map(table, tl.load(which + k), C)
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
        count = tl.minimum(PIXELS, end - start).to(tl.float32)
        own = tl.sum(values, 0) / count
        off = tl.where(mask, values - own[None, :], 0.0)
        # Chan, Golub & LeVeque (1979): join the moments of two parts without cancellation.
        away = own - mean
        total = before + count
        square += tl.sum(off * off, 0) + away * away * (before * count / total)
        mean += away * (count / total)
        before = total
    place = (k * tl.num_programs(1) + s) * C + channel
    tl.store(means + place, mean, mask=inside)
    tl.store(squares + place, square, mask=inside)


@triton.jit(do_not_specialize=["pixels", "chunk", "chunks"])
def join(
    means, squares, rows, mean, variance, rate, shift, pixels, chunk, chunks, eps,
    C: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The batch norm of each of K maps, from the moments of its chunks: four tables, ``(K, C)``.

    They are the mean, the biased variance, and the batch norm as a linear map: ``rate`` times a number, plus ``shift``.
    ``rows`` has the row of each map in ``means``; a map with -1 has no batch norm, and its linear map changes nothing.
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


@triton.jit
def track(table, rows, mean, variance, momentum, unbiased, C: tl.constexpr, CHANNELS: tl.constexpr):
    """Update the buffers of batch norms as their own forward passes would.

    The table has three addresses for each batch norm: of its mean, its variance and its number of batches. ``rows`` has
    its row in ``mean`` and ``variance``, ``momentum`` its rate; ``unbiased`` times a variance is the unbiased one.
    """
    n = tl.program_id(0)
    row, rate = tl.load(rows + n), tl.load(momentum + n)
    channel = tl.arange(0, CHANNELS)
    inside = channel < C
    running = tl.load(table + 3 * n).to(tl.pointer_type(tl.float32)) + channel
    before = tl.load(running, mask=inside, other=0.0)
    now = tl.load(mean + row * C + channel, mask=inside, other=0.0)
    tl.store(running, before + rate * (now - before), mask=inside)
    running = tl.load(table + 3 * n + 1).to(tl.pointer_type(tl.float32)) + channel
    before = tl.load(running, mask=inside, other=0.0)
    now = tl.load(variance + row * C + channel, mask=inside, other=0.0) * unbiased
    tl.store(running, before + rate * (now - before), mask=inside)
    batches = tl.load(table + 3 * n + 2).to(tl.pointer_type(tl.int64))
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
        x = _map(table, k, C)
        total += factor[None, :] * tl.load(x + place, mask=mask, other=0.0) + begin[None, :]
    for k in range(added):
        x = _map(table, K + k, C)
        total += tl.load(x + place, mask=mask, other=0.0)
    out = _map(table, K + added + t, C)
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
    grad = _map(table, p if PAIRED else p // K, C)
    x = _map(table, grads + k, C)
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


@triton.jit(do_not_specialize=["grads", "K", "T"])
def spread(
    table, normed, factors, shift, pixels, grads, K, T,
    PAIRED: tl.constexpr, C: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The gradient for each input, as ``settle`` defines it.

    The table has the gradients, the K inputs and the K results. ``PAIRED`` is that of ``reduce``.
    """
    tile, k = tl.program_id(0), tl.program_id(1)
    pixel = tile * PIXELS + tl.arange(0, PIXELS)
    channel = tl.arange(0, CHANNELS)
    inside = channel < C
    mask = (pixel < pixels)[:, None] & inside[None, :]
    place = pixel[:, None] * C + channel[None, :]
    own = factors + k * (1 + T) * C + channel
    x = _map(table, grads + k, C)
    total = tl.zeros((PIXELS, CHANNELS), tl.float32)
    if tl.load(normed + k) != 0:
        slope = tl.load(own, mask=inside, other=0.0)
        begin = tl.load(shift + k * C + channel, mask=inside, other=0.0)
        total += slope[None, :] * tl.load(x + place, mask=mask, other=0.0) + begin[None, :]
    for t in range(T):
        grad = _map(table, k if PAIRED else t, C)
        factor = tl.load(own + (1 + t) * C, mask=inside, other=0.0)
        total += factor[None, :] * tl.load(grad + place, mask=mask, other=0.0)
    out = _map(table, grads + K + k, C)
    tl.store(out + place, total, mask=mask)


@triton.jit
def _rectified(x, place, mask, rate, shift):
    """The input of a convolution: the map after batch norm and ReLU; 0 where ``mask`` is false."""
    values = tl.load(x + place, mask=mask, other=0.0)
    # By default a maximum of NaN and 0 is 0, so that a search that diverges would not show it.
    rectified = tl.maximum(values * rate + shift, 0.0, propagate_nan=tl.PropagateNan.ALL)
    return tl.where(mask, rectified, 0.0)


# A row of a table of convolutions: its row in the results, the place of its map and of its weights, padding, dilation.
FIELDS = tl.constexpr(5)


@triton.jit
def depthwise(
    x, weight, out, rate, shift, table, map_stride, pixels,
    rows: tl.constexpr, columns: tl.constexpr, H: tl.constexpr, W: tl.constexpr, C: tl.constexpr,
    kernel: tl.constexpr, stride: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Batch norm, ReLU and depthwise convolution: the convolutions of a table, with one kernel size.

    From one map to the next are ``map_stride`` numbers. The batch norms of the maps are ``rate`` and ``shift``,
    ``(maps, C)``; a convolution's weights are ``(C, kernel, kernel)``, and ``out`` is ``(rows, B, rows, columns, C)``.
    ``pixels`` is the number of pixels in one result.
    """
    tile, n = tl.program_id(0), tl.program_id(1)
    own = table + n * FIELDS
    row_of, which, begin_of = tl.load(own), tl.load(own + 1), tl.load(own + 2)
    padding, dilation = tl.load(own + 3), tl.load(own + 4)
    pixel = tile * PIXELS + tl.arange(0, PIXELS)
    channel = tl.arange(0, CHANNELS)
    inside = channel < C
    factor = tl.load(rate + which * C + channel, mask=inside, other=0.0)[None, :]
    begin = tl.load(shift + which * C + channel, mask=inside, other=0.0)[None, :]
    column, row, picture = pixel % columns, (pixel // columns) % rows, pixel // (columns * rows)
    source = x + which.to(tl.int64) * map_stride
    top, left = row * stride - padding, column * stride - padding
    total = tl.zeros((PIXELS, CHANNELS), tl.float32)
    for tap in tl.static_range(kernel * kernel):
        h, w = top + tap // kernel * dilation, left + tap % kernel * dilation
        there = (pixel < pixels) & (h >= 0) & (h < H) & (w >= 0) & (w < W)
        mask = there[:, None] & inside[None, :]
        place = ((picture * H + h) * W + w)[:, None] * C + channel[None, :]
        taps = tl.load(weight + begin_of + channel * (kernel * kernel) + tap, mask=inside, other=0.0)
        total += _rectified(source, place, mask, factor, begin) * taps[None, :]
    place = pixel[:, None] * C + channel[None, :]
    mask = (pixel < pixels)[:, None] & inside[None, :]
    tl.store(out + row_of.to(tl.int64) * pixels * C + place, total, mask=mask)


@triton.jit(do_not_specialize=["members"])
def depthwise_input(
    x, weight, grad, out, rate, shift, table, map_stride, members, pixels,
    rows: tl.constexpr, columns: tl.constexpr, H: tl.constexpr, W: tl.constexpr, C: tl.constexpr,
    kernel: tl.constexpr, stride: tl.constexpr, ADD: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The gradient for the batch norm's result in ``depthwise``: the sum over the convolutions that read the map.

    A program computes a tile of one map. ``members`` convolutions, one after the other in the table, read this map, and
    ``pixels`` is the number of pixels in one map. With ``ADD`` the sum is added to what ``out`` has.
    """
    tile, n = tl.program_id(0), tl.program_id(1)
    which = tl.load(table + n * members * FIELDS + 1)
    pixel = tile * PIXELS + tl.arange(0, PIXELS)
    channel = tl.arange(0, CHANNELS)
    inside = channel < C
    w, h, picture = pixel % W, (pixel // W) % H, pixel // (W * H)
    total = tl.zeros((PIXELS, CHANNELS), tl.float32)
    length = (pixels // (H * W)).to(tl.int64) * rows * columns * C
    for m in range(members):
        own = table + (n * members + m) * FIELDS
        row_of, begin_of = tl.load(own), tl.load(own + 2)
        padding, dilation = tl.load(own + 3), tl.load(own + 4)
        sent = grad + row_of.to(tl.int64) * length
        for tap in tl.static_range(kernel * kernel):
            up, left = h + padding - tap // kernel * dilation, w + padding - tap % kernel * dilation
            row, column = up // stride, left // stride
            there = (pixel < pixels) & (up >= 0) & (row < rows) & (left >= 0) & (column < columns)
            if stride > 1:
                there = there & (up % stride == 0) & (left % stride == 0)
            mask = there[:, None] & inside[None, :]
            place = ((picture * rows + row) * columns + column)[:, None] * C + channel[None, :]
            taps = tl.load(weight + begin_of + channel * (kernel * kernel) + tap, mask=inside, other=0.0)
            total += tl.load(sent + place, mask=mask, other=0.0) * taps[None, :]
    place = pixel[:, None] * C + channel[None, :]
    mask = (pixel < pixels)[:, None] & inside[None, :]
    factor = tl.load(rate + which * C + channel, mask=inside, other=0.0)[None, :]
    begin = tl.load(shift + which * C + channel, mask=inside, other=0.0)[None, :]
    seen = _rectified(x + which.to(tl.int64) * map_stride, place, mask, factor, begin)
    total = tl.where(seen <= 0, 0.0, total)
    into = out + which.to(tl.int64) * pixels * C + place
    if ADD:
        total += tl.load(into, mask=mask, other=0.0)
    tl.store(into, total, mask=mask)


@triton.jit
def depthwise_weight(
    x, grad, out, rate, shift, table, map_stride, pixels, chunk, weights,
    rows: tl.constexpr, columns: tl.constexpr, H: tl.constexpr, W: tl.constexpr, C: tl.constexpr,
    kernel: tl.constexpr, stride: tl.constexpr,
    TAPS: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The gradient for the weights of ``depthwise``, for each of S chunks of pixels: ``(S, weights)``.

    A program computes one row of the kernel's taps, so it reads ``grad`` once for the whole row. ``TAPS`` is the length
    of a row, rounded up to a power of two.
    """
    member, s = tl.program_id(0), tl.program_id(1)
    own, i = table + member // kernel * FIELDS, member % kernel
    row_of, which, begin_of = tl.load(own), tl.load(own + 1), tl.load(own + 2)
    padding, dilation = tl.load(own + 3), tl.load(own + 4)
    channel, tap = tl.arange(0, CHANNELS), tl.arange(0, TAPS)
    inside = channel < C
    source = x + which.to(tl.int64) * map_stride
    sent = grad + row_of.to(tl.int64) * pixels * C
    factor = tl.load(rate + which * C + channel, mask=inside, other=0.0)[None, None, :]
    begin = tl.load(shift + which * C + channel, mask=inside, other=0.0)[None, None, :]
    total = tl.zeros((TAPS, PIXELS, CHANNELS), tl.float32)
    first = s * chunk
    end = tl.minimum(first + chunk, pixels)
    for start in range(first, end, PIXELS):
        pixel = start + tl.arange(0, PIXELS)
        column, row, picture = pixel % columns, (pixel // columns) % rows, pixel // (columns * rows)
        mask = (pixel < end)[:, None] & inside[None, :]
        grads = tl.load(sent + pixel[:, None] * C + channel[None, :], mask=mask, other=0.0)
        h = row * stride - padding + i * dilation
        w = (column * stride - padding)[None, :] + tap[:, None] * dilation
        there = ((pixel < end) & (h >= 0) & (h < H))[None, :] & (w >= 0) & (w < W) & (tap < kernel)[:, None]
        every = there[:, :, None] & inside[None, None, :]
        place = (((picture * H + h) * W)[None, :] + w)[:, :, None] * C + channel[None, None, :]
        total += grads[None, :, :] * _rectified(source, place, every, factor, begin)
    place = s * weights + begin_of + channel[None, :] * (kernel * kernel) + i * kernel + tap[:, None]
    tl.store(out + place, tl.sum(total, 1), mask=(tap < kernel)[:, None] & inside[None, :])
