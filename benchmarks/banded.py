"""Depthwise convolutions as products with banded matrices, for tensor cores: kernels to be timed, which no search uses.

Maps are ``(C, B, H, W)``: a channel is a matrix of ``B * H`` rows. For a row i of taps, each row of the map times a
matrix, with tap j where ``column = stride * column after - padding + j * dilation``, is a term of the result. A picture
of at most 64 pixels is a row as a whole, and one product does for all taps. Kernel, padding and dilation come from a
table, whose rows have the map, the place of the weights, the kernel, the padding and the dilation.
"""

# Triton compiles these functions; they have no types that a checker knows.
# mypy: ignore-errors

from __future__ import annotations

import triton
import triton.language as tl

FIELDS = tl.constexpr(5)


@triton.jit
def _taps(
    i, k, padding, dilation, STRIDE: tl.constexpr, H: tl.constexpr, W: tl.constexpr, HO: tl.constexpr, WO: tl.constexpr,
    WHOLE: tl.constexpr, BEFORE: tl.constexpr, AFTER: tl.constexpr,
):  # fmt: skip
    """The tap that leads from each number of a row before to each of a row after, -1 for none: ``(BEFORE, AFTER)``."""
    s, t = tl.arange(0, BEFORE)[:, None], tl.arange(0, AFTER)[None, :]
    across = (s % W) - (t % WO) * STRIDE + padding
    j = across // dilation
    there = (across >= 0) & (j * dilation == across) & (j < k)
    if WHOLE:
        down = (s // W) - (t // WO) * STRIDE + padding
        i = down // dilation
        there = there & (down >= 0) & (i * dilation == down) & (i < k) & (s < H * W) & (t < HO * WO)
    else:
        there = there & (s < W) & (t < WO)
    return tl.where(there, i * k + j, -1)


@triton.jit
def _row(source, picture, at, there, RI: tl.constexpr, LI: tl.constexpr, LENGTH: tl.constexpr):
    """Rows of a channel, ``(ROWS, LENGTH)``, and where they have numbers; 0 elsewhere."""
    s = tl.arange(0, LENGTH)
    mask = there[:, None] & (s < LI)[None, :]
    return tl.load(source + ((picture * RI + at) * LI)[:, None] + s[None, :], mask=mask, other=0.0), mask


@triton.jit
def _rectified(values, mask, rate, shift):
    values = tl.maximum(values * rate + shift, 0.0, propagate_nan=tl.PropagateNan.ALL)
    return tl.where(mask, values, 0.0)


@triton.jit
def forward(
    x, weight, out, rate, shift, table, pictures,
    K: tl.constexpr, STRIDE: tl.constexpr, C: tl.constexpr, H: tl.constexpr, W: tl.constexpr, HO: tl.constexpr,
    WO: tl.constexpr, WHOLE: tl.constexpr, BEFORE: tl.constexpr, AFTER: tl.constexpr, ROWS: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Batch norm, ReLU and depthwise convolution of the maps in a table, ``(N, C, B, HO, WO)``.

    A program computes some rows of a channel. ``K`` is the number of rows of taps, 1 if ``WHOLE``.
    """
    tile, c, n = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    own = table + n * FIELDS
    which, k, padding, dilation = tl.load(own), tl.load(own + 2), tl.load(own + 3), tl.load(own + 4)
    RI: tl.constexpr = 1 if WHOLE else H
    RO: tl.constexpr = 1 if WHOLE else HO
    LI: tl.constexpr = H * W if WHOLE else W
    LO: tl.constexpr = HO * WO if WHOLE else WO
    source = x + (which * C + c).to(tl.int64) * pictures * H * W
    taps = weight + tl.load(own + 1) + c * k * k
    factor, begin = tl.load(rate + which * C + c), tl.load(shift + which * C + c)
    row = tile * ROWS + tl.arange(0, ROWS)
    picture, h = row // RO, row % RO
    total = tl.zeros((ROWS, AFTER), tl.float32)
    for i in tl.static_range(K):
        at = h if WHOLE else h * STRIDE - padding + i * dilation
        there = (picture < pictures) & (at >= 0) & (at < RI)
        values, mask = _row(source, picture, at, there, RI, LI, BEFORE)
        tap = _taps(i, k, padding, dilation, STRIDE, H, W, HO, WO, WHOLE, BEFORE, AFTER)
        band = tl.load(taps + tap, mask=tap >= 0, other=0.0)
        total = tl.dot(_rectified(values, mask, factor, begin), band, total, input_precision=PRECISION)
    t = tl.arange(0, AFTER)
    sink = out + (n * C + c).to(tl.int64) * pictures * HO * WO
    tl.store(sink + (row * LO)[:, None] + t[None, :], total, mask=(picture < pictures)[:, None] & (t < LO)[None, :])


@triton.jit
def input_grad(
    x, weight, grad, out, rate, shift, table, members, pictures,
    K: tl.constexpr, STRIDE: tl.constexpr, C: tl.constexpr, H: tl.constexpr, W: tl.constexpr, HO: tl.constexpr,
    WO: tl.constexpr, WHOLE: tl.constexpr, BEFORE: tl.constexpr, AFTER: tl.constexpr, ROWS: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """The gradient for the batch norm's result, ``(maps, C, B, H, W)``: the sum over the convolutions of each map.

    ``members`` convolutions, one after the other in the table, read one map.
    """
    tile, c, m = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    RI: tl.constexpr = 1 if WHOLE else H
    RO: tl.constexpr = 1 if WHOLE else HO
    LI: tl.constexpr = H * W if WHOLE else W
    LO: tl.constexpr = HO * WO if WHOLE else WO
    row = tile * ROWS + tl.arange(0, ROWS)
    picture, h = row // RI, row % RI
    total = tl.zeros((ROWS, BEFORE), tl.float32)
    for n in range(m * members, (m + 1) * members):
        own = table + n * FIELDS
        k, padding, dilation = tl.load(own + 2), tl.load(own + 3), tl.load(own + 4)
        taps = weight + tl.load(own + 1) + c * k * k
        sent = grad + (n * C + c).to(tl.int64) * pictures * HO * WO
        for i in tl.static_range(K):
            down = h if WHOLE else h + padding - i * dilation
            at = down if WHOLE else down // STRIDE
            there = (picture < pictures) & (down >= 0) & (at < RO)
            if STRIDE > 1 and not WHOLE:
                there = there & (at * STRIDE == down)
            values, _ = _row(sent, picture, at, there, RO, LO, AFTER)
            tap = _taps(i, k, padding, dilation, STRIDE, H, W, HO, WO, WHOLE, BEFORE, AFTER)
            band = tl.load(taps + tap, mask=tap >= 0, other=0.0)
            total = tl.dot(values, tl.trans(band), total, input_precision=PRECISION)
    which = tl.load(table + m * members * FIELDS)
    begin = (which * C + c).to(tl.int64) * pictures * H * W
    values, mask = _row(x + begin, picture, h, picture < pictures, RI, LI, BEFORE)
    seen = _rectified(values, mask, tl.load(rate + which * C + c), tl.load(shift + which * C + c))
    s = tl.arange(0, BEFORE)
    tl.store(out + begin + (row * LI)[:, None] + s[None, :], tl.where(seen <= 0, 0.0, total), mask=mask)


@triton.jit
def weight_grad(
    x, grad, out, rate, shift, table, pictures, weights, chunk,
    K: tl.constexpr, STRIDE: tl.constexpr, C: tl.constexpr, H: tl.constexpr, W: tl.constexpr, HO: tl.constexpr,
    WO: tl.constexpr, WHOLE: tl.constexpr, BEFORE: tl.constexpr, AFTER: tl.constexpr, ROWS: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """The gradient for the weights, for each chunk of tiles of rows: ``(chunks, weights)``.

    A program computes one row of taps of a channel, or all of them if ``WHOLE``.
    """
    s, c, member = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    n, i = member // K, member % K
    own = table + n * FIELDS
    which, k, padding, dilation = tl.load(own), tl.load(own + 2), tl.load(own + 3), tl.load(own + 4)
    RI: tl.constexpr = 1 if WHOLE else H
    RO: tl.constexpr = 1 if WHOLE else HO
    LI: tl.constexpr = H * W if WHOLE else W
    LO: tl.constexpr = HO * WO if WHOLE else WO
    source = x + (which * C + c).to(tl.int64) * pictures * H * W
    sent = grad + (n * C + c).to(tl.int64) * pictures * HO * WO
    factor, begin = tl.load(rate + which * C + c), tl.load(shift + which * C + c)
    total = tl.zeros((BEFORE, AFTER), tl.float32)
    for tile in range(s * chunk, (s + 1) * chunk):
        row = tile * ROWS + tl.arange(0, ROWS)
        picture, h = row // RO, row % RO
        at = h if WHOLE else h * STRIDE - padding + i * dilation
        there = (picture < pictures) & (at >= 0) & (at < RI)
        values, mask = _row(source, picture, at, there, RI, LI, BEFORE)
        gradient, _ = _row(sent, picture, h, picture < pictures, RO, LO, AFTER)
        seen = _rectified(values, mask, factor, begin)
        total = tl.dot(tl.trans(seen), gradient, total, input_precision=PRECISION)
    tap = _taps(i, k, padding, dilation, STRIDE, H, W, HO, WO, WHOLE, BEFORE, AFTER)
    into = out + s * weights + tl.load(own + 1) + c * k * k
    first = 0 if WHOLE else i * k
    for q in range(first, k * k if WHOLE else first + k):
        tl.store(into + q, tl.sum(tl.where(tap == q, total, 0.0)))
