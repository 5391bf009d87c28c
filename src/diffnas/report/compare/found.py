"""What runs found, read from their folders, and which of them differ by their seed alone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from diffnas.genotype import Genotype
from diffnas.report.reading import (
    read_genotype,
    read_record,
    read_result,
    read_search_lines,
    recorded_genotype,
)
from diffnas.report.records import Record, TaskRecord, task_of
from diffnas.run_folder import RunFolder


class Benchmark(NamedTuple):
    """What a benchmark's table says of a cell.

    Attributes:
        accuracy: in percent.
        rank: 1 for the best.
        column: of the table, such as ``cifar10_test_200``.
    """

    accuracy: float
    rank: int
    column: str


@dataclass(frozen=True, kw_only=True)
class Found:
    """A run: what it found, and what was measured of that.

    Attributes:
        name: of its folder.
        beside: the folder that this one lies in, with the one above it.
        method, space, data: as its record names them; without a record the method is the folder's name without its
            number, ``sparse`` for ``sparse-10``, the space is the one that the cells are written in, and the data is
            not known.
        seed: of the search; None if nothing says.
        genotype: the result; of a search in progress, what it would be now.
        finished: whether the search is over.
        task: what is learned.
        lines: the trace of the search; empty for cells that were not searched.
        tested: what the evaluation measured; empty without one.
        search, evaluation: what decided the result of either, but for the seed.
        benchmark: what a benchmark's table says of the cell; None without.
    """

    name: str
    beside: str
    method: str
    space: str
    data: str
    seed: int | None
    genotype: Genotype
    finished: bool
    task: TaskRecord
    lines: Sequence[Mapping[str, Any]] = field(repr=False)
    tested: Mapping[str, Any] = field(repr=False)
    search: Mapping[str, Any] = field(repr=False)
    evaluation: Mapping[str, Any] = field(repr=False)
    benchmark: Benchmark | None = None


def read_found(path: str | Path) -> Found:
    """A run in a folder: of a search, with or without an evaluation in it, or one that kept its results alone.

    Raises:
        ValueError: if nothing was found there yet, or something is damaged; the message names the file.
    """
    folder = RunFolder(Path(path))
    record = _record(folder)
    alone = record is not None and folder.record.get("phase") == "evaluate"
    inner = folder if alone else folder.evaluation
    evaluated = record if alone else _record(inner)
    searched = None if alone else record
    lines = [] if alone else read_search_lines(folder, searched)
    genotype = read_genotype(folder, searched.space if searched else None)
    finished = genotype is not None or not lines
    if genotype is None and lines:
        genotype = lines[-1][1]
    if genotype is None and evaluated is not None:
        genotype = recorded_genotype(inner, evaluated)
    if genotype is None:
        raise ValueError(
            f"{folder.path} holds no cell: no {folder.genotype_file.name}, and no epoch of a search that is over."
        )
    result = read_result(inner)
    return Found(
        **_named(folder.path.resolve(), record, evaluated, genotype),
        genotype=genotype,
        finished=finished,
        task=task_of(record or evaluated),
        lines=[line.model_dump() for line, _ in lines],
        tested=result.model_dump() if result else {},
        search=_decided(searched),
        evaluation=_decided(evaluated),
    )


def _record(folder: RunFolder) -> Record | None:
    return read_record(folder) if folder.begun else None


def _named(place: Path, record: Record | None, evaluated: Record | None, genotype: Genotype) -> dict[str, Any]:
    """What a run is called: by its record, or else by its folder."""
    stem, number = re.fullmatch(r"(.*?)(?:[-_ ](?:seed)?(\d+))?", place.name, re.DOTALL).groups()  # type: ignore[union-attr]
    described = record or evaluated
    counted = None if number is None else int(number)
    return {
        "name": place.name,
        "beside": "/".join(place.parent.parts[-2:]),
        "method": record.method.get("name", stem) if record else stem,
        "space": record.space.name if record and record.space else genotype.skeleton,
        "data": described.data.name if described else "",
        "seed": record.settings.get("seed", counted) if record else counted,
    }


def _decided(record: Record | None) -> dict[str, Any]:
    """What decides the result of a run, but for its seed, as plain text or numbers by name."""
    if record is None:
        return {}
    settings = {name: value for name, value in record.settings.items() if name != "seed"}
    parts = {f"method.{name}": value for name, value in record.method.items()}
    return {**parts, "space": record.space.name if record.space else None, "data": record.data.name, **settings}


@dataclass(frozen=True, kw_only=True)
class Group:
    """Runs that differ by their seed alone.

    Attributes:
        label: the method, and what sets it apart from other groups of the same method.
        runs: by seed.
    """

    label: str
    runs: tuple[Found, ...]


def grouped(found: Iterable[Found]) -> list[Group]:
    """Runs by what decided them, in the order in which they come.

    A run that has not been evaluated stands with those of the same search that have, if they were all evaluated in
    one way. A run that kept no record stands with those of its method that lie beside it and kept none either.
    """
    searches: dict[str, list[Found]] = {}
    for run in found:
        decided = dict(run.search) or run.beside
        key = json.dumps([run.method, run.space, run.data, decided], sort_keys=True, default=str)
        searches.setdefault(key, []).append(run)
    groups: list[list[Found]] = []
    for runs in searches.values():
        ways: dict[str, list[Found]] = {}
        for run in runs:
            if run.evaluation:
                ways.setdefault(json.dumps(dict(run.evaluation), sort_keys=True, default=str), []).append(run)
        bare = [run for run in runs if not run.evaluation]
        split = list(ways.values()) or [[]]
        groups += [[*split[0], *bare], *split[1:]]
    labels = _labels([runs[0] for runs in groups])
    ordered = [sorted(runs, key=lambda run: (run.seed is None, run.seed or 0, run.name)) for runs in groups]
    return [Group(label=label, runs=tuple(runs)) for label, runs in zip(labels, ordered, strict=True)]


def _labels(firsts: Sequence[Found]) -> list[str]:
    """A name for each group: its method, and where that is not enough what differs from the others of the method."""
    return [_label(run, [other for other in firsts if other.method == run.method]) for run in firsts]


def _label(run: Found, alike: Sequence[Found]) -> str:
    about = [
        {
            "space": other.space,
            "data": other.data,
            **(other.search or {"folder": other.beside}),
            **{f"evaluation {name}": value for name, value in other.evaluation.items()},
        }
        for other in alike
    ]
    own = about[next(place for place, other in enumerate(alike) if other is run)]
    # A run that kept no record says nothing of its settings, so none with a record differs from it.
    told = [other for each, other in zip(alike, about, strict=True) if each.search or not run.search]
    names = [name for name in own if own[name] != "" and any(other.get(name) != own[name] for other in told)]
    differs = ", ".join(f"{name.removeprefix('method.')}={own[name]}" for name in names[:3])
    return f"{run.method} ({differs}{', ...' if len(names) > 3 else ''})" if differs else run.method
