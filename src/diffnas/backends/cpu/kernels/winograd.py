"""Dense 3x3 convolutions by tiles, with four multiplications in place of nine, for Numba.

This is Winograd's F(2x2, 3x3) (Lavin and Gray, 2016, section 4.1). Tiles of 4x4 pixels begin at every second pixel. A
transform turns each tile into sixteen numbers for each channel, and another transform turns the weights into sixteen
matrices. Each of the sixteen is one matrix product. A third transform turns the products into 2x2 results. All three
only add and halve. In float32, rounding is no worse than with a direct convolution, whose sums have nine times the
terms.

The gradient for the picture is the same kind of convolution, of the gradient with rotated weights. The gradient for the
weights has the transposed products, and reads the same tiles of the gradient.
"""

from __future__ import annotations

from diffnas.backends.cpu.kernels.address import address_of
from diffnas.backends.cpu.kernels.buffer import Floats
from diffnas.backends.cpu.kernels.compiler import part
from diffnas.backends.cpu.kernels.llvm import LANES
from diffnas.backends.cpu.kernels.products import pointwise, pointwise_weights
from diffnas.backends.cpu.kernels.transforms import FOLDED, RESULTS, SPREAD, TAPS, TILE, transform

MATRICES = 16
"""How many matrices replace the nine of a 3x3 convolution."""

STRIP = 1024
"""Numbers of one matrix in the tiles of one strip, so few that products and results stay in the L2 cache."""

GAP = 48
"""Numbers between the tiles of two matrices: at distances of a power of two, all would compete for one cache set."""


@part
def tile_rows(columns: int, full: int) -> int:
    """How many rows of tiles one strip has, for results with this many columns and at most ``full`` channels."""
    return max(1, STRIP // (max(1, columns // 2) * full))


@part
def tiles_size(columns: int, full: int) -> int:
    """How many numbers the tiles of one strip have, for all matrices."""
    return MATRICES * (tile_rows(columns, full) * (columns // 2) * full + GAP)


@part
def tile_weights(taps: Floats, out: int, before: int, after: int) -> None:
    """Transform weights from ``(3, 3, before, after)`` to ``(16, before, after)``."""
    size, w = before * after, address_of(taps)
    for at in range(0, size, LANES):
        transform(out + 4 * at, size, 4 * size, w + 4 * at, size, 3 * size, TAPS, False)


@part
def fold_weights(grad: int, out: int, before: int, after: int) -> None:
    """Transform the sums of ``tiled_back``, ``(16, before, after)``, to the gradient for ``(3, 3, before, after)``."""
    size = before * after
    for at in range(0, size, LANES):
        # From the last to the first number, because these weights were rotated.
        transform(out + 4 * (8 * size + at), -size, -3 * size, grad + 4 * at, size, 4 * size, FOLDED, False)


@part
def _tiles(x: int, pitch: int, out: int, apart: int, spread: bool, rows: int, columns: int, full: int) -> None:
    """Transform ``rows`` by ``columns`` tiles of 4x4 pixels, which begin at every second pixel.

    With ``spread``, transform tiles of 2x2 pixels by the transpose of what ``_results`` does.
    """
    for i in range(rows):
        for j in range(columns):
            for c in range(0, full, LANES):
                place, pixel = out + 4 * ((i * columns + j) * full + c), x + 4 * (2 * (i * pitch + j) * full + c)
                if spread:
                    transform(place, apart, 4 * apart, pixel, full, pitch * full, SPREAD, False)
                else:
                    transform(place, apart, 4 * apart, pixel, full, pitch * full, TILE, False)


@part
def _results(tiles: int, apart: int, out: int, add: bool, rows: int, columns: int, full: int) -> None:
    """Write or add the 2x2 results of every tile, without gaps between rows."""
    width = 2 * columns * full
    for i in range(rows):
        for j in range(columns):
            for c in range(0, full, LANES):
                tile, place = tiles + 4 * ((i * columns + j) * full + c), out + 4 * (2 * i * width + 2 * j * full + c)
                if add:
                    transform(place, full, width, tile, apart, 4 * apart, RESULTS, True)
                else:
                    transform(place, full, width, tile, apart, 4 * apart, RESULTS, False)


@part
def tiled(
    out: int, x: int, pitch: int, w: int, rows: int, columns: int, before: int, after: int, read: int, nothing: int,
    memory: int,
) -> None:  # fmt: skip
    """A 3x3 convolution of some rows of a buffered picture, with weights ``(16, before, after)``.

    ``x`` is the address that the first tap reads first. Rows and columns are even, and there are at most twice
    ``tile_rows`` rows. Only the first ``read`` channels of the picture are multiplied; the others are padding.
    ``memory`` has twice ``tiles_size`` numbers.
    """
    high, wide = rows // 2, columns // 2
    apart, apart_after = high * wide * before + GAP, high * wide * after + GAP
    products = memory + 4 * MATRICES * apart
    _tiles(x, pitch, memory, apart, False, high, wide, before)
    for n in range(MATRICES):
        pointwise(
            products + 4 * n * apart_after, after, False, nothing, memory + 4 * n * apart, before, 0,
            w + 4 * n * before * after, 0, high * wide, read, 1, after,
        )  # fmt: skip
    _results(products, apart_after, out, False, high, wide, after)


@part
def tiled_back(
    grad_x: int, grad_w: int, x: int, grad: int, pitch: int, w: int, rows: int, columns: int, before: int, after: int,
    read: int, results: int, learn: bool, nothing: int, memory: int,
) -> None:  # fmt: skip
    """Add the gradients of a 3x3 convolution for a picture, ``(rows, columns, before)``, and for ``tiled``'s weights.

    Args:
        grad_x: the gradient for the picture.
        grad_w: the gradient for the weights, ``(16, before, after)``, which ``fold_weights`` transforms back.
        x: the picture, with gaps between rows.
        grad: the gradient for the result, in a buffer with zeros around it. The address is one row and one pixel before
            its first pixel.
        pitch: pixels from one row of x or grad to the next.
        w: rotated weights, ``(16, after, before)``.
        rows: an even number.
        columns: an even number.
        before: channels of the picture.
        after: channels of the result.
        read: channels of the picture without padding.
        results: channels of the result without padding.
        learn: whether to compute the gradient for the weights.
        nothing: zeros.
        memory: three times ``tiles_size`` numbers of scratch memory.
    """
    wide, most = columns // 2, tile_rows(columns, max(before, after))
    for top in range(0, rows // 2, most):
        high = min(most, rows // 2 - top)
        apart, apart_after = high * wide * before + GAP, high * wide * after + GAP
        products = memory + 4 * MATRICES * apart_after
        pixels = products + 4 * MATRICES * apart
        below = 2 * top * pitch
        _tiles(grad + 4 * below * after, pitch, memory, apart_after, False, high, wide, after)
        if learn:
            _tiles(x + 4 * below * before, pitch, pixels, apart, True, high, wide, before)
        for n in range(MATRICES):
            tiles = memory + 4 * n * apart_after
            pointwise(
                products + 4 * n * apart, before, False, nothing, tiles, after, 0, w + 4 * n * before * after, 0,
                high * wide, results, 1, before,
            )  # fmt: skip
            if learn:
                pointwise_weights(
                    grad_w + 4 * n * before * after, pixels + 4 * n * apart, before, 0, tiles, 0, high * wide, 1, read,
                    after,
                )  # fmt: skip
        _results(products, apart, grad_x + 4 * 2 * top * columns * before, True, high, wide, before)
