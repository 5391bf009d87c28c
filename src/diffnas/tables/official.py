"""The files that NATS-Bench is published as (Dong et al., 2021), read through the package ``nats-bench``.

The files are pickles, and reading a pickle runs what it asks for. These are unpickled here instead, by a reader that
builds plain containers and numbers only; ``nats-bench`` gets those, and says what they mean.
"""

from __future__ import annotations

import bz2
import math
import pickle
import struct
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from diffnas.tables.record import Table

_ENDING = ".pickle.pbz2"

# What is looked up: the data set that was trained on, the split that was tested, and what we call it.
_MEASURED = {
    ("cifar10-valid", "x-valid"): "cifar10_valid",
    ("cifar10", "ori-test"): "cifar10_test",
    ("cifar100", "x-valid"): "cifar100_valid",
    ("cifar100", "x-test"): "cifar100_test",
    ("ImageNet16-120", "x-valid"): "imagenet16_valid",
    ("ImageNet16-120", "x-test"): "imagenet16_test",
}


def is_official(path: Path) -> bool:
    """Whether a path is one of NATS-Bench's: its folder, or a compressed pickle."""
    return path.is_dir() or path.name.endswith(_ENDING)


def read_official(path: Path) -> Table:
    """The table in NATS-Bench's folder ``NATS-tss-v1_0-3ffb9-simple``, or in its one big file.

    Accuracies are averages over the seeds that were trained, at the last epoch of the schedules of 12 and 200 epochs.

    Raises:
        ValueError: if the files are not those of the topology space, or ask for anything to be run.
        ImportError: without ``nats-bench``.
    """
    try:
        from nats_bench.api_utils import ArchResults
    except ImportError as error:
        raise ImportError('the files of NATS-Bench need: pip install ".[nats]", in the checkout of diffnas') from error
    cells: list[str] = []
    rows: list[dict[str, float]] = []
    for cell, schedules in _records(path):
        cells.append(cell)
        results = {epochs: ArchResults.create_from_state_dict(dict(state)) for epochs, state in schedules.items()}
        rows.append(dict(_accuracies(results)))
    names = [f"{name}_{epochs}" for epochs in ("200", "12") for name in _MEASURED.values()]
    columns = {name: np.array([row.get(name, math.nan) for row in rows]) for name in names}
    kept = {name: values for name, values in columns.items() if np.isfinite(values).any()}
    return Table(cells=tuple(cells), columns=kept)


def _records(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every cell, with what was measured by schedule ("12", "200")."""
    meta = _unpickle(path / f"meta{_ENDING}" if path.is_dir() else path)
    cells = meta.get("meta_archs")
    if not isinstance(cells, list) or not all(isinstance(cell, str) for cell in cells):
        raise ValueError("it lists no cells; the topology space's file is called NATS-tss-...")
    if path.is_dir():
        files = ((index, path / f"{index:06d}{_ENDING}") for index in range(len(cells)))
        yield from ((cells[index], _unpickle(file)) for index, file in files if file.exists())
    else:
        yield from ((cells[int(index)], schedules) for index, schedules in meta["arch2infos"].items())


def _accuracies(results: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for epochs, result in results.items():
        trained = result.get_dataset_names()
        for (data, split), name in _MEASURED.items():
            if data in trained:
                yield f"{name}_{epochs}", float(result.get_metrics(data, split)["accuracy"])


def _number(kind: _Kind, content: object) -> float | int:
    """A number of numpy's, as Python's own."""
    if not isinstance(kind, _Kind) or not isinstance(content, bytes):
        raise pickle.UnpicklingError("it holds a number in a form that is not plain bytes")
    value: float | int = struct.unpack("<" + {"f8": "d", "f4": "f", "i8": "q", "i4": "i"}[kind.code], content)[0]
    return value


class _Kind:
    """Stands for a numpy type while a pickle is read."""

    def __init__(self, code: object, *flags: object) -> None:
        self.code = str(code)
        if self.code not in ("f8", "f4", "i8", "i4"):
            raise pickle.UnpicklingError(f"it holds a number of the type {self.code!r}")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] == ">":
            raise pickle.UnpicklingError("it holds numbers of a big-endian machine")


def _default_dict(*ignored: object) -> dict[Any, Any]:
    return {}


_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    # Its factory is a callable of the file's choice; what is read needs none.
    ("collections", "defaultdict"): _default_dict,
    ("builtins", "list"): "list",
    ("builtins", "dict"): "dict",
    ("builtins", "set"): set,
    ("numpy", "dtype"): _Kind,
    ("numpy.core.multiarray", "scalar"): _number,
    ("numpy._core.multiarray", "scalar"): _number,
}


class _Restricted(pickle.Unpickler):
    """An unpickler that finds plain containers and numbers, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _ALLOWED[module, name]


def _unpickle(path: Path) -> dict[str, Any]:
    try:
        with bz2.open(path) as file:
            found = _Restricted(file).load()
    except FileNotFoundError:
        raise ValueError(f"it has no {path.name}, as the folder NATS-tss-v1_0-3ffb9-simple has.") from None
    except Exception as error:  # What a broken pickle raises has no common type.
        raise ValueError(f"{path.name} is refused: {error}. Only numbers, text and containers are read.") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path.name} holds a {type(found).__name__}, not a dictionary.")
    return found
