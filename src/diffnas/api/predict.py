"""Predictions for picture files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from diffnas.nets.trained import Trained
from diffnas.values import whole

Guesses: TypeAlias = list[tuple[str, float]]
_AT_ONCE = 64
TOP = whole(1, 1_000_000)


def predict_files(
    trained: Trained, pictures: Iterable[str | Path], top: int = 1
) -> Iterator[tuple[Path, Guesses | str]]:
    """For each picture, the ``top`` likeliest classes with their probabilities, or the reason why it cannot be read.

    If a picture can be in several classes, each probability stands by itself; otherwise those of all classes sum to 1.
    Pictures are resized as the training pictures were: scaled until they cover the network's size, then cropped.

    Args:
        trained: the network.
        pictures: files and folders. A folder stands for the files inside, at any depth, except hidden files and those
            in run folders.
        top: how many classes to name; all classes if there are fewer.

    Raises:
        ValueError: if ``top`` is not a whole number of 1 or more.
    """
    top = TOP.check("top", top)
    paths = picture_files(pictures)
    while batch := list(islice(paths, _AT_ONCE)):
        read = {path: read_picture(trained, path) for path in batch}
        pixels = [picture for picture in read.values() if isinstance(picture, Tensor)]
        guesses = iter(_guess(trained, torch.stack(pixels), top) if pixels else ())
        for path, picture in read.items():
            yield path, picture if isinstance(picture, str) else next(guesses)


def picture_files(places: Iterable[str | Path]) -> Iterator[Path]:
    """The files among ``places``, and all files in the folders among them, sorted.

    Files that :func:`diffnas.data.walk.files_in` leaves out are left out. The path of an empty or unreadable folder is
    returned itself, so that it gets an error of its own.
    """
    from diffnas.data.walk import UNREADABLE, files_in

    for place in map(Path, places):
        if not place.is_dir():
            yield place
            continue
        found = files_in(place)
        unreadable = [left.path for left in found.left if left.reason.startswith(UNREADABLE)]
        yield from [*found.files, *unreadable] or [place]


def read_picture(trained: Trained, path: Path) -> Tensor | str:
    """A picture in the network's size and channels, uint8 ``(channels, H, W)``, or the reason why it cannot be read."""
    from diffnas.data.decode import read, reason

    height, width = trained.size
    try:
        return torch.from_numpy(read(path, trained.channels, (height, width), trained.levels))
    except Exception as error:  # Pillow's errors for damaged files have no common type.
        return f"{reason(error)}."


def _guess(trained: Trained, pictures: Tensor, top: int) -> Iterator[Guesses]:
    best = trained.predict(pictures).cpu().topk(min(top, len(trained.classes)))
    for values, indices in zip(best.values.tolist(), best.indices.tolist(), strict=True):
        yield [(trained.classes[k], value) for value, k in zip(values, indices, strict=True)]
