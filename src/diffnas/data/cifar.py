"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009), from the files of the official site.

Both official layouts are read, as an unpacked folder or straight from the ``.tar.gz``: the binary one
(``cifar-10-batches-bin``, ``cifar-100-binary``) and the Python one (``cifar-10-batches-py``,
``cifar-100-python``).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diffnas.data.archive import fetch, read_folder, read_tar
from diffnas.data.augment import Augmentation
from diffnas.data.data_set import DataSet
from diffnas.data.pictures import Pictures
from diffnas.data.unpickle import read_arrays

_PIXELS = 3 * 32 * 32


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One official form of a release, binary or pickled: its folder, its archive, and the files in it."""

    folder: str
    archive: str
    md5: str
    train: tuple[str, ...]
    test: str
    names: str
    pickled: bool


@dataclass(frozen=True, kw_only=True)
class Release:
    """The facts about CIFAR-10 or CIFAR-100: sizes, official file layouts, and normalization constants from papers."""

    name: str
    classes: int
    train: int
    test: int
    label_bytes: int
    labels_key: str
    names_key: str
    layouts: tuple[Layout, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    url: str = "https://www.cs.toronto.edu/~kriz/"


CIFAR10 = Release(
    name="cifar10",
    classes=10,
    train=50_000,
    test=10_000,
    label_bytes=1,
    labels_key="labels",
    names_key="label_names",
    layouts=(
        Layout(
            folder="cifar-10-batches-bin",
            archive="cifar-10-binary.tar.gz",
            md5="c32a1d4ab5d03f1284b67883e8d87530",
            train=tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
            test="test_batch.bin",
            names="batches.meta.txt",
            pickled=False,
        ),
        Layout(
            folder="cifar-10-batches-py",
            archive="cifar-10-python.tar.gz",
            md5="c58f30108f718f92721af3b95e74349a",
            train=tuple(f"data_batch_{number}" for number in range(1, 6)),
            test="test_batch",
            names="batches.meta",
            pickled=True,
        ),
    ),
    # The constants of DARTS (Liu et al., 2019) and its successors.
    mean=(0.49139968, 0.48215827, 0.44653124),
    std=(0.24703233, 0.24348505, 0.26158768),
)

CIFAR100 = Release(
    name="cifar100",
    classes=100,
    train=50_000,
    test=10_000,
    label_bytes=2,
    labels_key="fine_labels",
    names_key="fine_label_names",
    layouts=(
        Layout(
            folder="cifar-100-binary",
            archive="cifar-100-binary.tar.gz",
            md5="03b5dce01913d631647c71ecec9e9cb8",
            train=("train.bin",),
            test="test.bin",
            names="fine_label_names.txt",
            pickled=False,
        ),
        Layout(
            folder="cifar-100-python",
            archive="cifar-100-python.tar.gz",
            md5="eb9058c3a382ffc7106e4002c42a8d85",
            train=("train",),
            test="test",
            names="meta",
            pickled=True,
        ),
    ),
    # The constants of P-DARTS (Chen et al., 2019).
    mean=(0.5071, 0.4867, 0.4408),
    std=(0.2675, 0.2565, 0.2761),
)


def cifar10(data_dir: str | Path | None = None, *, download: bool = False) -> DataSet:
    """CIFAR-10: 50,000 training and 10,000 test pictures, 32x32, in color, in 10 classes.

    Args:
        data_dir: the unpacked folder, the folder that holds it or the ``.tar.gz``, or the ``.tar.gz`` itself;
            by default ``diffnas`` in the user's cache folder.
        download: fetch the archive into ``data_dir`` from the official site if it is not there.

    Raises:
        FileNotFoundError: no form of CIFAR-10 is there.
        ConnectionError: the download failed.
        ValueError: a file is damaged, or the downloaded archive has another checksum.
    """
    return load_release(CIFAR10, data_dir, download=download)


def cifar100(data_dir: str | Path | None = None, *, download: bool = False) -> DataSet:
    """CIFAR-100: 50,000 training and 10,000 test pictures, 32x32, in color, with the 100 fine labels.

    The arguments and errors are those of :func:`cifar10`.
    """
    return load_release(CIFAR100, data_dir, download=download)


def load_release(release: Release, data_dir: str | Path | None = None, *, download: bool = False) -> DataSet:
    """The data set that ``release`` describes, from ``data_dir``; see :func:`cifar10`."""
    layout, place = _find(release, Path(data_dir) if data_dir else _cache(), download)
    wanted = {*layout.train, layout.test, layout.names}
    files = read_folder(place, wanted) if place.is_dir() else read_tar(place, layout.folder, wanted)
    per_file = release.train // len(layout.train)
    read = _read_pickled if layout.pickled else _read_binary
    parts = [read(release, files[name], per_file, f"{place}: {name}") for name in layout.train]
    test_images, test_labels = read(release, files[layout.test], release.test, f"{place}: {layout.test}")
    return DataSet(
        name=release.name,
        train=_pictures(np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])),
        test=_pictures(test_images, test_labels),
        classes=_class_names(release, layout, files[layout.names], f"{place}: {layout.names}"),
        mean=release.mean,
        std=release.std,
        augmentation=Augmentation(pad=4, flip=True),
    )


def _cache() -> Path:
    """The folder for downloads if the user names none."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "diffnas"


def _find(release: Release, place: Path, download: bool) -> tuple[Layout, Path]:
    """The layout found at ``place``, and the path of its folder or archive."""
    for layout in release.layouts:
        if place.is_file() and place.name == layout.archive:
            return layout, place
        for folder in (place, place / layout.folder):
            if (folder / layout.test).is_file() and (folder / layout.train[0]).is_file():
                return layout, folder
    for layout in release.layouts:
        if (place / layout.archive).is_file():
            return layout, place / layout.archive
    if download:
        layout = release.layouts[0]
        return layout, fetch(release.url + layout.archive, place / layout.archive, layout.md5)
    known = ", ".join(f"{layout.folder} or {layout.archive}" for layout in release.layouts)
    raise FileNotFoundError(
        f"no {release.name} at {place}. Looked for {known}. Give the folder that holds one of these as the "
        "data folder (data_dir, --data-dir), or allow the download (download=True, --download)."
    )


def _read_binary(release: Release, content: bytes, count: int, what: str) -> tuple[Any, Any]:
    """Pictures ``(count, 3072)`` and labels ``(count,)`` from a binary file, where each picture follows its labels."""
    record = release.label_bytes + _PIXELS
    if len(content) != count * record:
        raise ValueError(
            f"{what} has {len(content):,} bytes; {count:,} pictures of {record:,} bytes make {count * record:,}. "
            "The file is damaged or incomplete: fetch it again."
        )
    records = np.frombuffer(content, np.uint8).reshape(count, record)
    # CIFAR-100 gives the coarse label first; the last label byte is the fine one.
    return records[:, release.label_bytes :], records[:, release.label_bytes - 1]


def _read_pickled(release: Release, content: bytes, count: int, what: str) -> tuple[Any, Any]:
    """Pictures ``(count, 3072)`` and labels ``(count,)`` from a pickled file."""
    found = read_arrays(content, what)
    images, labels = found.get("data"), found.get(release.labels_key)
    if not isinstance(images, np.ndarray) or not isinstance(labels, list):
        raise ValueError(f"{what} has no 'data' array and {release.labels_key!r} list; it has {sorted(found)}.")
    if images.dtype != np.uint8 or images.shape != (count, _PIXELS) or len(labels) != count:
        raise ValueError(
            f"{what} has {images.dtype} pictures {images.shape} and {len(labels):,} labels; "
            f"uint8 {(count, _PIXELS)} and {count:,} were expected."
        )
    if not all(type(label) is int and 0 <= label < release.classes for label in labels):
        raise ValueError(f"{what} has labels that are no numbers from 0 to {release.classes - 1}.")
    return images, np.array(labels, np.int64)


def _pictures(images: Any, labels: Any) -> Pictures:
    """The split with these pictures, ``(pictures, 3072)``, and labels."""
    shaped = torch.from_numpy(np.array(images, np.uint8)).view(-1, 3, 32, 32)
    return Pictures(images=shaped, labels=torch.from_numpy(np.array(labels, np.int64)))


def _class_names(release: Release, layout: Layout, content: bytes, what: str) -> tuple[str, ...]:
    """The names of the classes, in the order of their labels."""
    names = read_arrays(content, what).get(release.names_key) if layout.pickled else content.split()
    try:
        texts = [name if isinstance(name, str) else name.decode() for name in names]  # type: ignore[union-attr]
    except (TypeError, AttributeError, UnicodeDecodeError):
        raise ValueError(f"{what} holds no list of {release.names_key!r} in plain text.") from None
    if len(texts) != release.classes:
        raise ValueError(f"{what} names {len(texts)} classes; {release.classes} were expected.")
    return tuple(texts)
