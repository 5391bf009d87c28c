"""How a folder of pictures is laid out: which of its folders are splits, which are classes, and which are neither."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from diffnas.data.walk import HIDDEN, OURS, Left, is_hidden, is_ours, looks_like_picture
from diffnas.names import showable

EXPECTED = "Expected PATH/train/CLASS/* with PATH/test/CLASS/* (or val, valid, ...), or PATH/CLASS/*."
BESIDE = "beside the class folders, so in no class"

TRAIN = ("train", "training", "tr")
# Names of a held-out folder. The first name in this list that exists is the test.
HELD_OUT = (
    "test", "testing", "te", "holdout", "heldout", "eval", "evaluation", "val", "valid", "validation", "dev",
)  # fmt: skip
_WORDS = "(?:data|images?|imgs?|pictures?|pics|photos|samples|split|set)"


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where the pictures of a folder are.

    Attributes:
        train: the folders that hold the class folders of the training pictures.
        test: the folder that holds the class folders of the test pictures; None if a part of each class becomes the
            test.
        classes: the names of the class folders, sorted.
        remarks: which folders are training, test or classes, and which are not read, in sentences.
        left: files and folders that lie in no class folder, each with the reason why it is left out.
    """

    train: tuple[Path, ...]
    test: Path | None
    classes: tuple[str, ...]
    remarks: tuple[str, ...] = ()
    left: tuple[Left, ...] = ()


@dataclass(frozen=True)
class _Place:
    """A folder, and what is directly in it."""

    path: Path

    @cached_property
    def inside(self) -> tuple[Path, ...]:
        return tuple(sorted(self.path.iterdir())) if os.access(self.path, os.R_OK | os.X_OK) else ()

    @cached_property
    def folders(self) -> tuple[_Place, ...]:
        """The folders inside that can be classes or splits."""
        places = (path for path in self.inside if os.path.isdir(path) and not is_hidden(path))
        return tuple(_Place(path) for path in places if not is_ours(path))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted(place.path.name for place in self.folders))

    @property
    def pictures(self) -> int:
        return sum(looks_like_picture(path) and not is_hidden(path) for path in self.inside)

    @cached_property
    def part(self) -> str | None:
        """The name of a split in the folder's name, as ``TRAIN`` or ``HELD_OUT`` spells it; None without one."""
        letters = "".join(re.findall("[a-z0-9]+", self.path.name.lower()))
        name = re.sub(f"^{_WORDS}+|{_WORDS}+$", "", letters)
        return name if name in (*TRAIN, *HELD_OUT) else None

    @property
    def left(self) -> list[Left]:
        """Everything inside that is neither a class nor a split, with the reason."""
        folders = {place.path for place in self.folders}
        rest = [path for path in self.inside if path not in folders]
        return [Left(path, _why_left(path)) for path in rest]


def layout(root: Path) -> Layout:
    """How the folder ``root`` is laid out.

    A split's folder holds class folders, and a class folder holds pictures. So a class may be called ``train``. The
    name of a split may be in any case and contain a word such as "data" or "set". The test is the first held-out
    folder that has class folders. Other held-out folders join the training pictures, because a search holds out
    pictures by itself.

    Raises:
        ValueError: no layout fits; the message says what is there and what would fit.
    """
    top = _Place(root)
    splits = [place for place in top.folders if _is_split(place, top)]
    if any(place.part in TRAIN for place in splits):
        return _in_splits(top, splits)
    _refuse_splits_without_training(top, splits)
    _refuse_splits_in_classes(top)
    return _in_classes(top)


def _is_split(place: _Place, top: _Place) -> bool:
    """Whether a folder is a split: it has the name of one, and holds class folders."""
    if place.part is None or not place.folders:
        return False
    others = [other for other in top.folders if other is not place]
    if any(other.part and set(other.names) & set(place.names) for other in others):
        return True
    # A folder "train" with one folder in it may be a class. Then folders without the name of a split stand beside it.
    return not place.pictures and (len(place.folders) > 1 or all(other.part for other in others))


def _in_splits(top: _Place, splits: list[_Place]) -> Layout:
    """The layout of a folder with a training split."""
    train = _only([place for place in splits if place.part in TRAIN], top)
    held_out = sorted((place for place in splits if place is not train), key=_rank)
    # Contests publish unlabeled test pictures in a single folder, whose name is no class.
    unlabeled = [place for place in held_out if len(place.folders) == 1 and not set(place.names) & set(train.names)]
    held_out = [place for place in held_out if place not in unlabeled]
    test = _only([place for place in held_out if place.part == held_out[0].part], top) if held_out else None
    training = [train, *(place for place in held_out if place is not test)]
    _require_classes(train.path, train)
    for place in held_out:
        _require_same(train, place)
    used = [*training, *([test] if test else [])]
    rest = [place for place in top.folders if place not in used]
    return Layout(
        train=tuple(place.path for place in training),
        test=test.path if test else None,
        classes=train.names,
        remarks=("; ".join(filter(None, (_taken(training, test), _left_out(top, rest)))),),
        left=tuple(left for place in (top, *used) for left in place.left if left.reason != OURS),
    )


def _in_classes(top: _Place) -> Layout:
    """The layout of a folder of class folders."""
    _require_classes(top.path, top)
    remarks = []
    if left_out := _left_out(top, []):
        remarks.append(f"{top.path}: {left_out}")
    nested = [place for place in top.folders if place.folders and not place.pictures]
    if nested:
        outer = _listed([place.path.name for place in nested])
        inner = _listed([name for place in nested for name in place.names])
        remarks.append(
            f"{top.path}: classes that hold only folders: {outer}. The pictures in all folders of a class ({inner}) "
            "are of that class."
        )
    called = [place.path.name for place in top.folders if place.part]
    if called:
        remarks.append(
            f"{top.path}: taken for classes: {_listed(called)}. A split of this name would hold class folders."
        )
    return Layout(
        train=(top.path,),
        test=None,
        classes=top.names,
        remarks=tuple(map(showable, remarks)),
        left=tuple(left for left in top.left if left.reason != OURS),
    )


def _only(places: Sequence[_Place], top: _Place) -> _Place:
    """The only folder in ``places``; several of them are an error, as nobody can say which one is meant."""
    if len(places) > 1:
        names = _listed([place.path.name for place in places])
        raise ValueError(f"{top.path} has {names}, which mean the same; merge them into one folder, or remove one.")
    return places[0]


def _rank(place: _Place) -> int:
    """The place of a held-out folder's name in ``HELD_OUT``; the lowest becomes the test."""
    assert place.part is not None
    return HELD_OUT.index(place.part)


def _require_classes(path: Path, place: _Place) -> None:
    """Refuse a folder with fewer than two class folders; the error says what it has."""
    if len(place.folders) > 1:
        return
    if place.folders:
        found, inner = f"one class folder, {place.names[0]}", place.folders[0]
        deeper = len(inner.folders) > 1
        advice = f" It holds {_listed(inner.names)}: perhaps you mean {inner.path}." if deeper else ""
    else:
        found = "no class folder"
        count = f"{place.pictures} picture{'s' * (place.pictures != 1)}"
        advice = f" Sort its {count} into folders named after their classes." if place.pictures else ""
    raise ValueError(f"{path} has {found}; at least 2 are needed.{advice} {EXPECTED}")


def _require_same(train: _Place, other: _Place) -> None:
    """Check that two splits have the same classes."""
    first, second = set(train.names), set(other.names)
    if first == second:
        return
    here, there = train.path.name, other.path.name
    lines = [f"{train.path.parent}: {here} and {there} must have the same class folders."]
    for name, missing in ((there, first - second), (here, second - first)):
        if missing:
            lines.append(f"{name} lacks {', '.join(map(showable, sorted(missing)))}.")
    raise ValueError(" ".join(lines))


def _refuse_splits_without_training(top: _Place, splits: list[_Place]) -> None:
    """Refuse a test split without a training split; else the splits would be read as classes."""
    if not splits:
        return
    alike = [place for place in top.folders if set(place.names) & set(splits[0].names)]
    if len(alike) > 1 or all(place.part for place in top.folders):
        named = _listed([place.path.name for place in splits])
        raise ValueError(
            f"{top.path} has {named} with class folders, and no folder called train; "
            f"call the one with the training pictures train. {EXPECTED}"
        )


def _refuse_splits_in_classes(top: _Place) -> None:
    """Refuse splits inside class folders; else the test pictures would be training pictures."""
    if len(top.folders) > 1 and all(_holds_splits(place) for place in top.folders):
        names = top.folders[0].names
        raise ValueError(
            f"{top.path} has splits in its class folders: {top.folders[0].path.name} holds "
            f"{_listed(names)}. Put the class folders into the folders of the splits. {EXPECTED}"
        )


def _holds_splits(place: _Place) -> bool:
    parts = [inner.part for inner in place.folders]
    return len(parts) > 1 and all(parts) and any(part in TRAIN for part in parts) and not place.pictures


def _taken(training: list[_Place], test: _Place | None) -> str:
    """A phrase that says which folders are training and which is the test."""
    names = _listed([f"{place.path.name}/" for place in training])
    if test is None:
        return f"{names} is taken for training, and a part of each class of it for the test"
    return f"{names} {'are' if len(training) > 1 else 'is'} taken for training, {test.path.name}/ for the test"


def _left_out(top: _Place, rest: list[_Place]) -> str:
    """A phrase that lists the folders that are not read; empty if there are none."""
    told = [f"{showable(place.path.name)}/ ({_why_unread(place)})" for place in rest]
    told += [f"{showable(left.path.name)}/ ({OURS})" for left in top.left if left.reason == OURS]
    return f"left out: {', '.join(told)}" if told else ""


def _why_unread(place: _Place) -> str:
    if place.part is None:
        return "not called like a split"
    return "without the class folders of the training pictures" if place.folders else "without class folders"


def _why_left(path: Path) -> str:
    if is_hidden(path):
        return HIDDEN
    return OURS if os.path.isdir(path) else BESIDE


def _listed(names: Sequence[str], most: int = 4) -> str:
    """The first ``most`` names, and dots if there are more."""
    shown = [showable(name) for name in names]
    return ", ".join([*shown[:most], *(["..."] if len(shown) > most else [])])
