"""A folder of shards: tar archives in the form of WebDataset, whose pictures are read where they lie.

An index of all shards is made once: which bytes of which file are a picture. So pictures are read in any order, from
the seed alone, as those of a folder are, and a run goes on in the middle of an epoch. A buffer that shuffles what comes
by, as is usual for shards that are fetched while they are used, could do neither.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import torch

from diffnas.data.gather import Source
from diffnas.data.given import classes_of
from diffnas.data.layout import HELD_OUT, TRAIN
from diffnas.data.walk import is_hidden, looks_like_picture
from diffnas.names import showable
from diffnas.untrusted.tar import Inside, files_in
from diffnas.untrusted.whole import MEGA, read_text

if TYPE_CHECKING:
    from PIL import Image

SHARD, LABEL = ".tar", "cls"
NAMES = ("classnames.txt", "classes.txt")
"""Files beside the shards that name the classes, one in each line, from class 0 on."""

_LONGEST, _DIGITS = 1024, 10
"""The most bytes of a label, and from how many digits on it is no number of a class."""


@dataclass(frozen=True, kw_only=True)
class Shards:
    """The pictures of a folder of shards, not yet opened.

    Attributes:
        train: the training pictures, or all if ``test`` is None.
        test: the test pictures.
        classes: the name of each label.
        remarks: which shards are training and which are the test, in sentences.
        skipped: one line for each shard and each picture that is left out, with the reason.
    """

    train: Source
    test: Source | None
    classes: tuple[str, ...]
    remarks: tuple[str, ...]
    skipped: tuple[str, ...]


@dataclass(kw_only=True)
class _Found:
    """What is in the shards of one split: each picture's shard, place and label, and what was left out."""

    shards: list[Path] = field(default_factory=list)
    places: list[tuple[int, int, int]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def shards_in(root: Path) -> list[Path]:
    """The shards directly in a folder, and in its folders that are called like a split; none if it has others."""
    inside = [path for path in sorted(root.iterdir()) if not is_hidden(path)]
    folders = [path for path in inside if path.is_dir()]
    found = {folder: [path for path in sorted(folder.iterdir()) if path.suffix == SHARD] for folder in folders}
    if not all(shards and _split_of(folder.name) for folder, shards in found.items()):
        return []
    return [path for path in inside if path.suffix == SHARD] + [path for each in found.values() for path in each]


def shards(root: Path, paths: Sequence[Path]) -> Shards:
    """The pictures in shards.

    A sample is all files of one name in a row, up to its first dot: the first one with the suffix of a picture, and
    its label, with the suffix ``.cls``: a number, or the name of a class. The folder of a shard, or a word in its
    name, says whether it belongs to the training, to the test or to the validation. The first of ``HELD_OUT`` that
    there is becomes the test, as in a folder of pictures. Without any such word, all are training pictures.

    Args:
        root: the folder.
        paths: its shards.

    Raises:
        ValueError: a shard is damaged, no picture has a label, or the labels are no classes.
    """
    training, test, unused = _by_split(root, paths)
    found = [_read(root, part) for part in (training, test) if part]
    sources, classes = _labeled(root, found)
    skipped = [line for part in found for line in part.skipped]
    skipped += [f"{showable(path.relative_to(root).as_posix())}: not called like a split" for path in unused]
    told = f"{len(test):,} for the test" if test else "and a part of each class for the test"
    return Shards(
        train=sources[0],
        test=sources[1] if test else None,
        classes=classes,
        remarks=(f"{root}: {len(training):,} shard(s) are taken for training, {told}.",),
        skipped=tuple(skipped),
    )


def _by_split(root: Path, paths: Sequence[Path]) -> tuple[list[Path], list[Path], list[Path]]:
    """The shards of the training, those of the test, and those that are called like no split and so not read."""
    splits: dict[str | None, list[Path]] = defaultdict(list)
    for path in paths:
        splits[_split_of(path.parent.name if path.parent != root else path.stem)].append(path)
    held_out = next((split for split in HELD_OUT if split in splits), None)
    test = splits.pop(held_out) if held_out else []
    # Shards of no split are the training only if none says that it is.
    unused = splits.pop(None, []) if TRAIN[0] in splits else []
    training = [path for split in sorted(splits, key=str) for path in splits[split]]
    if not training:
        raise ValueError(
            f"{root} has shards of the {held_out} alone; call those with the training pictures train-0.tar, or put "
            "them into a folder called train."
        )
    return training, test, unused


def _split_of(name: str) -> str | None:
    """The word in a name that says to which split it belongs; None without one."""
    words = re.findall("[a-z]+", name.lower())
    found = next((word for word in words if word in (*TRAIN, *HELD_OUT)), None)
    return TRAIN[0] if found in TRAIN else found


def _read(root: Path, paths: Sequence[Path]) -> _Found:
    """The samples in the shards of one split."""
    found = _Found(shards=list(paths))
    for number in range(len(paths)):
        _read_one(root, number, found)
    if not found.places:
        first = f" The first one, {found.skipped[0]}." if found.skipped else ""
        raise ValueError(
            f"{root}: no sample in {len(paths):,} shard(s) has a picture and a label, NAME.jpg and NAME.{LABEL}.{first}"
        )
    return found


def _read_one(root: Path, number: int, found: _Found) -> None:
    """Add the samples in one shard to ``found``."""
    path = found.shards[number]
    place = path.relative_to(root).as_posix()
    try:
        with path.open("rb") as file:
            for key, sample in _samples(files_in(file)):
                name = showable(f"{place}/{key}")
                reason = _take(found, number, name, sample, file)
                found.skipped += [f"{name}: {reason}"] if reason else []
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} cannot be read as a shard ({error}); fetch or make it again.") from None


def _samples(files: Iterable[Inside]) -> Iterator[tuple[str, dict[str, Inside]]]:
    """Each sample's name, and its files by suffix, in lower case."""
    for key, together in groupby(files, key=lambda each: _parted(each.name)[0]):
        yield key, {_parted(each.name)[1].lower(): each for each in together}


def _parted(name: str) -> tuple[str, str]:
    """The name of a file up to the first dot after its folders, and the rest."""
    folders, slash, last = name.rpartition("/")
    key, _, suffix = last.partition(".")
    return folders + slash + key, suffix


def _take(found: _Found, shard: int, name: str, sample: Mapping[str, Inside], file: BinaryIO) -> str:
    """The reason why a sample is left out; empty if it was added to ``found``."""
    picture = next((each for each in sample.values() if looks_like_picture(Path(each.name))), None)
    label = sample.get(LABEL)
    if picture is None or label is None or label.size > _LONGEST:
        return "no picture" if picture is None else f"no label, {name.rpartition('/')[2]}.{LABEL}"
    file.seek(label.start)
    found.labels.append(file.read(label.size).decode("utf-8", "replace").strip())
    found.places.append((shard, picture.start, picture.size))
    found.names.append(f"{name}.{_parted(picture.name)[1]} ({picture.size} bytes)")
    return ""


def _labeled(root: Path, parts: Sequence[_Found]) -> tuple[list[Source], tuple[str, ...]]:
    """The sources of the splits, and the names of their classes.

    Raises:
        ValueError: if some labels are numbers and others are not, or if they are no numbers of classes.
    """
    texts = {text for part in parts for text in part.labels}
    numbers = {text for text in texts if text.isdecimal() and len(text) < _DIGITS}
    named = next((root / name for name in NAMES if (root / name).is_file()), None)
    if texts == numbers:
        classes = tuple(read_text(named, MEGA).split("\n")) if named else None
        classes = tuple(name.strip() for name in classes if name.strip()) if classes else None
        try:
            classes = classes_of(classes, max(map(int, numbers)), sum(len(part.labels) for part in parts))
        except ValueError as error:
            raise ValueError(f"{named or root}: {error}") from None
        rows = {text: int(text) for text in texts}
    elif numbers:
        other = showable(min(texts - numbers))
        raise ValueError(
            f"{root}: some labels are numbers, such as {min(numbers)}, and others are not, such as {other!r:.80}. "
            "Give all samples numbers from 0 on, or all of them names."
        )
    else:
        classes = tuple(sorted(texts))
        rows = {text: number for number, text in enumerate(classes)}
    return [_source(part, rows) for part in parts], classes


def _source(found: _Found, rows: Mapping[str, int]) -> Source:
    """The pictures of a split, not yet opened."""
    places, paths = torch.tensor(found.places, dtype=torch.int64), found.shards

    def read(row: int) -> Image.Image:
        from diffnas.data.decode import loaded

        shard, start, size = places[row].tolist()
        # Opened anew each time: there may be more shards than a process may keep open.
        with paths[shard].open("rb") as file:
            file.seek(start)
            return loaded(BytesIO(file.read(size)))

    return Source(read=read, names=tuple(found.names), labels=tuple(rows[text] for text in found.labels))
