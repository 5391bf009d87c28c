"""Sequences of vectors: tables whose next row is to be predicted, and short sequences with a label each."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffnas.data.data_set import DataSet
from diffnas.data.given import classes_of, labels_of
from diffnas.data.sequences import Series, Stream
from diffnas.data.stratify import stratified_split
from diffnas.names import showable
from diffnas.untrusted.whole import MEGA, read_text

_ENDING, _LARGEST, _TESTED = ".csv", 1024 * MEGA, 0.2
_SHARES = 0.9, 0.95
"""Where a table is cut into training, validation and test."""


def is_table(place: Path) -> bool:
    """Whether a path is a CSV file, or a folder of folders of CSV files."""
    if not place.is_dir():
        return place.suffix.lower() == _ENDING
    from diffnas.data.walk import files_in  # which needs Pillow

    found = files_in(place).files
    return bool(found) and all(path.suffix.lower() == _ENDING for path in found)


def table_in(place: str | Path) -> DataSet:
    """The rows of a CSV file as a stream, each of which is predicted from those before.

    The first 90 % of the rows are for training, the next 5 % for validation, and the last 5 % for the test. Numbers are
    standardized by the training rows. ``remarks`` has the loss of the naive forecast, which repeats the last row.

    Raises:
        ValueError: for a value that is missing or no number, with its line and column; for too few rows.
        FileNotFoundError: if there is no such file.
    """
    path = Path(place)
    if not path.is_file():
        raise FileNotFoundError(f"no file at {showable(str(path))}. Name a CSV file, or a folder CLASS/*.csv.")
    names, rows = read_table(path)
    name = showable(path.name)
    cuts = [round(share * len(rows)) for share in _SHARES]
    parts = rows.tensor_split(cuts)
    if min(map(len, parts)) < 2:
        raise ValueError(f"{name} has {len(rows)} rows, and 40 or more are needed: the last 5 % are the test.")
    mean, std = _statistics(parts[0])
    train, valid, test = (Stream(steps=((part - mean) / std).float(), channels=len(names)) for part in parts)
    naive = (test.steps[1:] - test.steps[:-1]).square().mean()
    return DataSet(
        name=path.name,
        train=train,
        valid=valid,
        test=test,
        classes=names,
        mean=tuple(mean.tolist()),
        std=tuple(std.tolist()),
        remarks=(
            f"{name}: the naive forecast, that the next row is the last one, has a mean squared error of {naive:.4f} "
            "on the test rows, in standardized numbers. A network must have less to be of use.",
        ),
    )


def labelled_in(place: str | Path, *, seed: int = 0) -> DataSet:
    """The sequences in the CSV files of ``place/CLASS``; a fifth of each class is the test.

    Raises:
        ValueError: for a folder that is not that of a class, a value that is missing or no number, or files with
            different numbers of columns.
    """
    from diffnas.data.walk import files_in

    root = Path(place)
    folders = sorted({path.parent for path in files_in(root).files})
    if loose := [folder for folder in folders if folder.parent != root]:
        raise ValueError(
            f"{showable(str(loose[0]))} has CSV files, and should lie in a folder of {showable(root.name)}, one for "
            f"each class: {showable(root.name)}/CLASS/*.csv."
        )
    files = [(label, path) for label, folder in enumerate(folders) for path in files_in(folder).files]
    sequences = [read_table(path)[1] for _, path in files]
    for (_, path), found in zip(files, sequences, strict=True):
        if found.shape[1] != sequences[0].shape[1]:
            raise ValueError(
                f"{showable(str(path))} has {found.shape[1]} columns, and {showable(str(files[0][1]))} has "
                f"{sequences[0].shape[1]}. Give all files the same columns."
            )
    labels = torch.tensor([label for label, _ in files])
    first, second = stratified_split(labels, _TESTED, seed)
    splits = [([sequences[row] for row in rows], labels[rows]) for rows in (first.tolist(), second.tolist())]
    return _labelled(root.resolve().name, tuple(folder.name for folder in folders), *splits)


def from_sequences(
    train: tuple[Any, Any],
    test: tuple[Any, Any],
    *,
    classes: tuple[str, ...] | None = None,
    name: str = "sequences",
) -> DataSet:
    """A data set of sequences with a label each.

    Args:
        train: sequences, an array ``(sequences, T, d)`` or a list of arrays ``(T, d)`` whose lengths may differ; and
            their labels, whole numbers from 0 on.
        test: the same for the test split.
        classes: the name of each label; by default the labels themselves.
        name: what reports call the data set.

    Raises:
        ValueError: for another shape, a number that is missing, or labels that do not fit.

    >>> data = from_sequences((torch.rand(4, 5, 2), [0, 1, 0, 1]), ([torch.rand(3, 2), torch.rand(9, 2)], [0, 1]))
    >>> data.channels, data.classes
    (2, ('0', '1'))
    """
    given = []
    for what, split in (("training", train), ("test", test)):
        if not isinstance(split, tuple | list) or len(split) != 2:
            raise ValueError(f"{what} data must be a pair (sequences, labels), not a {type(split).__name__}.")
        given.append(
            ([_vectors(each, f"{what} sequence {k}") for k, each in enumerate(split[0])], labels_of(split[1], what))
        )
        if len(given[-1][0]) != len(given[-1][1]) or given[-1][1].ndim != 1:
            shape = tuple(given[-1][1].shape)
            raise ValueError(
                f"there are {len(given[-1][0])} {what} sequences and labels {shape}; pass one label for each."
            )
    highest = max((int(labels.max()) for _, labels in given if len(labels)), default=-1)
    return _labelled(name, classes_of(classes, highest, len(given[0][0])), *given)


def _labelled(name: str, classes: tuple[str, ...], *splits: tuple[Sequence[Tensor], Tensor]) -> DataSet:
    """A data set of sequences, padded to one length in each split and standardized by the training sequences."""
    if not splits[0][0] or not splits[1][0]:
        raise ValueError(f"{showable(name)}: there must be training and test sequences. Add some for each class.")
    widths = sorted({each.shape[1] for sequences, _ in splits for each in sequences})
    if len(widths) > 1:
        raise ValueError(
            f"{showable(name)}: sequences have {widths[0]} and {widths[1]} numbers a step; give all the same."
        )
    mean, std = _statistics(torch.cat(list(splits[0][0])))
    train, test = (
        Series(
            steps=torch.nn.utils.rnn.pad_sequence(
                [((each - mean) / std).float() for each in sequences], batch_first=True, padding_value=torch.nan
            ),
            labels=labels,
        )
        for sequences, labels in splits
    )
    return DataSet(
        name=name,
        train=train,
        test=test,
        classes=classes,
        mean=tuple(mean.tolist()),
        std=tuple(std.tolist()),
    )


def _statistics(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each column; a column that never changes has a deviation of 1."""
    mean, std = rows.mean(0), rows.std(0, correction=0)
    return mean, torch.where(std > 0, std, 1.0)


def _vectors(given: Any, what: str) -> Tensor:
    """A sequence of a user as float64, ``(T, d)``."""
    found = torch.as_tensor(np.asarray(given.cpu() if isinstance(given, Tensor) else given, dtype=np.float64))
    if found.ndim != 2 or not found.numel():
        raise ValueError(f"{what} has shape {tuple(found.shape)}; (T, d) works, T steps of d numbers.")
    if not bool(found.isfinite().all()):
        step, column = found.isfinite().logical_not().nonzero()[0].tolist()
        raise ValueError(f"{what} has {found[step, column]} in step {step}, number {column}. Fill it, or leave it out.")
    return found


def read_table(path: Path) -> tuple[tuple[str, ...], Tensor]:
    """The names of the columns of a CSV file, and its rows, float64 ``(rows, columns)``.

    The first line has the names, unless it has numbers only.
    """
    name = showable(str(path))
    lines = [line for line in csv.reader(read_text(path, _LARGEST).removeprefix("\ufeff").splitlines()) if line]
    if not lines:
        raise ValueError(f"{name} is empty. Give it rows of numbers.")
    titled = not all(map(_is_number, lines[0]))
    names = tuple(each.strip() or f"column {k + 1}" for k, each in enumerate(lines[0]))
    rows = lines[1:] if titled else lines
    if not rows:
        raise ValueError(f"{name} has a line of names and no row of numbers.")
    for number, row in enumerate(rows, start=1 + titled):
        if len(row) != len(names):
            raise ValueError(f"{name}, line {number}: there are {len(row)} values, and {len(names)} in the first line.")
        for column, value in zip(names, row, strict=True):
            if not _is_number(value):
                told = f"the value {value[:40]!r} is no number" if value.strip() else "a value is missing"
                raise ValueError(
                    f"{name}, line {number}, column {showable(column)}: {told}. Fill it, or leave its row out."
                )
    if not titled:
        names = tuple(str(k + 1) for k in range(len(names)))
    return names, torch.tensor([[float(value) for value in row] for row in rows], dtype=torch.float64)


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False
