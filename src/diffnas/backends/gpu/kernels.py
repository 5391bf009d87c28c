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


@triton.jit(do_not_specialize=["start", "count", "a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7"])
def write(
    table, start, count,
    a0: tl.int64, a1: tl.int64, a2: tl.int64, a3: tl.int64, a4: tl.int64, a5: tl.int64, a6: tl.int64, a7: tl.int64,
):  # fmt: skip
    """Write up to eight addresses into ``table``, from ``start`` on. As arguments they need no copy from the host."""
    first = table + start
    tl.store(first, a0, mask=count > 0)
    tl.store(first + 1, a1, mask=count > 1)
    tl.store(first + 2, a2, mask=count > 2)
    tl.store(first + 3, a3, mask=count > 3)
    tl.store(first + 4, a4, mask=count > 4)
    tl.store(first + 5, a5, mask=count > 5)
    tl.store(first + 6, a6, mask=count > 6)
    tl.store(first + 7, a7, mask=count > 7)


@triton.jit
def moments(table, means, squares, pixels, chunk, C: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr):
    """For each of K maps and S chunks of pixels: the mean, and the sum of squared deviations from it, ``(K, S, C)``."""
    k, s = tl.program_id(0), tl.program_id(1)
    x = tl.load(table + k).to(tl.pointer_type(tl.float32))
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
def join(means, squares, mean, variance, pixels, chunk, chunks, C: tl.constexpr, CHANNELS: tl.constexpr):
    """Mean and biased variance of whole maps, ``(K, C)``, float64, from the moments of their chunks."""
    k = tl.program_id(0)
    channel = tl.arange(0, CHANNELS)
    inside = channel < C
    total = tl.zeros((CHANNELS,), tl.float64)
    square = tl.zeros((CHANNELS,), tl.float64)
    before = tl.zeros((CHANNELS,), tl.float64)
    for s in range(chunks):
        place = (k * chunks + s) * C + channel
        count = (tl.minimum((s + 1) * chunk, pixels) - s * chunk).to(tl.float64)
        away = tl.load(means + place, mask=inside, other=0.0).to(tl.float64) - total
        joint = before + count
        square += tl.load(squares + place, mask=inside, other=0.0).to(tl.float64)
        square += away * away * (before * count / joint)
        total += away * (count / joint)
        before = joint
    tl.store(mean + k * C + channel, total, mask=inside)
    tl.store(variance + k * C + channel, square / pixels, mask=inside)


@triton.jit(do_not_specialize=["K"])
def combine(results, table, scale, shift, pixels, K, C: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr):
    """Weighted sums of maps, by channel: ``shift[t] + sum_k scale[t, k] * table[t, k]``; address 0 means no map."""
    tile, t = tl.program_id(0), tl.program_id(1)
    pixel = tile * PIXELS + tl.arange(0, PIXELS)
    channel = tl.arange(0, CHANNELS)
    inside = channel < C
    mask = (pixel < pixels)[:, None] & inside[None, :]
    place = pixel[:, None] * C + channel[None, :]
    start = tl.load(shift + t * C + channel, mask=inside, other=0.0)
    total = tl.zeros((PIXELS, CHANNELS), tl.float32) + start[None, :]
    for k in range(K):
        address = tl.load(table + t * K + k)
        if address != 0:
            x = address.to(tl.pointer_type(tl.float32))
            factor = tl.load(scale + (t * K + k) * C + channel, mask=inside, other=0.0)
            total += factor[None, :] * tl.load(x + place, mask=mask, other=0.0)
    out = tl.load(results + t).to(tl.pointer_type(tl.float32))
    tl.store(out + place, total, mask=mask)


@triton.jit
def reduce(
    grads, inputs, mean, totals, products, pixels, chunk,
    C: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """For each of P pairs ``(grad, input)`` and S chunks of pixels: ``sum(grad)`` and ``sum(grad * (input - mean))``.

    Both sums are by channel, ``(P, S, C)``.
    """
    p, s = tl.program_id(0), tl.program_id(1)
    grad = tl.load(grads + p).to(tl.pointer_type(tl.float32))
    x = tl.load(inputs + p).to(tl.pointer_type(tl.float32))
    channel = tl.arange(0, CHANNELS)
    inside = channel < C
    middle = tl.load(mean + p * C + channel, mask=inside, other=0.0)
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
    place = (p * tl.num_programs(1) + s) * C + channel
    tl.store(totals + place, tl.sum(total, 0), mask=inside)
    tl.store(products + place, tl.sum(product, 0), mask=inside)


@triton.jit
def _rectified(x, place, mask, rate, shift):
    """The input of a convolution: the map after batch norm and ReLU; 0 where ``mask`` is false."""
    values = tl.load(x + place, mask=mask, other=0.0)
    # By default a maximum of NaN and 0 is 0, so that a search that diverges would not show it.
    rectified = tl.maximum(values * rate + shift, 0.0, propagate_nan=tl.PropagateNan.ALL)
    return tl.where(mask, rectified, 0.0)


@triton.jit
def depthwise(
    x, weight, out, rate, shift, map_stride, pixels,
    rows: tl.constexpr, columns: tl.constexpr, H: tl.constexpr, W: tl.constexpr, C: tl.constexpr,
    kernel: tl.constexpr, stride: tl.constexpr, padding: tl.constexpr, dilation: tl.constexpr,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Batch norm, ReLU and depthwise convolution of N maps, or N convolutions of one map.

    From one map to the next are ``map_stride`` numbers; 0 means that all N read one map. The batch norms are ``rate``
    and ``shift``, ``(N, C)``; ``weight`` is ``(N, C, kernel, kernel)``, and ``out`` is ``(N, B, rows, columns, C)``.
    ``pixels`` is the number of pixels in one result.
    """
    tile, n = tl.program_id(0), tl.program_id(1)
    pixel = tile * PIXELS + tl.arange(0, PIXELS)
    channel = tl.arange(0, CHANNELS)
    inside = channel < C
    own = n * C + channel
    factor = tl.load(rate + own, mask=inside, other=0.0)[None, :]
    begin = tl.load(shift + own, mask=inside, other=0.0)[None, :]
    column, row, picture = pixel % columns, (pixel // columns) % rows, pixel // (columns * rows)
    source = x + n.to(tl.int64) * map_stride
    top, left = row * stride - padding, column * stride - padding
    total = tl.zeros((PIXELS, CHANNELS), tl.float32)
    for tap in tl.static_range(kernel * kernel):
        h, w = top + tap // kernel * dilation, left + tap % kernel * dilation
        there = (pixel < pixels) & (h >= 0) & (h < H) & (w >= 0) & (w < W)
        mask = there[:, None] & inside[None, :]
        place = ((picture * H + h) * W + w)[:, None] * C + channel[None, :]
        taps = tl.load(weight + own * (kernel * kernel) + tap, mask=inside, other=0.0)
        total += _rectified(source, place, mask, factor, begin) * taps[None, :]
    place = pixel[:, None] * C + channel[None, :]
    mask = (pixel < pixels)[:, None] & inside[None, :]
    tl.store(out + n.to(tl.int64) * pixels * C + place, total, mask=mask)


@triton.jit(do_not_specialize=["members"])
def depthwise_input(
    x, weight, grad, out, rate, shift,
    map_stride, members, pixels,
    rows: tl.constexpr, columns: tl.constexpr, H: tl.constexpr, W: tl.constexpr, C: tl.constexpr,
    kernel: tl.constexpr, stride: tl.constexpr, padding: tl.constexpr, dilation: tl.constexpr,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The gradient for the batch norm's result in ``depthwise``; for a shared map, the sum over its convolutions.

    A program computes a tile of one map. ``members`` is the number of convolutions that read this map, and ``pixels``
    is the number of pixels in one map.
    """
    tile, n = tl.program_id(0), tl.program_id(1)
    pixel = tile * PIXELS + tl.arange(0, PIXELS)
    channel = tl.arange(0, CHANNELS)
    inside = channel < C
    w, h, picture = pixel % W, (pixel // W) % H, pixel // (W * H)
    total = tl.zeros((PIXELS, CHANNELS), tl.float32)
    length = (pixels // (H * W)).to(tl.int64) * rows * columns * C
    for m in range(members):
        member = n * members + m
        sent = grad + member.to(tl.int64) * length
        for tap in tl.static_range(kernel * kernel):
            up, left = h + padding - tap // kernel * dilation, w + padding - tap % kernel * dilation
            row, column = up // stride, left // stride
            there = (pixel < pixels) & (up >= 0) & (row < rows) & (left >= 0) & (column < columns)
            there = there & (up % stride == 0) & (left % stride == 0)
            mask = there[:, None] & inside[None, :]
            place = ((picture * rows + row) * columns + column)[:, None] * C + channel[None, :]
            taps = tl.load(weight + (member * C + channel) * (kernel * kernel) + tap, mask=inside, other=0.0)
            total += tl.load(sent + place, mask=mask, other=0.0) * taps[None, :]
    place = pixel[:, None] * C + channel[None, :]
    mask = (pixel < pixels)[:, None] & inside[None, :]
    factor = tl.load(rate + n * C + channel, mask=inside, other=0.0)[None, :]
    begin = tl.load(shift + n * C + channel, mask=inside, other=0.0)[None, :]
    seen = _rectified(x + n.to(tl.int64) * map_stride, place, mask, factor, begin)
    tl.store(out + n.to(tl.int64) * pixels * C + place, tl.where(seen <= 0, 0.0, total), mask=mask)


@triton.jit
def depthwise_weight(
    x, grad, out, rate, shift, map_stride, pixels, chunk,
    rows: tl.constexpr, columns: tl.constexpr, H: tl.constexpr, W: tl.constexpr, C: tl.constexpr,
    kernel: tl.constexpr, stride: tl.constexpr, padding: tl.constexpr, dilation: tl.constexpr,
    TAPS: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The gradient for the weights of ``depthwise``, for each of S chunks of pixels: ``(S, N, C, kernel, kernel)``.

    A program computes one row of the kernel's taps, so it reads ``grad`` once for the whole row. ``TAPS`` is the length
    of a row, rounded up to a power of two.
    """
    member, s = tl.program_id(0), tl.program_id(1)
    n, i = member // kernel, member % kernel
    channel, tap = tl.arange(0, CHANNELS), tl.arange(0, TAPS)
    inside = channel < C
    source = x + n.to(tl.int64) * map_stride
    sent = grad + n.to(tl.int64) * pixels * C
    factor = tl.load(rate + n * C + channel, mask=inside, other=0.0)[None, None, :]
    begin = tl.load(shift + n * C + channel, mask=inside, other=0.0)[None, None, :]
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
    place = ((s * (tl.num_programs(0) // kernel) + n) * C + channel)[None, :] * (kernel * kernel)
    place = place + i * kernel + tap[:, None]
    tl.store(out + place, tl.sum(total, 1), mask=(tap < kernel)[:, None] & inside[None, :])
