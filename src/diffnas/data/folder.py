"""A folder of class folders of picture files, or of shards."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from diffnas.data.crew import ALONE, Crew
from diffnas.data.data_set import DataSet
from diffnas.data.gather import MEMORY_LIMIT, Source, Wish, gather
from diffnas.names import showable

if TYPE_CHECKING:
    from diffnas.data.layout import Layout
    from diffnas.data.walk import Left


def folder(
    path: str | Path,
    *,
    size: int | None = None,
    channels: int | None = None,
    test_fraction: float = 0.2,
    seed: int = 0,
    memory_limit: int = MEMORY_LIMIT,
    crew: Crew = ALONE,
) -> DataSet:
    """The pictures in a folder, which has one folder for each class, or shards.

    A folder of ``.tar`` archives is read by :func:`diffnas.data.shards.shards`. Of class folders, two layouts are
    read. ``path/train/CLASS/*`` goes with ``path/test/CLASS/*``; the splits may have other usual names, see
    :func:`diffnas.data.layout.layout`. Without a test, and for ``path/CLASS/*``, a part of each class becomes the test
    split. Class folders may have folders in them; see :func:`diffnas.data.walk.files_in`. ``remarks`` says how each
    folder was understood, and ``skipped`` lists every file that is not read.
    :func:`diffnas.data.gather.gather` chooses size and channels and scales pictures to them;
    :func:`diffnas.data.decode.plain` decodes each file.

    Args:
        path: the folder.
        size: height and width of every picture; by default chosen from the training pictures.
        channels: 1 or 3; by default 1 if every picture is grey.
        test_fraction: the part of each class that becomes the test split where the folder has none.
        seed: decides that split.
        memory_limit: bytes of pixels above which the pictures are streamed from their files.
        crew: the processes that read the same folder at the same time, and share the work.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: neither layout fits, a class has no readable picture, or the splits differ in classes.
    """
    from diffnas.data.layout import EXPECTED, layout
    from diffnas.data.shards import shards, shards_in
    from diffnas.data.walk import HIDDEN

    root = Path(path)
    if root.is_file():
        raise ValueError(f"{root} is a file. Unpack it if it is an archive, and name the folder. {EXPECTED}")
    if not root.is_dir():
        raise FileNotFoundError(f"no folder at {root}. {EXPECTED}")
    wish = Wish(size=size, channels=channels, test_fraction=test_fraction, seed=seed, memory_limit=memory_limit)
    if tars := shards_in(root):
        held = shards(root, tars)
        data = gather(root.resolve().name, held.classes, held.train, held.test, wish, crew)
        return replace(data, skipped=(*data.skipped, *held.skipped), remarks=(*held.remarks, *data.remarks))
    found = layout(root)
    left = list(found.left)
    train = _source(root, found.train, found, left)
    test = _source(root, (found.test,), found, left) if found.test else None
    data = gather(root.resolve().name, found.classes, train, test, wish, crew)
    # Hidden files come last: only the first lines of a long list are printed, and hidden files matter least.
    left.sort(key=lambda each: each.reason == HIDDEN)
    lines = [f"{_name(root, each.path)}: {each.reason}" for each in left]
    return replace(data, skipped=(*data.skipped, *lines), remarks=(*found.remarks, *data.remarks))


def _source(root: Path, parts: tuple[Path, ...], found: Layout, left: list[Left]) -> Source:
    """The files of one split, not yet opened; files and folders that are left out are added to ``left``."""
    from diffnas.data.decode import loaded
    from diffnas.data.walk import files_in

    paths: list[Path] = []
    labels: list[int] = []
    above = (root, *root.resolve().parents)
    for label, name in enumerate(found.classes):
        inside = [files_in(part / name, known=above) for part in parts]
        files = [file for place in inside for file in place.files]
        left += [each for place in inside for each in place.left]
        if not files:
            unread = next((f" ({each.path.name}: {each.reason})" for place in inside for each in place.left), "")
            raise ValueError(f"{parts[0] / name} is empty{unread}; add pictures to it or remove the folder.")
        paths += files
        labels += [label] * len(files)
    names = tuple(f"{_name(root, file)} ({_bytes(file)} bytes)" for file in paths)
    texts = list(map(str, paths))  # which take a third of the memory that paths take
    return Source(read=lambda row: loaded(texts[row]), names=names, labels=tuple(labels))


def _name(root: Path, path: Path) -> str:
    """The name of a file in lists: its path in ``root``, safe to print."""
    return showable(path.relative_to(root).as_posix())


def _bytes(file: Path) -> int:
    """The size of a file in bytes; for a broken link, the size of the link itself."""
    try:
        return file.stat().st_size
    except OSError:
        return file.lstat().st_size
