"""Varying and normalizing training pictures, a batch at a time, on the device that holds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from types import ModuleType
from typing import Annotated, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from diffnas.lookup import lookup
from diffnas.values import check_fields, whole

Kernels = Literal["auto", "stock"]


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How training pictures are varied.

    Args:
        pad: black pixels put around a picture before a crop of the old size is taken at random.
        flip: whether every second picture, at random, is mirrored left to right.
        cutout: side of the square that is blanked (Cutout, DeVries and Taylor, 2017); 0 for none.
    """

    pad: Annotated[int, whole(0, 10_000)] = 0
    flip: bool = False
    cutout: Annotated[int, whole(0, 10_000)] = 0

    def __post_init__(self) -> None:
        check_fields(self)


def normalize(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Pictures as a network takes them: float32, channels last in memory, scaled by ``mean`` and ``std``.

    Args:
        images: uint8, ``(B, channels, H, W)``.
        mean: of each channel, on a scale where white is 1.
        std: of each channel, on the same scale.

    Returns:
        ``(images / 255 - mean) / std``, ``(B, channels, H, W)``.

    >>> normalize(torch.full((1, 1, 1, 2), 255, dtype=torch.uint8), [0.5], [0.25])
    tensor([[[[2., 2.]]]])
    """
    W = images.shape[3]
    scale, shift = _affine(tuple(mean), tuple(std), W, images.device)
    rows = images.permute(0, 2, 3, 1).flatten(2)
    floats = rows.to(torch.float32, memory_format=torch.contiguous_format).mul_(scale).add_(shift)
    return floats.view(len(images), -1, W, images.shape[1]).permute(0, 3, 1, 2)


@lru_cache(maxsize=16)
def _affine(mean: tuple[float, ...], std: tuple[float, ...], W: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The factor and the summand that normalize a row of pixels: ``(W * channels,)`` each."""
    # Each number needs one multiplication and one addition. The constants are computed in float64, and have the shape
    # of a row of pixels, because PyTorch is slow at broadcasting the last dimension.
    mean_C, std_C = torch.tensor(mean, dtype=torch.float64), torch.tensor(std, dtype=torch.float64)
    scale, shift = 1 / (255 * std_C), -mean_C / std_C
    return scale.to(device, torch.float32).repeat(W), shift.to(device, torch.float32).repeat(W)


def augment(
    images: Tensor,
    augmentation: Augmentation,
    mean: Sequence[float],
    std: Sequence[float],
    generator: torch.Generator,
    *,
    kernels: Kernels = "auto",
) -> Tensor:
    """Training pictures varied as ``augmentation`` says, and normalized.

    The order is that of DARTS (Liu et al., 2019): pad and crop, flip, normalize, cutout. So padding is
    black, and cutout writes 0, the mean color.

    Args:
        images: uint8, ``(B, channels, H, W)``.
        augmentation: which changes to make.
        mean: of each channel, on a scale where white is 1.
        std: of each channel, on the same scale.
        generator: draws all random numbers; it may live on the CPU or on the device of the images.
        kernels: "auto" uses compiled kernels for pictures on a CPU if Numba is installed; "stock" uses torch alone.
            Both give the same result to the last bit.

    Returns:
        ``(B, channels, H, W)``, float32, channels last in memory.

    Raises:
        ValueError: if ``kernels`` is unknown.

    >>> images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    >>> augment(images, Augmentation(pad=1, flip=True), [0.5] * 3, [0.5] * 3, torch.Generator()).shape
    torch.Size([2, 3, 8, 8])
    """
    lookup("kernels", kernels, dict.fromkeys(("auto", "stock")))
    draws = _draw(images, augmentation, generator)
    compiled = _compiled_kernels() if kernels == "auto" and images.device.type == "cpu" else None
    if compiled is not None:
        return _vary_compiled(compiled, images, augmentation, draws, mean, std)
    if augmentation.pad or augmentation.flip:
        images = _crop_and_flip(images, augmentation, draws)
    floats = normalize(images, mean, std)
    if augmentation.cutout:
        _cutout(floats, augmentation.cutout, draws)
    return floats


class _Draws(NamedTuple):
    """The random numbers of each picture, int64 ``(B,)``; zeros for a change that ``augmentation`` does not make.

    Attributes:
        top, left: where the crop begins in the padded picture.
        mirrored: 1 if the picture is mirrored before the crop, else 0.
        row, column: the center of the square that cutout blanks.
    """

    top: Tensor
    left: Tensor
    mirrored: Tensor
    row: Tensor
    column: Tensor


def _draw(images: Tensor, augmentation: Augmentation, generator: torch.Generator) -> _Draws:
    B, _, H, W = images.shape
    moves, spots = augmentation.pad or augmentation.flip, 2 * augmentation.pad + 1
    cuts = augmentation.cutout
    bounds = (moves and spots, moves and spots, augmentation.flip and 2, cuts and H, cuts and W)
    nothing = torch.zeros(B, dtype=torch.int64, device=images.device)

    def numbers(below: int) -> Tensor:
        drawn = torch.randint(below, (B,), generator=generator, device=generator.device)
        return drawn.to(images.device)

    return _Draws(*(numbers(int(below)) if below else nothing for below in bounds))


@cache
def _compiled_kernels() -> ModuleType | None:
    """The compiled kernels; None without Numba."""
    try:
        from diffnas.data import kernels
    except ImportError:
        return None
    return kernels


def _vary_compiled(
    compiled: ModuleType,
    images: Tensor,
    augmentation: Augmentation,
    draws: _Draws,
    mean: Sequence[float],
    std: Sequence[float],
) -> Tensor:
    """The result of ``augment``, made by compiled kernels in one pass over the pixels."""
    B, C, H, W = images.shape
    top, left, mirrored, row, column = (numbers.numpy() for numbers in draws)
    scale, shift = _affine(tuple(mean), tuple(std), W, images.device)
    pixels = images.permute(0, 2, 3, 1).contiguous().view(B, H, W * C)
    result = torch.empty(B, H, W * C)
    corner = top - augmentation.pad, left - augmentation.pad
    compiled.vary(pixels.numpy(), result.numpy(), scale.numpy(), shift.numpy(), *corner, mirrored, C)
    if augmentation.cutout:
        compiled.blank(result.numpy(), row, column, augmentation.cutout, C)
    return result.view(B, H, W, C).permute(0, 3, 1, 2)


def _crop_and_flip(images: Tensor, augmentation: Augmentation, draws: _Draws) -> Tensor:
    """Crops of the padded pictures, or of their mirrors: ``(B, C, H, W)``, uint8, at the places that were drawn."""
    B, C, H, W = images.shape
    pad = augmentation.pad
    which = torch.arange(B, device=images.device)
    pixels = images.permute(0, 2, 3, 1)
    if augmentation.flip:
        which = which + B * draws.mirrored
        pixels = torch.cat([pixels, pixels.flip(2)])
    padded = functional.pad(pixels, (0, 0, pad, pad, pad, pad))
    # All bytes from a crop's first to its last are copied in one piece. The piece also holds the bytes between
    # the crop's rows; the strides of the result skip them.
    row = (W + 2 * pad) * C
    run = (H - 1) * row + W * C
    first = (which * (H + 2 * pad) + draws.top) * (W + 2 * pad) + draws.left
    runs = padded.flatten().unfold(0, run, C).index_select(0, first)
    return runs.as_strided((B, H, W, C), (run, row, C, 1)).permute(0, 3, 1, 2)


def _cutout(floats: Tensor, side: int, draws: _Draws) -> None:
    """Blank, in place, a square of ``side`` pixels around a random pixel of each picture."""
    B, C, H, W = floats.shape
    around = torch.arange(-(side // 2), side - side // 2, device=floats.device)
    # The center lies in the picture, so a place that the clamp moves to the border still lies in the square.
    rows = (draws.row.view(B, 1, 1) + around.view(1, side, 1)).clamp(0, H - 1)
    columns = (draws.column.view(B, 1, 1) + around.view(1, 1, side)).clamp(0, W - 1)
    pictures = torch.arange(B, device=floats.device).view(B, 1, 1)
    # Filling by index is several times faster than by a mask that is broadcast over the channels.
    places = ((pictures * H + rows) * W + columns).flatten()
    floats.permute(0, 2, 3, 1).view(-1, C).index_fill_(0, places, 0.0)
