"""Pictures that come one after the other, kept in a file on this machine's disk so that they can be read in any order.

Pictures that are fetched while they are used come in one order. A search takes them in another one in each epoch, fifty
times or more. So each is fetched once, and memory does not grow with their number.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from array import array
from typing import TYPE_CHECKING
from zlib import crc32

if TYPE_CHECKING:
    from PIL import Image


class Spool:
    """A file of pictures. It has no name, and the system removes it with the process.

    Args:
        size: height and width to which pictures of 8 bits are scaled before they are kept; None keeps them as they are.
        channels: what they get with this size: 1, 3, or None for 1 if a picture is grey.
    """

    def __init__(self, size: int | None, channels: int | None) -> None:
        self.size, self.channels = size, channels
        self.file = tempfile.TemporaryFile(prefix="diffnas-")  # noqa: SIM115 - closed with the data set
        weakref.finalize(self, self.file.close)
        self.starts = array("q", [0])
        self.shapes: list[tuple[str, tuple[int, int]]] = []
        self.transparent: dict[int, int] = {}

    def add(self, image: Image.Image) -> str:
        """A digest of the picture, once it is kept.

        Raises:
            NoPicture: if its pixels cannot be used.
            OSError: if the picture is damaged, or the disk is full.
        """
        from diffnas.data.decode import span_of

        if span_of(image) is None:
            image = self._plain(image)
        elif "transparency" in image.info:
            self.transparent[len(self.shapes)] = image.info["transparency"]
        content = image.tobytes()
        try:
            self.file.write(content)
            self.file.flush()
        except OSError as error:
            folder = tempfile.gettempdir()
            told = f"{error.strerror}, while pictures are kept in {folder}; set TMPDIR to a folder with more room"
            raise OSError(error.errno, told) from None
        self.starts.append(self.starts[-1] + len(content))
        self.shapes.append((image.mode, image.size))
        return f"{crc32(content):08x}"

    def read(self, row: int) -> Image.Image:
        """The picture that was added as number ``row``, from 0. Several threads may read at once."""
        from PIL import Image

        start, end = self.starts[row], self.starts[row + 1]
        content = os.pread(self.file.fileno(), end - start, start)
        image = Image.frombytes(*self.shapes[row], content)
        if row in self.transparent:
            image.info["transparency"] = self.transparent[row]
        return image

    def _plain(self, image: Image.Image) -> Image.Image:
        from PIL import Image

        from diffnas.data.decode import fitted, plain

        image = plain(image)
        if self.size is None:
            return image
        pixels = fitted(image, self.channels or (1 if image.mode == "L" else 3), (self.size, self.size))
        return Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0).copy())
