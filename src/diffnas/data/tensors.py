"""Data sets made of tensors, or of a torch ``Dataset``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffnas.data.augment import Augmentation
from diffnas.data.gather import MEMORY_LIMIT, Source, Wish, gather
from diffnas.data.pictures import DataSet, Pictures
from diffnas.data.statistics import channel_statistics

if TYPE_CHECKING:
    from PIL import Image
    from torch.utils.data import Dataset


def from_tensors(
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    *,
    classes: tuple[str, ...] | None = None,
    name: str = "tensors",
    augmentation: Augmentation | None = None,
) -> DataSet:
    """A data set of tensors that are already in memory.

    Args:
        train: pictures and labels. Pictures are ``(pictures, channels, H, W)`` or, if grey,
            ``(pictures, H, W)``: uint8, or floats from 0 to 1. Labels are whole numbers, ``(pictures,)``.
        test: the same for the test split.
        classes: the name of each label; by default the labels themselves, up to the highest.
        name: what reports call the data set.
        augmentation: by default one pixel of padding for every eight of the shorter side, and flips.

    Raises:
        ValueError: a type, range or shape that cannot be used, or whatever :class:`DataSet` refuses.

    >>> images, labels = torch.rand(6, 3, 16, 16), torch.tensor([0, 1, 0, 1, 0, 1])
    >>> from_tensors((images, labels), (images[:2], labels[:2])).classes
    ('0', '1')
    """
    first, second = _pictures("training", *train), _pictures("test", *test)
    if classes is None:
        labels = torch.cat([first.labels.cpu(), second.labels.cpu()])
        highest = int(labels.max()) if len(labels) else -1
        classes = tuple(str(label) for label in range(highest + 1))
    mean, std = channel_statistics(first) if len(first) else ((0.0,) * first.channels, (1.0,) * first.channels)
    return DataSet(
        name=name,
        train=first,
        test=second,
        classes=tuple(classes),
        mean=mean,
        std=std,
        augmentation=augmentation or Augmentation(pad=min(first.size) // 8, flip=True),
    )


def _pictures(what: str, images: Tensor, labels: Tensor) -> Pictures:
    """A split of the user's tensors, checked and brought to the one type we use."""
    if images.ndim == 3:
        images = images.unsqueeze(1)
    if labels.is_floating_point() or labels.dtype == torch.bool:
        raise ValueError(f"{what} labels must be whole numbers, not {labels.dtype}.")
    return Pictures(images=to_bytes(images, what), labels=labels.long())


def to_bytes(images: Tensor, what: str) -> Tensor:
    """Pictures as uint8, from uint8 or from floats between 0 and 1; ``what`` names them in an error.

    >>> to_bytes(torch.tensor([0.0, 0.5, 1.0]), "example")
    tensor([  0, 128, 255], dtype=torch.uint8)
    """
    if images.dtype == torch.uint8:
        return images
    if not images.is_floating_point():
        raise ValueError(f"{what} pictures must be uint8, or floats from 0 to 1, not {images.dtype}.")
    low, high = (float(bound) for bound in images.aminmax()) if images.numel() else (0.0, 0.0)
    if not (low >= 0 and high <= 1):
        raise ValueError(
            f"{what} pictures run from {low:g} to {high:g}; floats must be from 0 to 1. "
            "Pass them before any normalization, or as uint8."
        )
    return images.mul(255).round().to(torch.uint8)


def from_dataset(
    train: Dataset[Any],
    test: Dataset[Any] | None = None,
    *,
    classes: tuple[str, ...] | None = None,
    name: str = "dataset",
    size: int | None = None,
    channels: int | None = None,
    test_fraction: float = 0.2,
    seed: int = 0,
    memory_limit: int = MEMORY_LIMIT,
) -> DataSet:
    """A data set of a torch ``Dataset`` with a length, whose items are a picture and a whole number.

    Items are read more than once, by one thread, and must be the same each time: leave random transforms out,
    they belong in ``augmentation``. The same sizes and channels are chosen as for a folder.

    Args:
        train: pictures are PIL images, or tensors as :func:`from_tensors` takes them, ``(channels, H, W)``.
        test: the same; None to split ``train``.
        classes: the name of each label; by default those of ``train.classes``, or the labels themselves.
        name: what reports call the data set.
        size: height and width of every picture, or None to choose.
        channels: 1, 3, or None to choose.
        test_fraction: the part of each class that becomes the test split where there is none.
        seed: decides that split.
        memory_limit: bytes of pixels above which the pictures are read when they are asked for.

    Raises:
        ValueError: a picture that cannot be used, or whatever :class:`DataSet` refuses.
    """
    wish = Wish(
        size=size,
        channels=channels,
        test_fraction=test_fraction,
        seed=seed,
        memory_limit=memory_limit,
        workers=1,
    )
    sources = [_source(what, part) for what, part in (("training", train), ("test", test)) if part is not None]
    if classes is None:
        highest = max(label for source in sources for label in source.labels)
        classes = getattr(train, "classes", None) or tuple(str(label) for label in range(highest + 1))
    data = gather(name, tuple(classes), sources[0], sources[1] if len(sources) > 1 else None, wish)
    if data.skipped:
        raise ValueError(f"{name}: {len(data.skipped)} picture(s) cannot be used. {data.skipped[0]}")
    return data


def _source(what: str, items: Any) -> Source:
    """The pictures of a torch ``Dataset``, not yet read."""
    labels = []
    for row in range(len(items)):
        label = int(items[row][1])
        if label < 0:
            raise ValueError(f"{what} item {row} has label {label}; labels start at 0.")
        labels.append(label)
    if not labels:
        raise ValueError(f"there is no {what} picture.")

    def read(row: int) -> Image.Image:
        return _as_image(items[row][0])

    return Source(read=read, names=tuple(f"{what} item {row}" for row in range(len(labels))), labels=tuple(labels))


def _as_image(picture: Any) -> Image.Image:
    """An item's picture as a PIL image; nothing is lost."""
    from PIL import Image

    if isinstance(picture, Image.Image):
        return picture
    if not isinstance(picture, Tensor) or picture.ndim not in (2, 3):
        raise ValueError(f"a picture must be a PIL image or a (channels, H, W) tensor, not {type(picture).__name__}")
    pixels = to_bytes(picture.unsqueeze(0) if picture.ndim == 2 else picture, "its")
    if len(pixels) not in (1, 3):
        raise ValueError(f"a picture has {len(pixels)} channels; 1 (grey) and 3 (color) work")
    rows = pixels.permute(1, 2, 0).cpu().numpy()
    return Image.fromarray(rows[:, :, 0] if len(pixels) == 1 else rows)
