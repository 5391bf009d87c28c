"""Readers of what runs found."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from diffnas.genotype import Genotype, is_nas_bench_201
from diffnas.report.reading import (
    read_genotype,
    read_landing,
    read_record,
    read_result,
    read_search_lines,
    recorded_genotype,
)
from diffnas.report.records import AimRecord, LandingRecord, Record, SpaceRecord, TaskRecord, task_of
from diffnas.run_folder import RunFolder

SEEDS = ("seed", "weights_seed", "alpha_seed", "order_seed")
"""The settings that are seeds. Runs that differ in them alone belong together."""


class Benchmark(NamedTuple):
    """The entry of a cell in a benchmark's table.

    Attributes:
        accuracy: the accuracy in percent.
        rank: the rank of the cell, 1 for the best.
        column: the column of the table, such as ``cifar10_test_200``.
    """

    accuracy: float
    rank: int
    column: str


@dataclass(frozen=True, kw_only=True)
class Found:
    """A run: what it found, and the results of an evaluation.

    Attributes:
        name: the name of its folder.
        beside: the names of the two folders around it, as one path.
        method, space, data: the names in its record. Without a record, the method is the folder's name without its
            number, such as ``sparse`` for ``sparse-10``; the space is the skeleton of the cells, and the data is "".
        seed: the seed of the search; None if it is unknown.
        genotype: the result; for a search in progress, the cells that would be read off now.
        finished: whether the search is over.
        task: what is learned.
        lines: the trace of the search; empty for cells that were not searched.
        genotypes: for each of these lines, the cells that would have been read off after it.
        tested: the results of the evaluation, by name; empty without one.
        search, evaluation: what decides the result of each, without the seeds, by name.
        follows: the settings of the evaluation that follow from the target of the search.
        seeds: the seeds of the search, by name; None for those that follow from the first.
        cells: the space of the search; None without one.
        pretext_seconds: how long a pretext took before the search.
        look_up: gives the entry of cells in a benchmark's table; None without one.
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
    follows: frozenset[str] = frozenset()
    genotypes: Sequence[Genotype] = field(default=(), repr=False)
    look_up: Callable[[Genotype], Benchmark] | None = field(default=None, repr=False)
    seeds: Mapping[str, int | None] = field(default_factory=dict, repr=False)
    cells: SpaceRecord | None = field(default=None, repr=False)
    pretext_seconds: float = 0.0

    @property
    def benchmark(self) -> Benchmark | None:
        """The entry of the cells in a benchmark's table; None without one."""
        return self.look_up(self.genotype) if self.look_up else None

    @property
    def settings(self) -> dict[str, Any]:
        """The settings, components and seeds of the search, by the names that a user gives them."""
        return {setting_name(name): value for name, value in self.search.items()} | dict(self.seeds)

    @property
    def training(self) -> dict[str, Any]:
        """What decides the result of the evaluation, but for what follows from the target of the search."""
        return {name: value for name, value in self.evaluation.items() if name not in self.follows}

    @property
    def without_none(self) -> Genotype | None:
        """The cell of NAS-Bench-201 if ``none`` can win no edge; None in other spaces.

        An edge that ``none`` won has the kept operation with the largest mixing weight of the others, if any is kept.
        """
        if not is_nas_bench_201(self.genotype) or not self.lines:
            return None
        import torch  # takes a second, and nothing else here needs it

        from diffnas.components.discretize import winners
        from diffnas.space import nas_bench_201

        mix, keep = (torch.tensor(self.lines[-1][name]) for name in ("mix", "keep"))
        if mix.shape != (len(nas_bench_201.offered), len(nas_bench_201.ops)):
            return None  # a space of a user's, with the skeleton of NAS-Bench-201
        # Edges that are read off keep their operation: a method may have gone by scores that are no mixing weights.
        given = self.genotype.cells["normal"].connections
        filled = {(c.source, c.target) for c in given}
        others = winners(mix, keep, nas_bench_201, none=False).cells["normal"]
        added = [c for c in others.connections if (c.source, c.target) not in filled]
        every = sorted([*given, *added], key=lambda c: (c.target, c.source))
        return replace(self.genotype, cells={"normal": replace(others, connections=tuple(every))})

    def after(self, epoch: int) -> Found:
        """The run as it was after an epoch of its search, counted from 0, with the cells of a read-off at that time."""
        lines, cells = self.lines[: epoch + 1], self.genotypes[epoch]
        return replace(self, lines=lines, genotype=cells, finished=False, tested={})


def read_found(path: str | Path) -> Found:
    """The run in a folder: a search, with or without an evaluation, an evaluation, or results without a record.

    Raises:
        ValueError: if there are no cells yet, or a file is damaged; the message names the file.
    """
    folder = RunFolder(Path(path))
    record = _record(folder)
    alone = record is not None and folder.record.get("phase") == "evaluate"
    inner = folder if alone else folder.evaluation
    evaluated = record if alone else _record(inner)
    searched = None if alone else record
    every = [] if alone else read_search_lines(folder, searched)
    lines = [each for each in every if each[0].pretext is None]
    genotype = read_genotype(folder, searched.space if searched else None)
    finished = genotype is not None or not lines
    if genotype is None and lines:
        genotype = lines[-1][1]
    if genotype is None and evaluated is not None:
        genotype = recorded_genotype(inner, evaluated)
    if genotype is None:
        named = folder.genotype_file.name
        raise ValueError(f"{folder.path} holds no cell: it has no {named}, and no finished epoch of a search.")
    result, how = read_result(inner), _decided(evaluated)
    return Found(
        **_named(folder.path.resolve(), record, evaluated, genotype),
        genotype=genotype,
        finished=finished,
        task=task_of(record or evaluated),
        lines=[line.model_dump() for line, _ in lines],
        genotypes=[cells for _, cells in lines],
        tested=result.model_dump() if result else {},
        search=_decided(searched),
        evaluation=how,
        follows=_follows(how, read_landing(folder)),
        seeds={name: record.settings.get(name) for name in SEEDS} if record else {},
        cells=searched.space if searched else None,
        pretext_seconds=sum(line.seconds for line, _ in every if line.pretext is not None),
    )


def _record(folder: RunFolder) -> Record | None:
    return read_record(folder) if folder.begun else None


def _named(place: Path, record: Record | None, evaluated: Record | None, genotype: Genotype) -> dict[str, Any]:
    """The names and the seed of a run, from its record, or else from the name of its folder."""
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


def setting_name(name: str) -> str:
    """The name that a user gives a setting or a component, by its name in ``Found.search``."""
    return name.removeprefix("method.")


def _decided(record: Record | None) -> dict[str, Any]:
    """What decides the result of a run, without the seed, as text or numbers by name."""
    if record is None:
        return {}
    settings = {name: value for name, value in record.settings.items() if name not in SEEDS}
    parts = {f"method.{name}": value for name, value in record.method.items()}
    place = {"space": record.space.name if record.space else None, "data": record.data.name}
    return {**parts, **(_aimed(record.target) if record.target else {}), **place, **settings}


def _aimed(aim: AimRecord) -> dict[str, Any]:
    """What decides where a search with targets lands."""
    size = [aim.size.get(name) for name in ("channels", "depth", "stem")]
    return {
        "target": ",".join(aim.targets),
        "family": ",".join(aim.family),
        "width": aim.width,
        "size": "{}x{} {}".format(*size) if any(size) else None,
        "start": aim.start,
        "tightens": aim.tightens,
    }


def _follows(evaluation: Mapping[str, Any], landing: LandingRecord | None) -> frozenset[str]:
    """The settings of an evaluation that follow from the target of the search: its size, if the landing chose it."""
    size = landing.size if landing else {}
    landed = all(evaluation.get(name) == value for name, value in size.items())
    return frozenset(size if landed else ())
