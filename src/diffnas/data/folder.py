"""A folder of class folders of picture files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from diffnas.data.gather import MEMORY_LIMIT, Source, Wish, gather
from diffnas.data.pictures import DataSet

if TYPE_CHECKING:
    from PIL import Image

_TESTS = ("test", "val", "valid")
_LAYOUTS = "Expected PATH/train/CLASS/* with PATH/test/CLASS/* (or val, valid), or PATH/CLASS/*."


def folder(
    path: str | Path,
    *,
    size: int | None = None,
    channels: int | None = None,
    test_fraction: float = 0.2,
    seed: int = 0,
    memory_limit: int = MEMORY_LIMIT,
) -> DataSet:
    """The pictures in a folder, one folder for each class.

    Two layouts are read. ``path/train/CLASS/*`` goes with ``path/test/CLASS/*``, or with ``val`` or
    ``valid`` if there is no ``test``; with none of these, and for ``path/CLASS/*``, a part of each class
    becomes the test split. Class folders may have folders in them. Hidden files are left out; any other file
    that is not a readable picture is listed in ``skipped``. Which size and channels are chosen, and how
    pictures are brought to them, is said in :func:`diffnas.data.gather.gather` and
    :func:`diffnas.data.decode.plain`.

    Args:
        path: the folder.
        size: height and width of every picture; by default chosen from the training pictures.
        channels: 1 or 3; by default 1 if every picture is grey.
        test_fraction: the part of each class that becomes the test split where the folder has none.
        seed: decides that split.
        memory_limit: bytes of pixels above which the pictures are streamed from their files.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: neither layout fits, a class has no readable picture, or the splits differ in classes.
    """
    root = Path(path)
    if not root.is_dir():
        raise FileNotFoundError(f"no folder at {root}. {_LAYOUTS}")
    wish = Wish(size=size, channels=channels, test_fraction=test_fraction, seed=seed, memory_limit=memory_limit)
    train, test = _parts(root)
    classes = _classes(train)
    if test is not None and _classes(test) != classes:
        raise ValueError(_difference(train, test))
    sources = [_source(root, part, classes) for part in (train, test) if part is not None]
    return gather(root.resolve().name, classes, sources[0], sources[1] if test else None, wish)


def _parts(root: Path) -> tuple[Path, Path | None]:
    """The folders that hold the class folders of the training and of the test pictures."""
    # A class may be called "train"; then there are pictures in that folder, not class folders.
    if not (root / "train").is_dir() or not _classes(root / "train"):
        return root, None
    tests = [root / name for name in _TESTS if (root / name).is_dir()]
    return root / "train", tests[0] if tests else None


def _classes(part: Path) -> tuple[str, ...]:
    """The names of the class folders, sorted."""
    return tuple(sorted(place.name for place in part.iterdir() if place.is_dir() and not _hidden(place)))


def _hidden(place: Path) -> bool:
    """Whether a file or folder is one that systems put there for themselves."""
    return place.name.startswith(".") or place.name == "__MACOSX"


def _difference(train: Path, test: Path) -> str:
    """What to say about splits with different classes."""
    first, second = set(_classes(train)), set(_classes(test))
    lines = [f"{train.parent}: {train.name} and {test.name} must have the same class folders."]
    for place, missing in ((test, first - second), (train, second - first)):
        if missing:
            lines.append(f"{place.name} lacks {', '.join(sorted(missing))}.")
    return " ".join(lines)


def _source(root: Path, part: Path, classes: tuple[str, ...]) -> Source:
    """The files of one split, not yet opened."""
    if len(classes) < 2:
        found = f"one class folder, {classes[0]}" if classes else "no class folder"
        raise ValueError(f"{part} has {found}; at least 2 are needed. {_LAYOUTS}")
    paths, labels = [], []
    for label, name in enumerate(classes):
        files = _files(part / name)
        if not files:
            raise ValueError(f"{part / name} is empty; add pictures to it or remove the folder.")
        paths += files
        labels += [label] * len(files)

    def read(row: int) -> Image.Image:
        from PIL import Image

        with Image.open(paths[row]) as file:
            image: Image.Image = file.copy()
        return image

    names = tuple(f"{file.relative_to(root).as_posix()} ({file.stat().st_size} bytes)" for file in paths)
    return Source(read=read, names=names, labels=tuple(labels))


def _files(place: Path) -> list[Path]:
    """Every file in a class folder and the folders in it, in an order that is the same everywhere."""
    found = [file for file in place.rglob("*") if file.is_file()]
    shown = [file for file in found if not any(_hidden(Path(part)) for part in file.relative_to(place).parts)]
    return sorted(shown, key=lambda file: file.relative_to(place).as_posix())
