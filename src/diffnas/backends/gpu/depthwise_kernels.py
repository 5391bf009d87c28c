"""Triton kernels of depthwise convolutions and the 1x1 convolutions after them, for maps in memory as ``(B, H, W, C)``.

One launch computes all convolutions of a table. Tiles of pixels are on the first axis of a grid, as in
:mod:`diffnas.backends.gpu.kernels`. Sizes of maps are constants, so that divisions are cheap. The bits of ``KERNELS``
are the sizes of convolutions in the table. There is a branch for each, in which the loop over taps is unrolled, and a
program takes the branch of its convolution. The compiler leaves out the branches of other sizes.
"""

# Triton compiles these functions; they have no types that a checker knows.
# mypy: ignore-errors

from __future__ import annotations

import triton
import triton.language as tl

from diffnas.backends.gpu.kernels import with_moments
from diffnas.backends.gpu.pointwise_kernels import operand


@triton.jit
def _rectified(x, place, mask, rate, shift):
    """The input of a convolution: the map after batch norm and ReLU; 0 where ``mask`` is false."""
    values = tl.load(x + place, mask=mask, other=0.0)
    # By default a maximum of NaN and 0 is 0, so that a search that diverges would not show it.
    rectified = tl.maximum(values * rate + shift, 0.0, propagate_nan=tl.PropagateNan.ALL)
    return tl.where(mask, rectified, 0.0)


# A row of a table of convolutions: its map, the place of its weights, padding, dilation, size of its kernel.
FIELDS = tl.constexpr(5)
# The largest kernel that has a branch.
LARGEST = tl.constexpr(16)


@triton.jit
def _convolved(
    x, taps, picture, top, left, within, inside, channel, dilation, rate, shift,
    H: tl.constexpr, W: tl.constexpr, C: tl.constexpr, kernel: tl.constexpr,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The convolution of a rectified map at a tile of pixels, whose windows begin at ``top`` and ``left``."""
    total = tl.zeros((PIXELS, CHANNELS), tl.float32)
    for tap in tl.static_range(kernel * kernel):
        h, w = top + tap // kernel * dilation, left + tap % kernel * dilation
        there = within & (h >= 0) & (h < H) & (w >= 0) & (w < W)
        mask = there[:, None] & inside[None, :]
        place = ((picture * H + h) * W + w)[:, None] * C + channel[None, :]
        weight = tl.load(taps + channel * (kernel * kernel) + tap, mask=inside, other=0.0)
        total += _rectified(x, place, mask, rate, shift) * weight[None, :]
    return total


@triton.jit
def separable(
    x, weight, matrix, between, out, means, squares, rate, shift, table, map_stride, pixels, chunk, measured,
    rows: tl.constexpr, columns: tl.constexpr, H: tl.constexpr, W: tl.constexpr, C: tl.constexpr,
    stride: tl.constexpr, KERNELS: tl.constexpr, D: tl.constexpr, PRECISION: tl.constexpr,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr, OUTER: tl.constexpr,
):  # fmt: skip
    """Batch norm, ReLU, depthwise and 1x1 convolution, for all N convolutions of a table.

    From one map to the next are ``map_stride`` numbers. The batch norms of the maps are ``rate`` and ``shift``,
    ``(maps, C)``. A convolution's weights are ``(C, kernel, kernel)`` and, in ``matrix``, ``(N, D, C)``. The results of
    the depthwise convolutions are ``between``, ``(N, B, rows, columns, C)``, those of the 1x1 ``out``, with D channels.
    ``pixels`` is the number of pixels in one result.

    The first ``measured`` results get ``means`` and ``squares`` of S chunks of pixels, as in ``moments``. A program
    computes a chunk and a block of ``OUTER`` channels of one result.
    """
    n, s, own = tl.program_id(0), tl.program_id(1), table + tl.program_id(0) * FIELDS
    which, begin_of = tl.load(own), tl.load(own + 1)
    padding, dilation, size = tl.load(own + 2), tl.load(own + 3), tl.load(own + 4)
    channel, outer = tl.arange(0, CHANNELS), tl.program_id(2) * OUTER + tl.arange(0, OUTER)
    inside, real = channel < C, outer < D
    factor = tl.load(rate + which * C + channel, mask=inside, other=0.0)[None, :]
    begin = tl.load(shift + which * C + channel, mask=inside, other=0.0)[None, :]
    place = n * D * C + outer[None, :] * C + channel[:, None]
    turn = operand(tl.load(matrix + place, mask=inside[:, None] & real[None, :], other=0.0), PRECISION)
    source, first = x + which.to(tl.int64) * map_stride, n.to(tl.int64) * pixels
    mean, square, before = tl.zeros((OUTER,), tl.float32), tl.zeros((OUTER,), tl.float32), 0.0
    end = tl.minimum((s + 1) * chunk, pixels)
    for start in range(s * chunk, end, PIXELS):
        pixel = start + tl.arange(0, PIXELS)
        within = pixel < end
        column, row, picture = pixel % columns, (pixel // columns) % rows, pixel // (columns * rows)
        top, left, total = row * stride - padding, column * stride - padding, tl.zeros((PIXELS, CHANNELS), tl.float32)
        for kernel in tl.static_range(1, LARGEST + 1):
            if KERNELS >> kernel & 1:  # noqa: SIM102
                if size == kernel:
                    total = _convolved(
                        source, weight + begin_of, picture, top, left, within, inside, channel, dilation, factor, begin,
                        H, W, C, kernel, PIXELS, CHANNELS,
                    )  # fmt: skip
        if tl.program_id(2) == 0:
            mask = within[:, None] & inside[None, :]
            tl.store(between + first * C + pixel[:, None] * C + channel[None, :], total, mask=mask)
        y = tl.dot(operand(total, PRECISION), turn, input_precision=PRECISION)
        mask = within[:, None] & real[None, :]
        tl.store(out + first * D + pixel[:, None] * D + outer[None, :], y, mask=mask)
        mean, square, before = with_moments(y, mask, tl.minimum(PIXELS, end - start), mean, square, before)
    place = (n * tl.num_programs(1) + s) * D + outer
    tl.store(means + place, mean, mask=real & (n < measured))
    tl.store(squares + place, square, mask=real & (n < measured))


@triton.jit
def _spread(
    sent, taps, picture, top, left, within, inside, channel, dilation,
    rows: tl.constexpr, columns: tl.constexpr, C: tl.constexpr, kernel: tl.constexpr, stride: tl.constexpr,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The gradient of a convolution for a tile of its map: each result that has read a pixel sends it a share."""
    total = tl.zeros((PIXELS, CHANNELS), tl.float32)
    for tap in tl.static_range(kernel * kernel):
        up, before = top - tap // kernel * dilation, left - tap % kernel * dilation
        row, column = up // stride, before // stride
        there = within & (up >= 0) & (row < rows) & (before >= 0) & (column < columns)
        if stride > 1:
            there = there & (up % stride == 0) & (before % stride == 0)
        mask = there[:, None] & inside[None, :]
        place = ((picture * rows + row) * columns + column)[:, None] * C + channel[None, :]
        weight = tl.load(taps + channel * (kernel * kernel) + tap, mask=inside, other=0.0)
        total += tl.load(sent + place, mask=mask, other=0.0) * weight[None, :]
    return total


@triton.jit(do_not_specialize=["members"])
def depthwise_input(
    x, weight, grad, out, rate, shift, table, map_stride, members, pixels,
    rows: tl.constexpr, columns: tl.constexpr, H: tl.constexpr, W: tl.constexpr, C: tl.constexpr,
    stride: tl.constexpr, KERNELS: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The gradient for the batch norm's result in ``separable``: the sum over the convolutions that read the map.

    A program computes a tile of one map. ``members`` convolutions, one after the other in the table, read this map, and
    ``pixels`` is the number of pixels in one map.
    """
    tile, n = tl.program_id(0), tl.program_id(1)
    which = tl.load(table + n * members * FIELDS)
    pixel = tile * PIXELS + tl.arange(0, PIXELS)
    channel = tl.arange(0, CHANNELS)
    inside, within = channel < C, pixel < pixels
    w, h, picture = pixel % W, (pixel // W) % H, pixel // (W * H)
    total = tl.zeros((PIXELS, CHANNELS), tl.float32)
    length = (pixels // (H * W)).to(tl.int64) * rows * columns * C
    for m in range(n * members, (n + 1) * members):
        own = table + m * FIELDS
        taps, padding = weight + tl.load(own + 1), tl.load(own + 2)
        dilation, size = tl.load(own + 3), tl.load(own + 4)
        for kernel in tl.static_range(1, LARGEST + 1):
            if KERNELS >> kernel & 1:  # noqa: SIM102
                if size == kernel:
                    total += _spread(
                        grad + m * length, taps, picture, h + padding, w + padding, within, inside, channel, dilation,
                        rows, columns, C, kernel, stride, PIXELS, CHANNELS,
                    )  # fmt: skip
    place = pixel[:, None] * C + channel[None, :]
    mask = within[:, None] & inside[None, :]
    factor = tl.load(rate + which * C + channel, mask=inside, other=0.0)[None, :]
    begin = tl.load(shift + which * C + channel, mask=inside, other=0.0)[None, :]
    seen = _rectified(x + which.to(tl.int64) * map_stride, place, mask, factor, begin)
    tl.store(out + which.to(tl.int64) * pixels * C + place, tl.where(seen <= 0, 0.0, total), mask=mask)


@triton.jit
def _row_of_taps(
    x, sent, first, end, padding, dilation, i, size, inside, channel, rate, shift,
    rows: tl.constexpr, columns: tl.constexpr, H: tl.constexpr, W: tl.constexpr, C: tl.constexpr,
    stride: tl.constexpr, TAPS: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The gradient for row ``i`` of the taps from the pixels between ``first`` and ``end``, ``(TAPS, CHANNELS)``."""
    tap = tl.arange(0, TAPS)
    total = tl.zeros((TAPS, PIXELS, CHANNELS), tl.float32)
    for start in range(first, end, PIXELS):
        pixel = start + tl.arange(0, PIXELS)
        column, row, picture = pixel % columns, (pixel // columns) % rows, pixel // (columns * rows)
        mask = (pixel < end)[:, None] & inside[None, :]
        grads = tl.load(sent + pixel[:, None] * C + channel[None, :], mask=mask, other=0.0)
        h = row * stride - padding + i * dilation
        w = (column * stride - padding)[None, :] + tap[:, None] * dilation
        there = ((pixel < end) & (h >= 0) & (h < H))[None, :] & (w >= 0) & (w < W) & (tap < size)[:, None]
        every = there[:, :, None] & inside[None, None, :]
        place = (((picture * H + h) * W)[None, :] + w)[:, :, None] * C + channel[None, None, :]
        total += grads[None, :, :] * _rectified(x, place, every, rate, shift)
    return tl.sum(total, 1)


@triton.jit
def depthwise_weight(
    x, grad, out, rate, shift, table, map_stride, pixels, chunk, weights, most,
    rows: tl.constexpr, columns: tl.constexpr, H: tl.constexpr, W: tl.constexpr, C: tl.constexpr,
    stride: tl.constexpr, WIDTHS: tl.constexpr, NUMBERS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The gradient for the depthwise weights of ``separable``, for each of S chunks of pixels: ``(S, weights)``.

    A program computes one row of a kernel's taps, so it reads ``grad`` once for the whole row. Each convolution has
    ``most`` programs, the rows of the largest kernel. A program keeps ``NUMBERS`` products. The bits of
    ``WIDTHS`` are the lengths of such rows, rounded up to powers of two; there is a branch for each.
    """
    n, i, s = tl.program_id(0) // most, tl.program_id(0) % most, tl.program_id(1)
    own = table + n * FIELDS
    which, begin_of = tl.load(own), tl.load(own + 1)
    padding, dilation, size = tl.load(own + 2), tl.load(own + 3), tl.load(own + 4)
    channel = tl.arange(0, CHANNELS)
    inside = channel < C
    source = x + which.to(tl.int64) * map_stride
    sent = grad + n.to(tl.int64) * pixels * C
    factor = tl.load(rate + which * C + channel, mask=inside, other=0.0)[None, None, :]
    begin = tl.load(shift + which * C + channel, mask=inside, other=0.0)[None, None, :]
    first = s * chunk
    end = tl.minimum(first + chunk, pixels)
    for bits in tl.static_range(5):
        if WIDTHS >> bits & 1:  # noqa: SIM102
            if (i < size) & (size <= 1 << bits) & (2 * size > 1 << bits):
                tap = tl.arange(0, 1 << bits)
                total = _row_of_taps(
                    source, sent, first, end, padding, dilation, i, size, inside, channel, factor, begin,
                    rows, columns, H, W, C, stride, 1 << bits, (NUMBERS >> bits) // CHANNELS, CHANNELS,
                )  # fmt: skip
                place = s * weights + begin_of + channel[None, :] * (size * size) + i * size + tap[:, None]
                tl.store(out + place, total, mask=(tap < size)[:, None] & inside[None, :])
