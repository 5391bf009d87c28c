"""One picture file, of any size and mode, as grey or color bytes."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

_GREY = ("1", "L", "LA", "La")
_DEEP = ("I", "I;16", "I;16L", "I;16B", "I;16N")


def plain(image: Image.Image) -> Image.Image:
    """The picture upright, decoded whole, in mode ``L`` if it is grey and ``RGB`` if not.

    The camera's orientation note (EXIF) is followed. Sixteen bits become eight by scaling, and transparent
    pixels become white. A palette of greys counts as grey. Of an animation, the first frame is taken.

    Raises:
        ValueError: floating-point pixels, whose range no file states.
        OSError: the file is damaged; Pillow may raise others too.
    """
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise ValueError("floating-point pixels have no stated range")
    if image.mode in _DEEP:
        deep = np.asarray(image).astype(np.int64).clip(0, 65535)
        return Image.fromarray(((deep + 128) // 257).astype(np.uint8))
    grey = image.mode in _GREY or _has_grey_palette(image)
    if image.has_transparency_data:
        over = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), over)
    return image.convert("RGB").convert("L") if grey else image.convert("RGB")


def _has_grey_palette(image: Image.Image) -> bool:
    """Whether every color of the picture's palette is a grey."""
    palette = image.getpalette("RGB") if image.mode in ("P", "PA") else None
    return palette is not None and palette[0::3] == palette[1::3] == palette[2::3]


def fitted(image: Image.Image, channels: int, size: tuple[int, int]) -> Tensor:
    """A plain picture as uint8, ``(channels, H, W)``: scaled to cover ``size``, then cropped at the center."""
    image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (size[1], size[0]):
        image = ImageOps.fit(image, (size[1], size[0]), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(image))
    return pixels.unsqueeze(0) if channels == 1 else pixels.permute(2, 0, 1)
