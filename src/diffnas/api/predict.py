"""Naming what is in picture files."""

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
_TOP = whole(1, 1_000_000)


def predict_files(
    trained: Trained, pictures: Iterable[str | Path], top: int = 1
) -> Iterator[tuple[Path, Guesses | str]]:
    """For each picture, the ``top`` likeliest classes with their probabilities, or the reason why it cannot be read.

    Pictures are brought to the network's size as its training pictures were: scaled to cover it, then cropped.

    Args:
        trained: the network.
        pictures: files, and folders, which stand for the files in them, at any depth, but for hidden ones and those
            in run folders.
        top: how many classes to name; all of them if there are fewer.

    Raises:
        ValueError: for a ``top`` that is no whole number from 1 on.
    """
    top = _TOP.check("top", top)
    paths = picture_files(pictures)
    while batch := list(islice(paths, _AT_ONCE)):
        read = {path: read_picture(trained, path) for path in batch}
        pixels = [picture for picture in read.values() if isinstance(picture, Tensor)]
        guesses = iter(_guess(trained, torch.stack(pixels), top) if pixels else ())
        for path, picture in read.items():
            yield path, picture if isinstance(picture, str) else next(guesses)


def picture_files(places: Iterable[str | Path]) -> Iterator[Path]:
    """Files as they are, and all files of folders, sorted; a folder with no file in it stands for itself.

    Of a folder, what :func:`diffnas.data.walk.files_in` leaves out is left out; a folder that may not be read stands
    for itself.
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
    """A picture as the network takes it, uint8 ``(channels, H, W)``, or the reason why it cannot be read."""
    from diffnas.data.decode import read, reason

    try:
        return torch.from_numpy(read(path, trained.channels, trained.size, trained.levels))
    except Exception as error:  # What a damaged file makes Pillow raise has no common type.
        return f"{reason(error)}."


def _guess(trained: Trained, pictures: Tensor, top: int) -> Iterator[Guesses]:
    best = trained.predict(pictures).cpu().topk(min(top, len(trained.classes)))
    for values, indices in zip(best.values.tolist(), best.indices.tolist(), strict=True):
        yield [(trained.classes[k], value) for value, k in zip(values, indices, strict=True)]
