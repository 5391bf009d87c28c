"""Triton kernels of 1x1 convolutions, for maps that lie in memory as ``(B, H, W, C)``.

Such a map is a matrix of pixels by channels. Its products run on tensor cores, which take 16 rows and columns at least.
"""

# Triton compiles these functions; they have no types that a checker knows.
# mypy: ignore-errors

from __future__ import annotations

import triton
import triton.language as tl

from diffnas.backends.gpu.kernels import map_of


@triton.jit
def operand(x, PRECISION: tl.constexpr):
    """A factor of a product: tensor cores cut float32 down to TF32, so it is rounded before."""
    if PRECISION == "tf32":
        # Half of the last bit that is kept. The bits of NaN could become those of a number.
        rounded = (x.to(tl.int32, bitcast=True) + 0x1000).to(tl.float32, bitcast=True)
        x = tl.where(x == x, rounded, x)
    return x


@triton.jit(do_not_specialize=["longer"])
def through(
    table, y, factors, shift, between, weight, sent, learned, pixels, chunk, longer, weights,
    C: tl.constexpr, D: tl.constexpr, LEARN: tl.constexpr, PRECISION: tl.constexpr,
    PIXELS: tl.constexpr, INNER: tl.constexpr, OUTER: tl.constexpr,
):  # fmt: skip
    """The backward pass of N 1x1 convolutions ``y = between @ weight'``, and of the batch norms after them.

    For each convolution, with ``grad`` from the table of N addresses, ``(pixels, D)``:

    - ``g = scale * grad + slope * y + shift`` by channel for the first ``longer`` ones, as ``settle`` defines it; ``g``
      is ``grad`` for the others. ``factors`` is ``(longer, 2, D)``, of slope and scale.
    - ``sent = g @ weight``, ``(pixels, C)``.
    - With ``LEARN``, the gradient for the weight, ``g' @ between``, ``(D, C)``, for each of S chunks of pixels. One row
      of ``learned`` has ``weights`` numbers.

    A program computes a chunk and a block of ``INNER`` channels of one convolution.
    """
    n, s = tl.program_id(0), tl.program_id(1)
    inner, outer = tl.program_id(2) * INNER + tl.arange(0, INNER), tl.arange(0, OUTER)
    real = (outer < D)[:, None] & (inner < C)[None, :]
    own = outer[:, None] * C + inner[None, :]
    matrix = operand(tl.load(weight + n * D * C + own, mask=real, other=0.0), PRECISION)
    has_norm = (outer < D) & (n < longer)
    slope = tl.load(factors + 2 * n * D + outer, mask=has_norm, other=0.0)[None, :]
    scale = tl.load(factors + (2 * n + 1) * D + outer, mask=has_norm, other=1.0)[None, :]
    begin = tl.load(shift + n * D + outer, mask=has_norm, other=0.0)[None, :]
    grad, first = map_of(table, n, D), n.to(tl.int64) * pixels
    total = tl.zeros((OUTER, INNER), tl.float32)
    end = tl.minimum((s + 1) * chunk, pixels)
    for start in range(s * chunk, end, PIXELS):
        pixel = start + tl.arange(0, PIXELS)
        row, column = (pixel < end)[:, None] & (outer < D)[None, :], (pixel < end)[:, None] & (inner < C)[None, :]
        place = pixel[:, None] * D + outer[None, :]
        result = tl.load(y + first * D + place, mask=row & (n < longer), other=0.0)
        g = scale * tl.load(grad + place, mask=row, other=0.0) + slope * result + begin
        g = operand(tl.where(row, g, 0.0), PRECISION)
        place = first * C + pixel[:, None] * C + inner[None, :]
        tl.store(sent + place, tl.dot(g, matrix, input_precision=PRECISION), mask=column)
        if LEARN:
            read = operand(tl.load(between + place, mask=column, other=0.0), PRECISION)
            total = tl.dot(tl.trans(g), read, total, input_precision=PRECISION)
    if LEARN:
        tl.store(learned + s * weights + n * D * C + own, total, mask=real)
