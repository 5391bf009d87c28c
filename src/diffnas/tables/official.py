"""The published files of NATS-Bench (Dong et al., 2021), interpreted by the package ``nats-bench``.

The files are pickles, and Python's own reader runs all code that a pickle names. Our reader builds plain containers and
numbers only; ``nats-bench`` gets those, and says what they mean.
"""

from __future__ import annotations

import bz2
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from diffnas.tables.record import Table
from diffnas.untrusted.pickles import Known, unpickle
from diffnas.untrusted.stand_ins import NUMBERS
from diffnas.untrusted.whole import MEGA, read_all

_ENDING = ".pickle.pbz2"

# How far a file may unpack. Measurements hardly compress: a factor of ten is much. A few small files compress better.
_UNPACKS_TO, _FLOOR = 50, 16 * MEGA
_STEPS_A_BYTE, _STEPS = 8, 2_000_000
_MOST_CELLS = 100_000  # the topology space has 15,625

# The columns of the table: the data set of the training, the split of the test, and our name for the two.
_MEASURED = {
    ("cifar10-valid", "x-valid"): "cifar10_valid",
    ("cifar10", "ori-test"): "cifar10_test",
    ("cifar100", "x-valid"): "cifar100_valid",
    ("cifar100", "x-test"): "cifar100_test",
    ("ImageNet16-120", "x-valid"): "imagenet16_valid",
    ("ImageNet16-120", "x-test"): "imagenet16_test",
}


def is_official(path: Path) -> bool:
    """Whether a path looks like files of NATS-Bench: a folder, or a compressed pickle."""
    return path.is_dir() or path.name.endswith(_ENDING)


def read_official(path: Path) -> Table:
    """The table in NATS-Bench's folder ``NATS-tss-v1_0-3ffb9-simple``, or in its one big file.

    Accuracies are means over the seeds of the training, at the last epoch of the schedules of 12 and 200 epochs.

    Raises:
        ValueError: if the files are not those of the topology space, or ask to run anything.
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
        try:
            results = {epochs: ArchResults.create_from_state_dict(_state(state)) for epochs, state in schedules.items()}
            rows.append(dict(_accuracies(results)))
        except Exception as error:  # The exceptions that the package raises for damaged records have no common type.
            raise ValueError(f"what it says of {cell[:80]} is damaged ({type(error).__name__}).") from None
    names = [f"{name}_{epochs}" for epochs in ("200", "12") for name in _MEASURED.values()]
    columns = {name: np.array([row.get(name, math.nan) for row in rows]) for name in names}
    kept = {name: values for name, values in columns.items() if np.isfinite(values).any()}
    return Table(cells=tuple(cells), columns=kept)


def _records(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every cell, with its measurements by schedule ("12", "200")."""
    files = _Unpacker()
    meta = files.read(path / f"meta{_ENDING}" if path.is_dir() else path)
    cells = meta.get("meta_archs")
    if not isinstance(cells, list) or not all(isinstance(cell, str) for cell in cells) or len(cells) > _MOST_CELLS:
        raise ValueError("it lists no cells; the topology space's file is called NATS-tss-...")
    if path.is_dir():
        each = ((index, path / f"{index:06d}{_ENDING}") for index in range(len(cells)))
        yield from ((cells[index], files.read(file)) for index, file in each if file.exists())
        return
    measured = meta.get("arch2infos")
    if not isinstance(measured, dict) or not all(_is_below(index, len(cells)) for index in measured):
        raise ValueError("it has no 'arch2infos' by the numbers of its cells.")
    yield from ((cells[int(index)], schedules) for index, schedules in measured.items())


def _is_below(index: Any, most: int) -> bool:
    return str(index).isdecimal() and int(index) < most


def _state(state: Any) -> dict[str, Any]:
    """The measurements of a cell; every trial is checked, because ``nats-bench`` opens a file if a trial is text."""
    trials = state["all_results"]
    if not all(isinstance(trial, dict) for trial in trials.values()):
        raise ValueError("a trial in it is no dictionary")
    return dict(state)


def _accuracies(results: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for epochs, result in results.items():
        trained = result.get_dataset_names()
        for (data, split), name in _MEASURED.items():
            if data in trained:
                yield f"{name}_{epochs}", float(result.get_metrics(data, split)["accuracy"])


def _empty(*ignored: object) -> dict[Any, Any]:
    """An empty dictionary for any kind of dictionary; the factory of a ``defaultdict`` is ignored, nothing needs it."""
    return {}


def _listed(items: Any) -> list[Any]:
    """The items of a set, given the list from which older pickle protocols make it."""
    if type(items) is not list:
        raise ValueError("it holds a set in an unknown form")
    return items


_KNOWN: Known = {
    ("collections", "OrderedDict"): _empty,
    ("collections", "defaultdict"): _empty,
    ("builtins", "list"): "list",
    ("builtins", "dict"): "dict",
    ("builtins", "set"): _listed,
    **NUMBERS,
}


class _Unpacker:
    """Reads the files of NATS-Bench, and limits the unpacked bytes of each file and of all together."""

    def __init__(self) -> None:
        self.room = _FLOOR

    def read(self, path: Path) -> dict[str, Any]:
        """The dictionary in a file; a ValueError that names the file if it holds none."""
        try:
            packed = path.stat().st_size
            with bz2.open(path) as file:
                content = read_all(file, self.room + _UNPACKS_TO * packed, path.name)
            self.room -= max(0, len(content) - _UNPACKS_TO * packed)
            found = unpickle(content, _KNOWN, steps=_STEPS + _STEPS_A_BYTE * packed)
        except FileNotFoundError:
            raise ValueError(f"it has no {path.name}, as the folder NATS-tss-v1_0-3ffb9-simple has.") from None
        except (OSError, EOFError, ValueError) as error:
            reason = str(error).rstrip(".")
            raise ValueError(f"{path.name} is refused: {reason}. Only numbers, text and containers are read.") from None
        if not isinstance(found, dict):
            raise ValueError(f"{path.name} holds a {type(found).__name__}, not a dictionary.")
        return found
