"""A data set, in memory or streamed, from files or items of any size and mode that must be opened first."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from statistics import median_low
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

from diffnas.data.augment import Augmentation
from diffnas.data.crew import ALONE, Crew
from diffnas.data.data_set import DataSet
from diffnas.data.levels import Levels, levels_of
from diffnas.data.pictures import SMALLEST, Files, Pictures, PictureSplit
from diffnas.data.statistics import channel_statistics
from diffnas.data.stratify import stratified_split
from diffnas.names import showable
from diffnas.values import FRACTION, SEED, THREADS, check_fields, checked, whole

if TYPE_CHECKING:
    from PIL import Image

MEMORY_LIMIT = 2 * 1024**3
"""Bytes of pixels, training and test together, above which pictures are streamed."""

_MOST = 10**18
_LARGEST = 224
"""The largest side that is chosen if the user names no size."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """The pictures of one split, not yet opened.

    Args:
        read: opens the picture of a row; called from several threads.
        names: the name of each row, for reports and the fingerprint.
        labels: the label of each row.
    """

    read: Callable[[int], Image.Image]
    names: tuple[str, ...]
    labels: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Wish:
    """The user's options for reading pictures.

    Args:
        size: height and width, or None to choose from the training pictures.
        channels: 1, 3, or None to choose: 1 if every picture is grey.
        test_fraction: the part that becomes the test split where the source has none.
        seed: decides that split.
        memory_limit: bytes of pixels above which pictures are streamed.
        workers: how many threads open pictures.
    """

    size: Annotated[int, whole(SMALLEST, 4096)] | None = None
    channels: int | None = None
    test_fraction: Annotated[float, FRACTION] = 0.2
    seed: Annotated[int, SEED] = 0
    memory_limit: Annotated[int, whole(0, _MOST)] = MEMORY_LIMIT
    workers: Annotated[int, THREADS] = 8

    def __post_init__(self) -> None:
        check_fields(self)
        checked("channels", Literal[1, 3] | None, self.channels)


class _Seen(NamedTuple):
    """The properties of a picture that was opened once.

    Attributes:
        size: height and width.
        grey: whether the picture is grey.
        span: the lowest and highest value of a grey picture of more than 8 bits; None for any other.
        floats: whether its pixels are floating-point numbers.
        reason: why the picture cannot be used; empty if it can.
    """

    size: tuple[int, int] = (0, 0)
    grey: bool = True
    span: tuple[float, float] | None = None
    floats: bool = False
    reason: str = ""


Readable: TypeAlias = tuple[Source, Tensor, list[_Seen]]
"""A source, the rows that can be read, ``(rows,)``, and the properties of every row."""


def limit_for(stream: bool | None) -> int:
    """Bytes of pixels above which pictures are streamed, if the user wants that, does not, or does not say."""
    return MEMORY_LIMIT if stream is None else 0 if stream else _MOST


def gather(
    name: str, classes: tuple[str, ...], train: Source, test: Source | None, wish: Wish, crew: Crew = ALONE
) -> DataSet:
    """A data set of the readable pictures of one or two sources.

    Every picture is opened and decoded once, to find those that cannot be read. If all training pictures have one
    size, with sides from 8 to 224, that is the size. Otherwise the size is a square: its side is the median of their
    shorter sides, made even, from 8 to 224. Pictures are scaled to cover the size and cropped at the center. The
    training pictures also decide which values are black and white in grey pictures of more than 8 bits; see
    :class:`diffnas.data.levels.Levels`.

    Args:
        name: what reports call the data set.
        classes: the name of each label.
        train: the training pictures, or all pictures if ``test`` is None.
        test: the test pictures; None to split ``train``, the same share of each class.
        wish: the user's options.
        crew: the processes that gather the same data; each decodes its share of the pictures.

    Raises:
        ValueError: if no picture of some class can be read, if no class has a second picture for the test, or if
            :class:`DataSet` refuses the result.
    """
    sources = [_look(name, source, wish.workers, crew) for source in ([train] if test is None else [train, test])]
    for readable in sources:
        _check_classes(name, classes, readable)
    skipped = tuple(line for source in sources for line in _complaints(source))
    parts = sources if test is not None else _split(name, sources[0], wish)
    size, channels = _shape(parts, wish)
    levels = _levels(name, parts)
    pixels = channels * size[0] * size[1] * sum(len(rows) for _, rows, _ in parts)
    splits = [_files(part, channels, size, levels, wish.workers) for part in parts]
    first, second = map(_in_memory, splits) if pixels <= wish.memory_limit else splits
    data = _data_set(name, classes, first, second)
    return replace(data, levels=levels, skipped=skipped, remarks=tuple(_remarks(data, levels, pixels)))


def _data_set(name: str, classes: tuple[str, ...], train: PictureSplit, test: PictureSplit) -> DataSet:
    """The data set of two splits; its statistics and augmentation follow from the training split."""
    mean, std = channel_statistics(train)
    return DataSet(
        name=name,
        train=train,
        test=test,
        classes=classes,
        mean=mean,
        std=std,
        augmentation=Augmentation(pad=min(train.size) // 8, flip=True),
    )


def _remarks(data: DataSet, levels: Levels | None, pixels: int) -> Iterator[str]:
    """What the user should know about how the pictures were read, in sentences; ``pixels`` are bytes."""
    if levels is not None:
        yield (
            f"{data.name}: grey files of more than 8 bits are scaled so that {levels.low:g} is black and "
            f"{levels.high:g} is white, the lowest and the highest value of the training pictures."
        )
    assert isinstance(data.test, Pictures | Files)
    tested = set(data.test.labels.tolist())
    untested = [name for label, name in enumerate(data.classes) if label not in tested]
    if untested:
        yield f"{data.name}: the test has no picture of class {', '.join(untested)}."
    if isinstance(data.train, Files):
        yield (
            f"{data.name}: {len(data.train) + len(data.test):,} pictures are streamed: each epoch reads them anew. "
            f"--no-stream (stream=False in Python) keeps them in memory, which takes {-(-pixels // 2**20):,} MiB."
        )


def _look(name: str, source: Source, workers: int, crew: Crew) -> Readable:
    """The rows of a source that can be read, after opening and decoding every picture once.

    Raises:
        ValueError: if another process has found other pictures.
    """
    from diffnas.data.decode import plain, reason, span_of

    def see(row: int) -> _Seen:
        try:
            image = source.read(row)
            span = span_of(image)
            floats = image.mode == "F"
            image = plain(image, span)
        except Exception as error:  # The exceptions that Pillow raises for damaged files have no common type.
            return _Seen(reason=showable(reason(error)))
        return _Seen(size=(image.height, image.width), grey=image.mode == "L", span=span, floats=floats)

    with ThreadPoolExecutor(workers) as pool:
        own = list(pool.map(see, crew.part(torch.arange(len(source.names))).tolist()))
    listed = hashlib.sha256("\0".join(source.names).encode()).digest()
    found = crew.gather((listed, own))
    if any(other != listed for other, _ in found):
        raise ValueError(f"{name}: the processes of this run find other files there. Give all machines the same ones.")
    seen = [what for _, part in found for what in part]
    rows = [row for row, what in enumerate(seen) if not what.reason]
    return source, torch.tensor(rows, dtype=torch.int64), seen


def _complaints(readable: Readable) -> list[str]:
    """One line for each picture that could not be read."""
    source, _, seen = readable
    return [f"{source.names[row]}: {what.reason}" for row, what in enumerate(seen) if what.reason]


def _check_classes(name: str, classes: tuple[str, ...], readable: Readable) -> None:
    """Refuse a source in which no picture of some class can be read."""
    source, rows, seen = readable
    lost = sorted(set(source.labels) - {source.labels[row] for row in rows.tolist()})
    if lost:
        first = source.labels.index(lost[0])
        reason = f"The first one, {source.names[first]}: {seen[first].reason.removesuffix('.')}."
        names = ", ".join(classes[label] for label in lost)
        raise ValueError(f"{name}: not one picture can be read of class {names}. {reason}")


def _split(name: str, readable: Readable, wish: Wish) -> list[Readable]:
    """Training and test pictures, split from one source."""
    source, rows, seen = readable
    first, second = stratified_split(torch.tensor(source.labels)[rows], wish.test_fraction, wish.seed)
    if not len(second):
        raise ValueError(
            f"{name}: one picture of each class can be read, so none is left for the test. "
            "Add pictures, or a test split."
        )
    return [(source, rows[first], seen), (source, rows[second], seen)]


def _levels(name: str, parts: list[Readable]) -> Levels | None:
    """The values of black and white in grey pictures of more than 8 bits; only the training pictures decide."""
    _, rows, seen = parts[0]
    levels = levels_of(seen[row].span for row in rows.tolist())
    for source, rows, seen in parts:
        floating = [row for row in rows.tolist() if seen[row].floats]
        if floating and levels is None:
            raise ValueError(
                f"{name}: {source.names[floating[0]]} has floating-point pixels, which have no stated range, and the "
                "training pictures give none. Save it with 8 or 16 bits, or add such training pictures."
            )
    return levels


def _shape(parts: list[Readable], wish: Wish) -> tuple[tuple[int, int], int]:
    """The size and the number of channels that every picture of the data set gets."""
    seen = [[seen[row] for row in rows.tolist()] for _, rows, seen in parts]
    channels = wish.channels or (1 if all(what.grey for part in seen for what in part) else 3)
    if wish.size is not None:
        return (wish.size, wish.size), channels
    # The training pictures decide, so that nothing learned depends on the test split.
    sizes = {what.size for what in seen[0]}
    if len(sizes) == 1 and all(SMALLEST <= side <= _LARGEST for side in min(sizes)):
        return sizes.pop(), channels
    side = median_low([min(what.size) for what in seen[0]]) // 2 * 2
    side = min(max(side, SMALLEST), _LARGEST)
    return (side, side), channels


def _files(part: Readable, channels: int, size: tuple[int, int], levels: Levels | None, workers: int) -> Files:
    """A streamed split of the readable rows of a source."""
    from diffnas.data.decode import fitted, plain

    source, rows, _ = part
    return Files(
        read=lambda row: torch.from_numpy(fitted(plain(source.read(row), levels), channels, size)),
        rows=rows,
        labels=torch.tensor(source.labels, dtype=torch.int64)[rows],
        names=source.names,
        channels=channels,
        size=size,
        workers=workers,
    )


def _in_memory(files: Files) -> Pictures:
    """The pictures of a split of files, all read into memory."""
    images, labels = files.take(torch.arange(len(files)))
    return Pictures(images=images, labels=labels)
