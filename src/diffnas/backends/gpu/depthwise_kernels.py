"""Triton kernels of depthwise convolutions, for maps that lie in memory as ``(B, H, W, C)``.

One launch computes all convolutions of a table with one kernel size. Tiles of pixels are on the first axis of a grid,
as in :mod:`diffnas.backends.gpu.kernels`. Sizes of maps and kernels are constants, so that loops over taps are
unrolled, and divisions are cheap.
"""

# Triton compiles these functions; they have no types that a checker knows.
# mypy: ignore-errors

from __future__ import annotations

import triton
import triton.language as tl


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
