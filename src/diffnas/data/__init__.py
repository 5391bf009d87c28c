"""Pictures, texts and other sequences: where they come from, and how they reach the device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch

from diffnas.data.augment import Augmentation
from diffnas.data.batches import Split, batches, fetched
from diffnas.data.crew import ALONE, Crew
from diffnas.data.data_set import DataKind, DataSet
from diffnas.data.gather import limit_for
from diffnas.data.pictures import Files, Pictures
from diffnas.data.sequences import Columns, Series, Stream
from diffnas.data.stratify import equal_per_class, stratified_split
from diffnas.data.tensors import from_dataset, from_tensors
from diffnas.data.vectors import from_sequences, is_table, labelled_in, table_in
from diffnas.names import showable
from diffnas.sources import DESCRIPTIONS

__all__ = [
    "DESCRIPTIONS",
    "Augmentation",
    "Columns",
    "DataSet",
    "Files",
    "Pictures",
    "Series",
    "Split",
    "Stream",
    "batches",
    "fetched",
    "from_dataset",
    "from_sequences",
    "from_tensors",
    "kind_of",
    "load",
    "set_aside",
    "stand_in",
    "subsample",
]


def load(
    what: str | Path | DataSet,
    *,
    data_dir: str | Path | None = None,
    size: int | None = None,
    channels: int | None = None,
    seed: int = 0,
    stream: bool | None = None,
    download: bool = False,
    tokens: str | None = None,
    encoding: str | None = None,
    lower: bool | None = None,
    crew: Crew = ALONE,
) -> DataSet:
    """The data set called ``what``.

    Args:
        what: ``"digits"``, ``"cifar10"``, ``"cifar100"``, ``"hub:NAME"``, ``"text"``, ``"python-docs"``, a folder of
            class folders, a text or a folder of texts, a CSV file, or a data set, which is returned as it is.
        data_dir: where the files of CIFAR are.
        size: height and width of the scaled and cropped pictures; folders and the hub only.
        channels: 1 for grey, 3 for color; folders and the hub only.
        seed: decides the test split where the source has none; folders and the hub only.
        stream: whether pictures are read each time they are needed, and none is kept in memory; by default, if their
            pixels need more than 2 GiB. Folders and the hub only.
        download: whether the files of CIFAR may be fetched.
        tokens, encoding, lower: how a text is read; see :func:`diffnas.data.text.text_in`. Texts only.
        crew: the processes that load the same data at the same time, and share the work.

    Raises:
        ValueError: an unknown name, an argument that does not apply, or pictures that cannot be used.
        FileNotFoundError: the files are not there.

    >>> load("digits").size
    (8, 8)
    >>> load("cifar")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: unknown data set 'cifar'. Did you mean 'cifar10'? Known: digits, cifar10, ..., FILE.
    """
    if isinstance(what, DataSet):
        return what
    _check_name(what)
    how: dict[str, Any] = {"size": size, "channels": channels, "seed": seed, "crew": crew}
    how["memory_limit"] = limit_for(stream)
    if isinstance(what, str) and what.startswith("hub:"):
        from diffnas.data.hub import hub

        return hub(what.removeprefix("hub:"), **how)
    told = {"tokens": tokens, "encoding": encoding, "lower": lower}
    if _is_text(what):
        _check_unused(what, "pictures", size=size, channels=channels, stream=stream)
        return _text(what, told)
    _check_unused(what, "texts", **told)
    if what not in DESCRIPTIONS:
        return _folder(what, how)
    if size is not None or channels is not None:
        raise ValueError(f"{what} has one size and one number of channels; leave size and channels out.")
    if stream is not None:
        raise ValueError(f"{what} is small, and always kept in memory; leave stream out.")
    return (
        _not_the_folder(str(what), data_dir, download) if Path(what).is_dir() else _named(str(what), data_dir, download)
    )


def _check_name(what: object) -> None:
    if what == "":
        raise ValueError(f"the name of the data is empty. Known: {', '.join(DESCRIPTIONS)}.")
    if not isinstance(what, str | Path):
        raise ValueError(
            f"a data set is named by a text or a path, not by a {type(what).__name__}. diffnas.from_tensors makes one "
            "of tensors, and diffnas.from_dataset of a torch Dataset."
        )


def kind_of(what: object) -> DataKind:
    """What the data called ``what`` are, before they are read."""
    if isinstance(what, DataSet):
        return what.kind
    if not isinstance(what, str | Path) or str(what).startswith("hub:") or what == "":
        return "pictures"
    if _is_text(what):
        return "text"
    if what in DESCRIPTIONS or not is_table(Path(what)):
        return "pictures"
    return "labelled" if Path(what).is_dir() else "forecast"


def _is_text(what: str | Path) -> bool:
    from diffnas.data.text import NAMED, is_text

    return what in NAMED or (what not in DESCRIPTIONS and is_text(Path(what)))


def _text(what: str | Path, told: Mapping[str, Any]) -> DataSet:
    """The text called ``what``, read as the user has told."""
    from diffnas.data.text import NAMED, embedded_text, text_in

    if what not in NAMED:
        return text_in(what, **told)
    _check_unused(what, "a user's files", encoding=told["encoding"])
    data = embedded_text(str(what), tokens=told["tokens"], lower=told["lower"])
    taken = f"{what} is the text of this name; the one that is here is called ./{what}."
    return replace(data, remarks=(taken, *data.remarks)) if Path(what).exists() else data


def _check_unused(what: str | Path, kind: str, **options: object) -> None:
    """Refuse options of another kind of data.

    Raises:
        ValueError: for an option that was given.
    """
    for name, value in options.items():
        if value is not None:
            raise ValueError(f"{name} is an option of {kind}, and {showable(str(what))} is none; leave {name} out.")


def _not_the_folder(name: str, data_dir: str | Path | None, download: bool) -> DataSet:
    """The named data set, although a folder has the same name; a remark, or the error, says how to load the folder."""
    taken = f"{name} is the data set of this name; the folder {name} that is here is called ./{name}."
    try:
        data = _named(name, data_dir, download)
    except (ValueError, FileNotFoundError) as error:
        raise type(error)(f"{error} {taken}") from None
    return replace(data, remarks=(taken, *data.remarks))


def _named(name: str, data_dir: str | Path | None, download: bool) -> DataSet:
    """The data set called ``name``: digits, cifar10 or cifar100."""
    if name == "digits":
        from diffnas.data.sample import digits

        return digits()
    from diffnas.data.cifar import cifar10, cifar100

    return {"cifar10": cifar10, "cifar100": cifar100}[name](data_dir, download=download)


def _folder(what: str | Path, how: Mapping[str, Any]) -> DataSet:
    """The data set in the folder ``what``, read with the options ``how``.

    Raises:
        ValueError: if there is no such folder and ``what`` looks like a misspelt name.
    """
    if isinstance(what, str) and not Path(what).exists() and Path(what).name == what:
        close = get_close_matches(what, DESCRIPTIONS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"unknown data set {what!r}.{hint} Known: {', '.join(DESCRIPTIONS)}.")
    if is_table(Path(what)):
        _check_unused(what, "pictures", size=how["size"], channels=how["channels"])
        return table_in(what) if Path(what).is_file() else labelled_in(what, seed=how["seed"])
    from diffnas.data.folder import folder

    return folder(what, **how)


def subsample(data: DataSet, train: int | None, test: int | None, seed: int = 0) -> DataSet:
    """The same data set with fewer pictures, the same number from every class; of a stream, the first steps.

    Args:
        data: the data set.
        train: training pictures to keep; all if None.
        test: test pictures to keep; all if None.
        seed: decides which. With the same seed, a smaller choice is part of a larger one.

    Returns:
        A data set whose name ends in the two numbers. Mean, standard deviation and augmentation stay those of ``data``.

    Raises:
        ValueError: fewer pictures than classes asked for, or more than a class has.

    >>> small = subsample(load("digits"), 100, 50)
    >>> small.name, len(small.train), len(small.test)
    ('digits[100,50]', 100, 50)
    """
    if train is None and test is None:
        return data
    splits = [_some(data, split, count, seed) for split, count in ((data.train, train), (data.test, test))]
    counts = f"{train or 'all'}" + (f",{test}" if test is not None else "")
    return replace(data, name=f"{data.name}[{counts}]", train=splits[0], test=splits[1])


def _some(data: DataSet, split: Split, count: int | None, seed: int) -> Split:
    """``count`` pictures of a split, or all of them."""
    if count is None:
        return split
    if isinstance(split, Stream):
        if not 2 <= count <= len(split):
            raise ValueError(f"{data.name}: {count:,} steps were asked for, of {len(split):,}; 2 or more are needed.")
        return split.subset(torch.arange(count))
    return split.subset(equal_per_class(split.labels, data.classes, count, seed))


def set_aside(data: DataSet, share: float) -> tuple[DataSet, Split]:
    """The same data set with fewer training pictures, and those that were set aside: the same ones each time.

    The latter choose among networks that were trained without them. Test pictures must not choose. Of a stream, the
    end is set aside.

    Args:
        data: the data set.
        share: the share of each class that is set aside, above 0 and below 1; see
            :func:`diffnas.data.stratify.stratified_split`.

    >>> less, aside = set_aside(load("digits"), 0.1)
    >>> less.name, len(less.train), len(aside)
    ('digits[90%]', 1211, 136)
    """
    if isinstance(data.train, Stream):
        kept, taken = torch.arange(len(data.train)).tensor_split([round((1 - share) * len(data.train))])
    else:
        kept, taken = stratified_split(data.train.labels, share, seed=0)
    less = replace(data, name=f"{data.name}[{1 - share:.0%}]", train=data.train.subset(kept))
    return less, data.train.subset(taken)


def stand_in(data: DataSet, count: int) -> DataSet:
    """At least ``count`` random pictures in place of the real ones, one of each class at least.

    They differ, because equal pictures have no variance. A dozen batch norms in a row would divide by it, so that
    gradients overflow.
    """
    if isinstance(data.train, Stream):
        return data  # it is in memory
    count = max(count, len(data.classes))
    if isinstance(data.train, Series):
        steps = torch.randn(count, *data.train.steps.shape[1:], generator=torch.Generator().manual_seed(0))
        some = Series(steps=steps, labels=torch.arange(count) % len(data.classes))
        return replace(data, train=some, test=some)
    shape = count, data.channels, *data.size
    noise = Pictures(
        images=torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0)),
        labels=torch.arange(count) % len(data.classes),
    )
    return replace(data, train=noise, test=noise)
