"""Tables in files: CSV, our own ``.npz``, and the files of NATS-Bench. To read one never executes anything in it."""

from __future__ import annotations

import csv
import io
import math
import os
from pathlib import Path

import numpy as np

from diffnas.tables.official import is_official, read_official
from diffnas.tables.record import Numbers, Table
from diffnas.untrusted.arrays import read_npz
from diffnas.untrusted.whole import MEGA, read_text

_SCHEMA = "diffnas/table 1"
_LARGEST = 64 * MEGA  # bytes; all of NAS-Bench-201 takes 3 million


def load(path: str | Path) -> Table:
    """The table in a file.

    Args:
        path: one of three. A CSV file with a column of architecture strings and columns of accuracies in percent, under
            any names. A ``.npz`` file that ``save`` wrote. The files of NATS-Bench, that is the folder
            ``NATS-tss-v1_0-3ffb9-simple`` or a ``.pickle.pbz2`` file; they need minutes and the extra ``nats``.

    Raises:
        ValueError: if the file holds no table; the message names the file and the reason.
        ImportError: for files of NATS-Bench without the extra.
        OSError: if the file cannot be read.
    """
    place = Path(path)
    if not place.exists():
        raise FileNotFoundError(f"there is no table {str(path)!r}.")
    try:
        if is_official(place):
            return read_official(place)
        return _read_npz(place) if place.suffix == ".npz" else _read_csv(place)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def save(table: Table, path: str | Path) -> None:
    """Write a table as a small ``.npz`` file, which loads in milliseconds because it holds the equivalent cells too.

    Raises:
        ValueError: if the name of the file does not end in ``.npz``.
    """
    place = Path(path)
    if place.suffix != ".npz":
        raise ValueError(f"a table is saved as .npz, not {str(path)!r}.")
    place.parent.mkdir(parents=True, exist_ok=True)
    part = place.with_name(f".{place.name}.{os.getpid()}.part")
    names = list(table.columns)
    with part.open("wb") as file:
        np.savez_compressed(
            file,
            schema=np.array(_SCHEMA),
            cells=_as_bytes("\n".join(table.cells)),
            groups=table.classes,
            columns=_as_bytes("\n".join(names)),
            values=np.stack([table.columns[name] for name in names]),
        )
    os.replace(part, place)


def _as_bytes(text: str) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    return np.frombuffer(text.encode(), dtype=np.uint8)


def _read_npz(path: Path) -> Table:
    try:
        found = read_npz(path, ("schema", "cells", "columns", "values", "groups"), _LARGEST)
        if str(found["schema"]) != _SCHEMA:
            raise ValueError(f"expected {_SCHEMA}, got {str(found['schema'])[:40]!r}")
        cells, names = (found[name].tobytes().decode().split("\n") for name in ("cells", "columns"))
        values, groups = found["values"], found["groups"]
        if values.shape != (len(names), len(cells)) or groups.shape != (len(cells),):
            raise ValueError(f"{values.shape} values and {groups.shape} groups do not fit its cells and columns")
        if values.dtype.kind != "f" or groups.dtype.kind not in "iu":
            raise ValueError(f"its values are {values.dtype}, its groups {groups.dtype}")
    except ValueError as error:
        raise ValueError(f"not a table that diffnas saved ({error}).") from None
    columns = dict(zip(names, values.astype(np.float64), strict=True))
    wrong = next((name for name, values in columns.items() if not _is_measured(values)), None)
    if wrong is not None:
        raise ValueError(f"{wrong[:80]!r} does not hold accuracies: numbers from 0 to 100.")
    return Table(cells=tuple(cells), columns=columns, groups=groups.astype(np.int32))


def _read_csv(path: Path) -> Table:
    try:
        text = read_text(path, _LARGEST).removeprefix("\ufeff")
        header, *rows = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
    except (csv.Error, ValueError) as error:
        raise ValueError(f"not a CSV file with a header and rows ({error}).") from None
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise ValueError(f"row {number} has {len(row)} fields, the header {len(header)}.")
    named = dict(zip(header, zip(*rows, strict=True), strict=True)) if rows else {}
    keys = [name for name, values in named.items() if values[0].strip().startswith("|")]
    if not keys:
        raise ValueError("no column holds architecture strings, |op~0|+|op~0|op~1|+...")
    measured = {name: _accuracies(values) for name, values in named.items() if name not in keys}
    columns = {name: values for name, values in measured.items() if values is not None}
    if not columns:
        raise ValueError("no column holds accuracies: numbers from 0 to 100.")
    return Table(cells=tuple(cell.strip() for cell in named[keys[0]]), columns=columns)


def _accuracies(texts: tuple[str, ...]) -> Numbers | None:
    """A column of accuracies in percent, NaN for an empty text; None if the column holds anything else."""
    try:
        numbers = np.array([float(text) if text.strip() else math.nan for text in texts])
    except ValueError:
        return None
    return numbers if _is_measured(numbers) else None


def _is_measured(numbers: Numbers) -> bool:
    finite = numbers[np.isfinite(numbers)]
    return len(finite) > 0 and bool(np.min(finite) >= 0 and np.max(finite) <= 100)
