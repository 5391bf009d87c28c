"""The files of a sweep's folder, checked when they are read and before they are written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from diffnas import files
from diffnas.report.records import M, checked
from diffnas.run_files import ENDED, SWEEP
from diffnas.untrusted import json_text

_NAME = r"[\w.-]{1,128}"


class CellRecord(BaseModel):
    """A run of a sweep.

    Attributes:
        values: its place in the grid, as text, by axis.
        options: the arguments of ``diffnas.run``.
        memory, gpu_memory: the bytes that its process takes of the machine and of a GPU, an estimate.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    values: dict[str, str]
    options: dict[str, Any]
    memory: Annotated[int, Field(ge=0)]
    gpu_memory: Annotated[int, Field(ge=0)] = 0


class SweepRecord(BaseModel):
    """What ``sweep.json`` says; it never changes. ``cells`` are the runs by the names of their folders."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    schema_: Annotated[Literal["diffnas/sweep"], Field(alias="schema")] = "diffnas/sweep"
    version: Literal[1] = 1
    vote: bool = False
    cells: Annotated[dict[str, CellRecord], Field(min_length=1)]

    @field_validator("cells")
    @classmethod
    def _check_names(cls, cells: dict[str, CellRecord]) -> dict[str, CellRecord]:
        for name in cells:
            if not re.fullmatch(_NAME, name) or set(name) == {"."}:
                raise ValueError(f"{name[:80]!r} is not the name of a run folder")
        return cells


class EndRecord(BaseModel):
    """How a run of a sweep ended: done, or failed for a reason."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    done: bool
    reason: str = ""


def is_sweep(path: Path) -> bool:
    """Whether ``path`` is the folder of a sweep."""
    return (path / SWEEP).is_file()


def read_sweep(path: Path) -> SweepRecord:
    """What the sweep in a folder is; a ValueError if there is none or its file is damaged."""
    if not is_sweep(path):
        raise ValueError(f"{path} is not the folder of a sweep: it has no {SWEEP}. diffnas sweep makes one.")
    return _read(SweepRecord, path / SWEEP)


def write_sweep(path: Path, record: SweepRecord) -> None:
    """Write ``sweep.json``."""
    text = record.model_dump_json(indent=2, by_alias=True)
    files.write_checked(path / SWEEP, f"{text}\n".encode())


def read_end(path: Path, name: str) -> EndRecord | None:
    """How a run of the sweep in a folder ended; None if it has not ended.

    Raises:
        ValueError: if the file is damaged; the message names it.
    """
    try:
        return _read(EndRecord, _end(path, name))
    except FileNotFoundError:
        return None


def write_end(path: Path, name: str, end: EndRecord | None) -> None:
    """Note how a run of the sweep in a folder ended; None if it begins anew."""
    if end is None:
        _end(path, name).unlink(missing_ok=True)
    else:
        files.write_atomically(_end(path, name), end.model_dump_json() + "\n")


def _end(path: Path, name: str) -> Path:
    return path / ENDED / f"{name}.json"


def _read(model: type[M], path: Path) -> M:
    read = json_text.read_object(path)
    files.check(path)
    return checked(model, read, path)
