"""Run folders as a report reads them: checked, and complete or not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from diffnas.engine.run import RECORD, RunFolder
from diffnas.genotype import Genotype, from_json
from diffnas.names import showable

EVALUATION, GENOTYPE, RESULT = "evaluation", "genotype.json", "result.json"


class _Read(BaseModel):
    """What is not named here may be there, and is not read."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class CellRecord(_Read):
    """A kind of cell in ``run.json``."""

    edges: list[tuple[int, int]]
    ops: list[list[str]]
    inputs: int | None = None
    output: list[int] | None = None


class SpaceRecord(_Read):
    """A search space in ``run.json``."""

    name: str
    skeleton: str
    ops: list[str]
    cells: dict[str, CellRecord]


class DataRecord(_Read):
    """The pictures of a run in ``run.json``."""

    name: str
    train: int
    test: int | None = None
    classes: list[str]
    size: list[int]
    fingerprint: str = ""


class Record(_Read):
    """What ``run.json`` says of a search or an evaluation."""

    settings: dict[str, Any]
    data: DataRecord
    precision: str = "32-true"
    made_with: dict[str, Any] = {}
    method: dict[str, str] = {}
    space: SpaceRecord | None = None
    genotype: dict[str, Any] | None = None

    @field_validator("settings")
    @classmethod
    def _say_how_long(cls, settings: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(settings.get("epochs"), int):
            raise ValueError("they do not say how many epochs were planned")
        return settings

    @property
    def epochs(self) -> int:
        """How many were planned."""
        return int(self.settings["epochs"])


class Line(_Read):
    """An epoch of a trace."""

    epoch: int
    train_loss: float
    train_accuracy: float
    lr: float
    seconds: float
    steps: int | None = None
    peak_memory: int | None = None


class SearchLine(Line):
    """An epoch of a search."""

    held_out_loss: float | None = None
    held_out_accuracy: float | None = None
    parameters: int
    found_parameters: int | None = None
    macs: int
    indicators: dict[str, float | None]
    genotype: dict[str, Any]
    mix: list[list[float]]
    keep: list[list[bool]]


class Result(_Read):
    """What an evaluation measured."""

    test_pictures: int
    accuracy: float
    loss: float
    parameters: int
    macs: int
    seconds: float


class Kind(NamedTuple):
    """A kind of cell: its graph, and where its edges stand in the trace."""

    name: str
    inputs: int
    nodes: int
    edges: tuple[tuple[int, int], ...]
    offered: tuple[tuple[int, ...], ...]  # columns of the trace
    output: tuple[int, ...]
    first: int  # row of the trace


@dataclass(frozen=True, kw_only=True)
class Search:
    """A search, finished or not.

    Attributes:
        record: what ``run.json`` says.
        lines: an entry an epoch that is over.
        genotypes: the cells as they would have been read off after each of these epochs.
        genotype: the result; None while there is none.
    """

    record: Record
    lines: list[SearchLine]
    genotypes: list[Genotype]
    genotype: Genotype | None

    @property
    def ops(self) -> list[str]:
        """The columns of the trace."""
        assert self.record.space is not None
        return self.record.space.ops

    @property
    def cells(self) -> Genotype | None:
        """The result, or else the cells so far; None before the first epoch is over."""
        return self.genotype or (self.genotypes[-1] if self.genotypes else None)

    @property
    def chosen(self) -> int | None:
        """The place in ``lines`` of the epoch whose cells are the result; the last such, or the last of all."""
        places = [place for place, cells in enumerate(self.genotypes) if cells == self.genotype]
        return places[-1] if places else (len(self.lines) - 1 if self.lines else None)

    @property
    def kinds(self) -> list[Kind]:
        """The kinds of cell, in the order of the rows of the trace."""
        assert self.record.space is not None
        found: list[Kind] = []
        for name, cell in self.record.space.cells.items():
            targets = [target for _, target in cell.edges]
            inputs = min(targets) if cell.inputs is None else cell.inputs
            output = cell.output or (targets[-1:] if inputs == 1 else range(inputs, max(targets) + 1))
            offered = tuple(tuple(self.ops.index(op) for op in names) for names in cell.ops)
            first = found[-1].first + len(found[-1].edges) if found else 0
            found.append(Kind(name, inputs, max(targets) + 1, tuple(cell.edges), offered, tuple(output), first))
        return found


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """An evaluation, finished or not; ``result`` is None while there is none."""

    record: Record
    lines: list[Line]
    genotype: Genotype
    result: Result | None


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a report is about: a search, the evaluation of what it found, or both."""

    path: Path
    search: Search | None
    evaluation: Evaluation | None

    @property
    def name(self) -> str:
        """What people call it."""
        return showable(self.path.resolve().name)

    @property
    def finished(self) -> bool:
        """Whether everything that has begun is over."""
        searched = self.search is None or self.search.genotype is not None
        return searched and (self.evaluation is None or self.evaluation.result is not None)


M = TypeVar("M", bound=BaseModel)


def read_run(path: str | Path) -> Run:
    """A run folder, whether it is finished, in progress, or was left halfway.

    Args:
        path: the folder of a search, with or without that of an evaluation in it, or of an evaluation alone.

    Raises:
        ValueError: if there is no run, or something in it is damaged; the message names the file.
    """
    path = Path(path)
    alone = not (path / RECORD).exists() and (path / EVALUATION / RECORD).is_file()
    folder = RunFolder.open(path / EVALUATION if alone else path)
    if folder.record.get("phase") == "evaluate":
        return Run(path=path, search=None, evaluation=_evaluation(folder))
    inner = folder.path / EVALUATION
    evaluation = _evaluation(RunFolder.open(inner)) if (inner / RECORD).is_file() else None
    return Run(path=folder.path, search=_search(folder), evaluation=evaluation)


def _search(folder: RunFolder) -> Search:
    record = _checked(Record, folder.record, folder.path / RECORD)
    if record.space is None:
        raise ValueError(f"{folder.path / RECORD} is damaged: it names no space.")
    edges = sum(len(cell.edges) for cell in record.space.cells.values())
    lines, genotypes = [], []
    for number, read in enumerate(folder.trace(), start=1):
        where = f"{folder.path}/trace.jsonl, line {number},"
        line = _checked(SearchLine, read, where)
        if not len(line.mix) == len(line.keep) == edges:
            raise ValueError(f"{where} does not fit run.json: {len(line.mix)} rows of weights for {edges} edges.")
        if {len(row) for row in line.mix} | {len(row) for row in line.keep} != {len(record.space.ops)}:
            raise ValueError(f"{where} does not fit run.json: it has other operations.")
        lines.append(line)
        genotypes.append(_genotype(line.genotype, where))
    found = (folder.path / GENOTYPE).is_file()
    genotype = _genotype(folder.read_json(GENOTYPE), folder.path / GENOTYPE) if found else None
    return Search(record=record, lines=lines, genotypes=genotypes, genotype=genotype)


def _evaluation(folder: RunFolder) -> Evaluation:
    where = folder.path / RECORD
    record = _checked(Record, folder.record, where)
    done = (folder.path / RESULT).is_file()
    return Evaluation(
        record=record,
        lines=[_checked(Line, line, f"{folder.path}/trace.jsonl") for line in folder.trace()],
        genotype=_genotype(record.genotype or {}, where),
        result=_checked(Result, folder.read_json(RESULT), folder.path / RESULT) if done else None,
    )


def _checked(model: type[M], read: Mapping[str, Any], where: str | Path) -> M:
    try:
        return model.model_validate(read)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"{where} is damaged or of another version: {place}: {first['msg']}.") from None


def _genotype(read: Mapping[str, Any], where: str | Path) -> Genotype:
    try:
        return from_json(json.dumps(read))
    except ValueError as error:
        raise ValueError(f"{where} is damaged: {error}") from None
