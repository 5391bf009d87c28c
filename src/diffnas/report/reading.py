"""Readers of run folders for reports. They check all files; a run need not be finished."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from diffnas.genotype import Genotype
from diffnas.genotype.json_form import from_record
from diffnas.names import showable
from diffnas.report.records import (
    Int8,
    LandingRecord,
    Line,
    Record,
    Result,
    SearchLine,
    SpaceRecord,
    StartRecord,
    TaskRecord,
    checked,
    task_of,
)
from diffnas.run_files import EXPORT, INT8
from diffnas.run_folder import RunFolder


class Kind(NamedTuple):
    """A kind of cell: its graph, and the rows and columns of its edges in the trace."""

    name: str
    inputs: int
    nodes: int
    edges: tuple[tuple[int, int], ...]
    offered: tuple[tuple[int, ...], ...]  # for each edge, the columns of its operations in the trace
    output: tuple[int, ...]
    first: int  # row of its first edge in the trace


@dataclass(frozen=True, kw_only=True)
class Search:
    """A search, finished or not.

    Attributes:
        record: the content of ``run.json``.
        lines: one entry for each finished epoch of the search itself.
        pretext: one entry for each finished epoch of the pretext before it.
        start: the beginning of the first supernet; None for runs of former versions.
        genotypes: for each of these epochs, the cells that would have been read off after it.
        genotype: the result; None while there is none.
        landing: where the search landed; None without a target, or before its end.
    """

    record: Record
    lines: list[SearchLine]
    genotypes: list[Genotype]
    genotype: Genotype | None
    landing: LandingRecord | None = None
    pretext: Sequence[SearchLine] = ()
    start: StartRecord | None = None

    @property
    def ops(self) -> list[str]:
        """The operations, in the order of the columns of the trace."""
        assert self.record.space is not None
        return self.record.space.ops

    @property
    def cells(self) -> Genotype | None:
        """The result, or the cells of the last epoch while there is none; None before the first epoch is over."""
        return self.genotype or (self.genotypes[-1] if self.genotypes else None)

    @property
    def chosen(self) -> int | None:
        """The index in ``lines`` of the last epoch with the cells of the result; the last index if no epoch has them.

        None before the first epoch is over.
        """
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
    """What a report shows: a search, an evaluation of its cells, or both, and an export in 8 bits if there is one."""

    path: Path
    search: Search | None
    evaluation: Evaluation | None
    int8: Int8 | None = None

    @property
    def name(self) -> str:
        """The name of its folder, safe to print."""
        return showable(self.path.resolve().name)

    @property
    def task(self) -> TaskRecord:
        """What is learned."""
        phase = self.search or self.evaluation
        assert phase is not None
        return phase.record.task

    @property
    def finished(self) -> bool:
        """Whether all phases that have begun are over."""
        searched = self.search is None or self.search.genotype is not None
        return searched and (self.evaluation is None or self.evaluation.result is not None)


def read_run(path: str | Path) -> Run:
    """The run in a folder, finished or not.

    Args:
        path: the folder of a search, with or without an evaluation in it, or the folder of an evaluation.

    Raises:
        ValueError: if there is no run, or a file is damaged; the message names the file.
    """
    given = RunFolder(Path(path))
    alone = not given.begun and given.evaluation.begun
    folder = RunFolder.open((given.evaluation if alone else given).path)
    if folder.record.get("phase") == "evaluate":
        return Run(path=given.path, search=None, evaluation=_evaluation(folder), int8=_int8(folder))
    inner = folder.evaluation
    evaluation = _evaluation(RunFolder.open(inner.path)) if inner.begun else None
    return Run(path=folder.path, search=_search(folder), evaluation=evaluation, int8=_int8(folder))


def read_record(folder: RunFolder) -> Record:
    """The content of ``run.json``; a ValueError that names the file if it is missing or damaged."""
    return checked(Record, folder.record, folder.record_file)


def read_search_lines(folder: RunFolder, record: Record | None) -> list[tuple[SearchLine, Genotype]]:
    """All lines of a search's trace, each with its cells. Lines of a pretext have numbers of their own.

    Args:
        folder: the run folder.
        record: the record that the lines must fit; None if the folder has none.

    Raises:
        ValueError: if a line is damaged, or does not fit ``record`` or the lines before; the message names the line.
    """
    found: list[tuple[SearchLine, Genotype]] = []
    space, task = record.space if record else None, task_of(record)
    shape = None if space is None else space.shape
    for number, read in enumerate(folder.trace(), start=1):
        where = f"{folder.trace_file}, line {number},"
        line = checked(SearchLine, read, where)
        for numbers in () if line.pretext else (line.train, *([line.held_out] if line.held_out else [])):
            _check_numbers(numbers, task, where)
        shape = shape or line.shape
        if line.shape != shape:
            raise ValueError(
                f"{where} does not fit: it has weights for {line.shape} edges and operations, not {shape}."
            )
        found.append((line, _genotype(line.genotype, where, space)))
    return found


def read_lines(folder: RunFolder, record: Record) -> list[Line]:
    """The lines of an evaluation's trace; a ValueError that names one that is damaged or does not fit ``record``."""
    found = []
    for number, read in enumerate(folder.trace(), start=1):
        where = f"{folder.trace_file}, line {number},"
        line = checked(Line, read, where)
        _check_numbers(line.train, record.task, where)
        found.append(line)
    return found


def read_genotype(folder: RunFolder, space: SpaceRecord | None) -> Genotype | None:
    """The cells that a search found, None while there are none; a ValueError if they do not fit ``space``."""
    path = folder.genotype_file
    return _genotype(folder.genotype(), path, space) if path.is_file() else None


def read_result(folder: RunFolder) -> Result | None:
    """The result of an evaluation, None while there is none; a ValueError that names the file if it is damaged."""
    path = folder.result_file
    if not path.is_file():
        return None
    record = read_record(folder) if folder.begun else None
    result = checked(Result, folder.result(), path)
    _check_numbers(result.test, task_of(record), path)
    return result


def recorded_genotype(folder: RunFolder, record: Record) -> Genotype:
    """The cells that an evaluation trains; a ValueError that names its record if that is damaged."""
    return _genotype(record.genotype or {}, folder.record_file)


def _search(folder: RunFolder) -> Search:
    record = read_record(folder)
    if record.space is None:
        raise ValueError(f"{folder.record_file} is damaged: it names no space.")
    every = read_search_lines(folder, record)
    read = [each for each in every if each[0].pretext is None]
    return Search(
        record=record,
        pretext=[line for line, _ in every if line.pretext is not None],
        start=every[0][0].start if every else None,
        lines=[line for line, _ in read],
        genotypes=[genotype for _, genotype in read],
        genotype=read_genotype(folder, record.space),
        landing=read_landing(folder),
    )


def read_landing(folder: RunFolder) -> LandingRecord | None:
    """Where a search landed; None without a target, or before its end."""
    path = folder.landing_file
    return checked(LandingRecord, folder.landing(), path) if path.is_file() else None


def _evaluation(folder: RunFolder) -> Evaluation:
    record = read_record(folder)
    genotype = recorded_genotype(folder, record)
    return Evaluation(record=record, lines=read_lines(folder, record), genotype=genotype, result=read_result(folder))


def _int8(folder: RunFolder) -> Int8 | None:
    path = folder.path / EXPORT / INT8
    return checked(Int8, RunFolder(path.parent).read_json(INT8), path) if path.is_file() else None


def _check_numbers(numbers: Mapping[str, float], task: TaskRecord, where: str | Path) -> None:
    missing = [name for name in task.numbers if name not in numbers]
    if missing:
        raise ValueError(f"{where} is damaged: it has no {missing[0]!r}, which the task {task.name!r} measures.")


def _genotype(read: Mapping[str, Any], where: str | Path, space: SpaceRecord | None = None) -> Genotype:
    try:
        found = from_record(read)
    except ValueError as error:
        raise ValueError(f"{where} is damaged: {error}") from None
    if space is not None and found.cells.keys() != space.cells.keys():
        raise ValueError(f"{where} does not fit the record of its run: it has the cells {', '.join(found.cells)}.")
    return found
