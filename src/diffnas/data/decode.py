"""A picture file of any size and mode, decoded into the bytes that a network takes.

This file imports only Pillow and NumPy because it has two uses. diffnas reads every picture with it, and an exported
network comes with a copy of it, ``preprocess.py``, so that both see the same pixels.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from threading import Lock
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

# The formats that Pillow decodes itself. Documents (EPS, PDF, WMF) are left out, as some would start other programs,
# and so are containers that Pillow opens without saying which format is inside.
FORMATS = frozenset((
    "AVIF", "BLP", "BMP", "CUR", "DCX", "DDS", "DIB", "FITS", "FLI", "FTEX", "GBR", "GIF", "ICNS", "ICO", "IM", "IMT",
    "JPEG", "JPEG2000", "MCIDAS", "MSP", "PCD", "PCX", "PIXAR", "PNG", "PPM", "PSD", "QOI", "SGI", "SPIDER", "SUN",
    "TGA", "TIFF", "WEBP", "XBM", "XPM", "XVTHUMB",
))  # fmt: skip

MOST_PIXELS = 2**26
"""The most pixels of a picture that is read, unless the environment variable DIFFNAS_MAX_PIXELS sets another limit."""

_VARIABLE = "DIFFNAS_MAX_PIXELS"
_DRAWN_BY = "diffnas"  # the entry "Software" in the metadata of our drawings
_GREY = ("1", "L", "LA", "La")
_DEEP = ("I", "I;16", "I;16L", "I;16B", "I;16N", "F")
_UNOPENED = ((stat.S_ISFIFO, "pipe"), (stat.S_ISSOCK, "socket"), (stat.S_ISCHR, "device"), (stat.S_ISBLK, "device"))

# Files that are often found among pictures but cannot be read: offset, first bytes, what the user is told.
_OTHERS = (
    (0, (b"%!PS", b"\xc5\xd0\xd3\xc6"), "an EPS document, which only another program could draw; save it as PNG"),
    (0, (b"%PDF",), "a PDF document; save its pictures as PNG or JPEG"),
    (0, (b"\xd7\xcd\xc6\x9a", b"\x01\x00\x00\x00"), "a WMF or EMF drawing; save it as PNG"),
    (0, (b"PK\x03\x04", b"\x1f\x8b", b"7z\xbc\xaf", b"Rar!"), "an archive; unpack it"),
    (4, (b"ftyphei", b"ftyphev", b"ftypmif1"), "a HEIC picture, which Pillow cannot read; save it as JPEG"),
)


class NoPicture(ValueError):  # noqa: N818 - named for what it says
    """Raised for a file that is not read; the message is the reason."""


def read(
    file: str | Path | BinaryIO, channels: int, size: tuple[int, int], levels: tuple[float, float] | None = None
) -> NDArray[np.uint8]:
    """The picture in a file as a network takes it: uint8, ``(channels, H, W)``.

    Args:
        file: its path, or the file opened for reading bytes.
        channels: 1 for grey, 3 for color.
        size: height and width.
        levels: the values of black and white in grey files of more than 8 bits; see :func:`plain`.

    Raises:
        NoPicture: a ValueError whose message says why the file is not read.
        OSError: the file is damaged or missing. Pillow may raise other exceptions too.
    """
    return fitted(plain(loaded(file), levels), channels, size)


def loaded(file: str | Path | BinaryIO) -> Image.Image:
    """The picture in a file, or its first frame, fully decoded and in the file's own mode.

    A JPEG file of more pixels than ``MOST_PIXELS`` is decoded at a half, a quarter or an eighth of its width and
    height. Pipes and devices are never opened, nor are formats that are not in ``FORMATS``.

    Raises:
        NoPicture: the file is no picture, has a format that is not read, or has too many pixels.
        OSError: the file is damaged or missing. Pillow may raise other exceptions too.
    """
    if isinstance(file, str | Path):
        _check_kind(file)
    try:
        opened = _open(file)
    except UnidentifiedImageError:
        raise NoPicture(_kind_of(file)) from None
    with opened as image:
        if image.info.get("Software") == _DRAWN_BY:
            raise NoPicture("a drawing by diffnas")
        _check_pixels(image, _most_pixels())
        whole: Image.Image = image.copy()
    return whole


def plain(image: Image.Image, levels: tuple[float, float] | None = None) -> Image.Image:
    """The picture upright and fully decoded, in mode ``L`` if it is grey and ``RGB`` if not.

    EXIF orientation is applied. Transparent pixels become white. A palette that holds only greys counts as grey. Of an
    animation, the first frame is used.

    Args:
        image: as Pillow opened it.
        levels: the values that become black and white in a grey picture of more than 8 bits. Without them, whole
            numbers are scaled from 0 and 65535.

    Raises:
        NoPicture: floating-point pixels without levels, or pixels that are not finite.
        OSError: the file is damaged. Pillow may raise other exceptions too.
    """
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode in _DEEP:
        return _grey_bytes(image, levels)
    grey = image.mode in _GREY or _has_grey_palette(image)
    if image.has_transparency_data:
        over = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), over)
    return image.convert("RGB").convert("L") if grey else image.convert("RGB")


def fitted(image: Image.Image, channels: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """A plain picture as uint8, ``(channels, H, W)``: scaled to cover ``size``, then cropped at the center."""
    image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (size[1], size[0]):
        image = ImageOps.fit(image, (size[1], size[0]), Image.Resampling.BILINEAR)
    pixels = np.array(image)
    return pixels[np.newaxis] if channels == 1 else pixels.transpose(2, 0, 1)


def span_of(image: Image.Image) -> tuple[float, float] | None:
    """The lowest and the highest value of a grey picture of more than 8 bits; None for any other picture.

    Raises:
        NoPicture: pixels that are not finite.
    """
    image.load()
    if image.mode not in _DEEP:
        return None
    values = _values(image)
    return float(np.min(values)), float(np.max(values))


def reason(error: Exception) -> str:
    """The reason why a file cannot be read as a picture, in one line that does not name the file."""
    if isinstance(error, NoPicture):
        return str(error)
    if isinstance(error, FileNotFoundError):
        return "there is no such file, or a link leads nowhere"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if "PngImagePlugin.MAX_TEXT" in str(error) or "Decompressed data too large" in str(error):
        return "its text or color profile is larger than Pillow unpacks; save it without"
    return " ".join(f"{type(error).__name__}: {error}".split())


def _check_kind(path: str | Path) -> None:
    """Refuse a path that leads to no ordinary file; opening a pipe, for example, would wait for ever."""
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise NoPicture("there is no file in this folder, or its files may not be listed")
    for is_kind, kind in _UNOPENED:
        if is_kind(mode):
            raise NoPicture(f"a {kind}, which is never opened")


def _open(file: str | Path | BinaryIO) -> Image.Image:
    """The picture in a file; Pillow has read the header only, no pixels yet."""
    Image.init()
    with _unlimited:
        # In the order in which Pillow tries them: some formats are recognized only because no earlier one fits.
        return Image.open(file, formats=[name for name in Image.ID if name in FORMATS])


class _Unlimited:
    """A context in which Pillow has no limit of pixels, because ``_check_pixels`` applies ours.

    Pillow has one limit for the whole process, and several threads may be in this context at once. So the last thread
    that leaves it restores the limit.
    """

    def __init__(self) -> None:
        self.turn, self.inside, self.kept = Lock(), 0, Image.MAX_IMAGE_PIXELS

    def __enter__(self) -> None:
        with self.turn:
            if not self.inside:
                self.kept, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            self.inside += 1

    def __exit__(self, *error: object) -> None:
        with self.turn:
            self.inside -= 1
            if not self.inside:
                Image.MAX_IMAGE_PIXELS = self.kept


_unlimited = _Unlimited()


def _most_pixels() -> int:
    """The most pixels that are read: the environment variable's number, or ``MOST_PIXELS`` where it is not set."""
    given = os.environ.get(_VARIABLE, str(MOST_PIXELS))
    if not given.isdecimal() or int(given) < 1:
        raise NoPicture(f"the environment variable {_VARIABLE} must be a whole number above 0, not {given!r}")
    return int(given)


def _check_pixels(image: Image.Image, most: int) -> None:
    """Refuse a picture of more than ``most`` pixels; a larger JPEG is first set to be decoded at a smaller size."""
    width, height = image.size
    part = next((part for part in (1, 2, 4) if width * height <= most * part**2), 8)
    if part > 1:
        image.draft(None, (width // part, height // part))
    if image.width * image.height > most:
        raise NoPicture(
            f"{width} x {height} pixels are more than the {most} that are read; "
            f"to read it, set the environment variable {_VARIABLE}={width * height}"
        )


def _kind_of(file: str | Path | BinaryIO) -> str:
    """What kind of file this is, given that it is no picture; its first bytes decide."""
    if isinstance(file, str | Path):
        with open(file, "rb") as opened:
            start = opened.read(16)
    else:
        file.seek(0)
        start = file.read(16)
    for offset, beginnings, kind in _OTHERS:
        if start.startswith(beginnings, offset):
            return kind
    return "empty, or not a picture"


def _values(image: Image.Image) -> NDArray[np.float64]:
    """The pixels of a grey picture of more than 8 bits, ``(H, W)``."""
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise NoPicture("some of its pixels are not finite numbers")
    return values


def _grey_bytes(image: Image.Image, levels: tuple[float, float] | None) -> Image.Image:
    """A grey picture of more than 8 bits as one of 8."""
    if levels is None and image.mode == "F":
        raise NoPicture("floating-point pixels have no stated range, and no training picture gave one")
    low, high = levels or (0, 65535)
    values = _values(image)
    scaled = np.rint((values - low) * (255 / ((high - low) or 1))).clip(0, 255).astype(np.uint8)
    if "transparency" in image.info:
        scaled[values == image.info["transparency"]] = 255
    return Image.fromarray(scaled)


def _has_grey_palette(image: Image.Image) -> bool:
    """Whether every color of the picture's palette is a grey."""
    palette = image.getpalette("RGB") if image.mode in ("P", "PA") else None
    return palette is not None and palette[0::3] == palette[1::3] == palette[2::3]
