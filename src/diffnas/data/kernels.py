"""The augmentation of a batch on a CPU, compiled by Numba.

Import this module only where it is used, because Numba is an optional dependency. The first call on a machine compiles
for a second; Numba's cache keeps the result. The numbers are exactly those of the torch operations in
:mod:`diffnas.data.augment`, from one pass over the pixels instead of ten, and no memory is needed but the result's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

Function = TypeVar("Function", bound=Callable[..., Any])


def _compiled(function: Function) -> Function:
    # No "fastmath": a fused multiply-add rounds once where torch rounds twice.
    try:
        return cast(Function, njit(cache=True, nogil=True, error_model="numpy")(function))
    except RuntimeError:  # neither the package's folder nor the user's cache can be written to
        return cast(Function, njit(nogil=True, error_model="numpy")(function))


@_compiled
def vary(
    images: NDArray[np.uint8],
    result: NDArray[np.float32],
    scale: NDArray[np.float32],
    shift: NDArray[np.float32],
    top: NDArray[np.int64],
    left: NDArray[np.int64],
    mirrored: NDArray[np.int64],
    channels: int,
) -> None:
    """Write ``scale * crop + shift`` for each picture; the crop is of the picture or of its mirror.

    Args:
        images: rows of pixels, ``(B, H, W * channels)``.
        result: the same shape; written.
        scale: the factor of each number in a row, ``(W * channels,)``.
        shift: the summand of each number in a row, ``(W * channels,)``.
        top: first row of each crop, ``(B,)``; below 0, and past the last row, pixels are black.
        left: first column, in the mirror for a mirrored picture, ``(B,)``.
        mirrored: 1 for a picture to be mirrored left to right, else 0, ``(B,)``.
        channels: numbers in a pixel.
    """
    B, H, length = images.shape
    W = length // channels
    crop = np.empty((H, length), np.uint8)
    for b in range(B):
        crop[:] = 0
        first, last = max(0, -left[b]), min(W, W - left[b])
        count = (last - first) * channels
        begin = (W - left[b] - last if mirrored[b] else first + left[b]) * channels
        for y in range(max(0, -top[b]), min(H, H - top[b])):
            pixels = images[b, y + top[b], begin : begin + count]
            place = crop[y, first * channels : first * channels + count]
            if not mirrored[b]:
                for i in range(count):
                    place[i] = pixels[i]
            elif channels == 3:  # the unrolled loop takes half the time
                for x in range(0, count, 3):
                    place[x] = pixels[count - 3 - x]
                    place[x + 1] = pixels[count - 2 - x]
                    place[x + 2] = pixels[count - 1 - x]
            else:
                for x in range(0, count, channels):
                    for c in range(channels):
                        place[x + c] = pixels[count - channels - x + c]
        # Separate rows and an explicit loop let the compiler process sixteen numbers at a time.
        for y in range(H):
            source, target = crop[y], result[b, y]
            for i in range(length):
                target[i] = np.float32(source[i]) * scale[i] + shift[i]


@_compiled
def blank(
    result: NDArray[np.float32], row: NDArray[np.int64], column: NDArray[np.int64], side: int, channels: int
) -> None:
    """Write zeros over a square of ``side`` pixels around a pixel of each picture, ``(B, H, W * channels)``."""
    B, H, length = result.shape
    for b in range(B):
        first = max(0, column[b] - side // 2) * channels
        last = min(length, (column[b] + side - side // 2) * channels)
        for y in range(max(0, row[b] - side // 2), min(H, row[b] + side - side // 2)):
            for i in range(first, last):
                result[b, y, i] = 0.0
