"""Data sets made of tensors, or of a torch ``Dataset``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor
from torch.utils.data import IterableDataset

from diffnas.data.augment import Augmentation
from diffnas.data.data_set import DataSet
from diffnas.data.gather import MEMORY_LIMIT, Source, Wish, gather
from diffnas.data.given import classes_of, labels_of, pair_of, picture_of, pictures_of, refuse_one_hot
from diffnas.data.pictures import Pictures
from diffnas.data.spool import Spool
from diffnas.data.statistics import channel_statistics
from diffnas.names import first_line

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
        train: pictures and labels, tensors or NumPy arrays. Pictures are ``(pictures, channels, H, W)`` or, if grey,
            ``(pictures, H, W)``: uint8, or floats from 0 to 1. Labels are whole numbers from 0 on, ``(pictures,)``. If
            a picture can be in several classes, they are 0 or 1 for each class, ``(pictures, classes)``.
        test: the same for the test split.
        classes: the name of each label; by default the labels themselves, up to the highest, or the columns' numbers.
        name: what reports call the data set.
        augmentation: by default one pixel of padding for every eight of the shorter side, and flips.

    Raises:
        ValueError: for a type, range or shape that cannot be used, and for what :class:`DataSet` refuses.

    >>> import torch
    >>> images, labels = torch.rand(6, 3, 16, 16), torch.tensor([0, 1, 0, 1, 0, 1])
    >>> from_tensors((images, labels), (images[:2], labels[:2])).classes
    ('0', '1')
    """
    first, second = _pictures("training", train), _pictures("test", test)
    refuse_one_hot({"training": first.labels, "test": second.labels})
    mean, std = channel_statistics(first) if len(first) else ((0.0,) * first.channels, (1.0,) * first.channels)
    return DataSet(
        name=name,
        train=first,
        test=second,
        classes=_classes(classes, first, second),
        mean=mean,
        std=std,
        augmentation=augmentation or Augmentation(pad=min(first.size) // 8, flip=True),
    )


def _classes(names: tuple[str, ...] | None, first: Pictures, second: Pictures) -> tuple[str, ...]:
    """The name of each class: as given, or else its number."""
    if first.labels.ndim == 2:
        return names or tuple(map(str, range(first.labels.shape[1])))
    highest = max((int(split.labels.max()) for split in (first, second) if len(split)), default=-1)
    return classes_of(names, highest, len(first))


def _pictures(what: str, split: Any) -> Pictures:
    """A split of the user's tensors, checked and converted to uint8 pictures and labels as ``Pictures`` takes them."""
    if not isinstance(split, tuple | list) or len(split) != 2:
        raise ValueError(f"{what} data must be a pair (pictures, labels), not a {type(split).__name__}.")
    images, labels = split
    if getattr(images, "ndim", 1) == 1 and getattr(labels, "ndim", 1) > 2:
        raise ValueError(f"{what} data come as (labels, pictures). Pass (pictures, labels), in this order.")
    return Pictures(images=pictures_of(images, what), labels=labels_of(labels, what))


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
    """A data set of a torch ``Dataset`` whose items are a picture and its label.

    Items without a length come one after the other: those of an ``IterableDataset``, of a data set of the Hugging Face
    hub that is loaded with ``streaming=True``, or of shards that WebDataset reads. They are fetched once, and kept in a
    file in the folder ``TMPDIR``, with the given size if there is one. They must end, and a run that goes on must get
    them in the same order.

    An item is a pair, or a mapping with ``"image"`` and ``"label"`` as in the Hugging Face hub. A label is a whole
    number from 0 on.

    One thread reads each item of a data set with a length more than once, and the item must be the same each time. So
    leave random transforms out; they belong in ``augmentation``. Size and channels are chosen as for a folder.

    Args:
        train: pictures are PIL images, or tensors or arrays as :func:`from_tensors` takes them, ``(channels, H, W)``.
        test: the same; None to split ``train``.
        classes: the name of each label; by default those of ``train.classes``, or the labels themselves.
        name: what reports call the data set.
        size: height and width of every picture, or None to choose.
        channels: 1, 3, or None to choose.
        test_fraction: the part of each class that becomes the test split where there is none.
        seed: decides that split.
        memory_limit: bytes of pixels above which the pictures are read each time they are needed.

    Raises:
        ValueError: for a picture that cannot be used, and for what :class:`DataSet` refuses.
    """
    wish = Wish(
        size=size,
        channels=channels,
        test_fraction=test_fraction,
        seed=seed,
        memory_limit=memory_limit,
        workers=1,
    )
    splits = {what: part for what, part in (("training", train), ("test", test)) if part is not None}
    sources = [_source(what, part, wish) for what, part in splits.items()]
    highest = max(label for source in sources for label in source.labels)
    names = classes_of(classes or getattr(train, "classes", None) or None, highest, len(sources[0].labels))
    data = gather(name, names, sources[0], sources[1] if len(sources) > 1 else None, wish)
    if data.skipped:
        raise ValueError(f"{name}: {len(data.skipped)} picture(s) cannot be used. {data.skipped[0]}")
    return data


def _source(what: str, items: Any, wish: Wish) -> Source:
    """The pictures of a torch ``Dataset``, not yet read, or kept in a file if they come one after the other."""
    if isinstance(items, Mapping):
        keys = ", ".join(repr(key) for key in items)
        raise ValueError(f"{what} data are a mapping with the keys {keys}; pass from_dataset(data['train'], ...).")
    if hasattr(items, "__iter__") and (isinstance(items, IterableDataset) or not hasattr(items, "__len__")):
        return _spooled(what, items, wish)
    if not hasattr(items, "__len__") or not hasattr(items, "__getitem__"):
        raise ValueError(
            f"{what} data, a {type(items).__name__}, have no length and no items. Pass a Dataset or a list."
        )
    labels = tuple(pair_of(items[row], f"{what} item {row}")[1] for row in range(len(items)))
    _check_any(what, labels)

    def read(row: int) -> Image.Image:
        return _as_image(pair_of(items[row], f"{what} item {row}")[0])

    return Source(read=read, names=tuple(f"{what} item {row}" for row in range(len(labels))), labels=labels)


def _spooled(what: str, items: Iterable[Any], wish: Wish) -> Source:
    """The pictures that come one after the other, kept in a file."""
    spool, names, labels = Spool(wish.size, wish.channels), [], []
    for row, item in enumerate(items):
        picture, label = pair_of(item, f"{what} item {row}")
        try:
            names.append(f"{what} item {row} ({spool.add(_as_image(picture))})")
        except (ValueError, SyntaxError, OSError) as error:
            if isinstance(error, OSError) and error.errno:  # the disk's; that of a damaged picture has no number
                raise
            raise ValueError(f"{what} item {row} cannot be used: {first_line(error)}") from None
        labels.append(label)
    _check_any(what, labels)
    return Source(read=spool.read, names=tuple(names), labels=tuple(labels))


def _check_any(what: str, labels: Sequence[int]) -> None:
    if not labels:
        raise ValueError(f"there is no {what} picture.")


def _as_image(picture: Any) -> Image.Image:
    """An item's picture as a PIL image with the same pixels."""
    from PIL import Image

    if isinstance(picture, Image.Image):
        return picture
    if not isinstance(picture, Tensor | np.ndarray):
        kinds = "a PIL image or a (channels, H, W) tensor or array"
        raise ValueError(f"a picture must be {kinds}, not a {type(picture).__name__}")
    pixels = picture_of(picture)
    rows = pixels.permute(1, 2, 0).numpy()
    return Image.fromarray(rows[:, :, 0] if len(pixels) == 1 else rows)
