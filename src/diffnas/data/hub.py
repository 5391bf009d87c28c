"""Picture data sets of the Hugging Face hub, read by the package ``datasets`` (the ``hub`` extra)."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from io import BytesIO
from typing import TYPE_CHECKING, Any

from diffnas.data.crew import ALONE, Crew
from diffnas.data.data_set import DataSet
from diffnas.data.gather import MEMORY_LIMIT, Source, Wish, gather

if TYPE_CHECKING:
    from PIL import Image

_TESTS = ("test", "validation", "valid", "val")


def hub(
    name: str,
    *,
    size: int | None = None,
    channels: int | None = None,
    test_fraction: float = 0.2,
    seed: int = 0,
    memory_limit: int = MEMORY_LIMIT,
    crew: Crew = ALONE,
) -> DataSet:
    """A data set of the hub, called ``NAME`` or ``NAME:CONFIG``.

    The pictures are its first column of type ``Image``. The labels are its ``ClassLabel`` column; of several such
    columns, the one with the most classes. The training split is ``train``. The test split is ``test``, or
    ``validation`` if ``test`` is missing or has no labels; without either, a part of each class of ``train``.
    The other arguments are those of :func:`diffnas.data.folder.folder`.

    Raises:
        ImportError: ``datasets`` is not installed.
        ValueError: the data set has no such columns, or no ``train`` split.
    """
    # The tests put a stand-in in place of the package, so nothing is imported from it by name.
    try:
        library = import_module("datasets")
    except ImportError as error:
        raise ImportError(
            'hub:NAME needs the package datasets: pip install ".[hub]", in the checkout of diffnas'
        ) from error
    wish = Wish(size=size, channels=channels, test_fraction=test_fraction, seed=seed, memory_limit=memory_limit)
    repository, _, config = name.partition(":")
    splits = library.load_dataset(repository, config or None)
    if "train" not in splits:
        raise ValueError(f"hub:{name} has no split 'train'; it has {', '.join(splits)}.")
    pictures, labels = _columns(library, splits["train"].features, name)
    classes = tuple(splits["train"].features[labels].names)
    sources = {
        split: _source(library, split, splits[split], pictures, labels)
        for split in ("train", *_TESTS)
        if split in splits and _is_labeled(splits[split], labels)
    }
    if "train" not in sources:
        raise ValueError(f"hub:{name} has a split 'train' with no labels.")
    test = next((split for split in _TESTS if split in sources), None)
    data = gather(f"hub:{name}", classes, sources["train"], sources[test] if test else None, wish, crew)
    unread = [split for split in splits if split not in ("train", test)]
    left_out = (
        (f"hub:{name}: the test is {test or 'a part of train'}; left out: {', '.join(unread)}.",) if unread else ()
    )
    return replace(data, remarks=(*left_out, *data.remarks))


def _columns(library: Any, features: Any, name: str) -> tuple[str, str]:
    """The names of the columns with the pictures and with the labels."""
    pictures = [column for column, kind in features.items() if isinstance(kind, library.Image)]
    labels = [column for column, kind in features.items() if isinstance(kind, library.ClassLabel)]
    if not pictures or not labels:
        found = ", ".join(f"{column} ({type(kind).__name__})" for column, kind in features.items())
        raise ValueError(f"hub:{name} needs an Image and a ClassLabel column; it has {found}.")
    return pictures[0], max(labels, key=lambda column: len(features[column].names))


def _is_labeled(rows: Any, labels: str) -> bool:
    """Whether a split has labels; contests publish test splits whose labels are missing or -1."""
    return len(rows) > 0 and all(label is not None and label >= 0 for label in rows[labels])


def _source(library: Any, split: str, rows: Any, pictures: str, labels: str) -> Source:
    """The pictures of one split, not yet decoded."""
    # Not decoded by the package: it would open any format, even a document that starts another program.
    only = rows.select_columns([pictures]).cast_column(pictures, library.Image(decode=False))

    def read(row: int) -> Image.Image:
        from diffnas.data.decode import loaded

        encoded = only[row][pictures]
        return loaded(encoded["path"] if encoded["bytes"] is None else BytesIO(encoded["bytes"]))

    names = tuple(f"{split} row {row}" for row in range(len(rows)))
    return Source(read=read, names=names, labels=tuple(int(label) for label in rows[labels]))
