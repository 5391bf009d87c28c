"""Plans of sweeps: every cell of the grid is checked, measured, and given its threads before the first run begins."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from diffnas.api import plan_run
from diffnas.api.whole_run import recipe_for
from diffnas.data import DESCRIPTIONS
from diffnas.engine.cost import Prospect, memory_of
from diffnas.engine.memory import available
from diffnas.recipes import RECIPES
from diffnas.report.sweep.record import CellRecord

PROCESS = 400 << 20
"""The bytes of a process beside those of its search: Python, PyTorch, what CUDA sets up, and a small data set."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell of the grid.

    Attributes:
        values: its place in the grid, by axis.
        options: the arguments of ``diffnas.run``; they can be written as JSON.
    """

    values: Mapping[str, Any]
    options: Mapping[str, Any]


def planned(cells: Mapping[str, Cell], at_once: int | None, cpus: int | None = None) -> dict[str, CellRecord]:
    """The cells of a sweep as its folder holds them, by name.

    A run keeps its number of threads, because the last digits of its result depend on it. So the number is chosen here:
    the user's, else the recipe's, else the processor's cores divided by the runs at once.

    Args:
        cells: the grid, by the names of run folders.
        at_once: how many runs the user wants at once; None for as many as fit.
        cpus: the cores of a run, if the user named them.

    Raises:
        ValueError: if a run could not work; the message names it.
    """
    share = cpus or max(1, cores() // min(at_once or len(cells), len(cells)))
    needed: dict[str, dict[str, int]] = {}
    records: dict[str, CellRecord] = {}
    for name, cell in cells.items():
        options = {key: _storable(key, value) for key, value in cell.options.items() if value is not None}
        # Runs that differ only in their seed need the same memory, and fail in the same way.
        alike = json.dumps({key: value for key, value in options.items() if key != "seed"}, sort_keys=True)
        if alike not in needed:
            needed[alike] = _memory(name, options)
        recipe = options.get("recipe") or recipe_for(options.get("data"), options.get("space"))
        threads = options.get("threads") or RECIPES[recipe].threads or share
        values = {key: str(value) for key, value in cell.values.items()}
        records[name] = CellRecord(values=values, options={**options, "threads": threads}, **needed[alike])
    return records


def cores() -> int:
    """The number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_memory(device: str = "cpu") -> int | None:
    """The bytes that new processes can have, of this machine or of a GPU; None where the system does not say."""
    return available(torch.device(device))


def _memory(name: str, options: Mapping[str, Any]) -> dict[str, int]:
    """The memory of a run's process, as in its record; a ValueError that names the run if it could not work."""
    try:
        wanted = Prospect(**plan_run(**options).arguments)
        step = memory_of(wanted)
    except (ValueError, FileNotFoundError) as error:
        raise type(error)(f"the run {name} of the sweep cannot work: {error}") from None
    on_gpu = wanted.place.type != "cpu"
    return {"memory": PROCESS, "gpu_memory": PROCESS + step} if on_gpu else {"memory": PROCESS + step, "gpu_memory": 0}


def _storable(name: str, value: Any) -> Any:
    """A value as JSON holds it. A folder of pictures becomes absolute, so that a run can begin anywhere."""
    if name in ("data", "data_dir") and value not in DESCRIPTIONS and Path(str(value)).is_dir():
        return str(Path(value).resolve())
    if isinstance(value, Path):
        return str(value)
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError):
        raise ValueError(
            f"each run of a sweep is a process of its own, so {name} must be text, a number, a flag or a mapping of "
            f"these, and it is of type {type(value).__name__}. Name it, or call diffnas.run in a loop."
        ) from None
