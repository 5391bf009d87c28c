"""Tables in files: CSV, our own columns, and the files of NATS-Bench. Nothing is executed on reading any of them."""

from __future__ import annotations

import csv
import math
import os
import zipfile
import zlib
from pathlib import Path

import numpy as np

from diffnas.tables.official import is_official, read_official
from diffnas.tables.record import Numbers, Table

_SCHEMA = "diffnas/table 1"


def load(path: str | Path) -> Table:
    """The table in a file.

    Args:
        path: a CSV file with a column of architecture strings and columns of accuracies in percent, whatever they
            are called; a ``.npz`` file that ``save`` wrote; or the files of NATS-Bench (the folder
            ``NATS-tss-v1_0-3ffb9-simple`` or a ``.pickle.pbz2`` file), which takes minutes and the extra ``nats``.

    Raises:
        ValueError: if it holds no table; the message says where.
        ImportError: for files of NATS-Bench without the extra.
        OSError: if it cannot be read.
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
    """Write a table as a small ``.npz`` file, equivalent cells found out, so that it loads in milliseconds.

    Raises:
        ValueError: if the file is not called ``.npz``.
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
        # Opened here: numpy would leave a file open that turns out to be no archive.
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            if str(file["schema"]) != _SCHEMA:
                raise ValueError(f"expected {_SCHEMA}, got {str(file['schema'])[:40]!r}.")
            cells, names = (bytes(file[name]).decode().split("\n") for name in ("cells", "columns"))
            values = file["values"].astype(np.float64)
            groups = file["groups"].astype(np.int32)
    except (KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error, UnicodeDecodeError) as error:
        raise ValueError(f"not a table that diffnas saved ({type(error).__name__}: {error}).") from None
    return Table(cells=tuple(cells), columns=dict(zip(names, values, strict=True)), groups=groups)


def _read_csv(path: Path) -> Table:
    with path.open(newline="", encoding="utf-8-sig") as file:
        try:
            header, *rows = [row for row in csv.reader(file) if row]
        except (csv.Error, UnicodeDecodeError, ValueError) as error:
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
    """A column of accuracies in percent, NaN where nothing stands; None if it holds anything else."""
    try:
        numbers = np.array([float(text) if text.strip() else math.nan for text in texts])
    except ValueError:
        return None
    finite = numbers[np.isfinite(numbers)]
    return numbers if len(finite) and finite.min() >= 0 and finite.max() <= 100 else None
