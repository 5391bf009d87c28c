"""Runs side by side, with the rows of a benchmark's table for their cells."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from diffnas import tables
from diffnas.genotype import Genotype, is_nas_bench_201
from diffnas.report.compare import Benchmark, Found, Group, grouped, read_found
from diffnas.report.sweep.record import is_sweep
from diffnas.report.sweep.status import SweepView
from diffnas.run_folder import RunFolder


def compared(
    runs: Iterable[str | Path],
    table: str | Path | tables.Table | None = None,
    column: str | None = None,
    across: Collection[str] = (),
) -> list[Group]:
    """Runs in groups, whose seeds may differ, and the size at which each of them meets the same target.

    Args:
        runs: run folders, or folders that contain run folders.
        table: a table of NAS-Bench-201 cells, or a path for ``diffnas.tables.load``; None for no table.
        column: the column of the table; needed if it has several.
        across: names of settings in which the runs of a group may differ as well.

    Raises:
        ValueError: if a folder does not exist, contains no run, or is damaged; or if no run has a setting.
    """
    found = [read_found(folder) for folder in run_folders(runs)]
    if table is None:
        return grouped(found, across)
    loaded = table if isinstance(table, tables.Table) else tables.load(table)
    return grouped((_looked_up(run, loaded, column) for run in found), across)


def run_folders(places: Iterable[str | Path]) -> Iterator[Path]:
    """The run folders among ``places``, and all run folders inside the other places, at any depth; each once.

    Of a sweep, these are the runs that are done.

    Raises:
        ValueError: if a folder does not exist, or no run of a sweep is done.
    """
    known = set()
    for place in map(Path, places):
        if not place.is_dir():
            raise ValueError(f"there is no run folder {str(place)!r}.")
        for run in _done(place) if is_sweep(place) else _runs(place) or [place]:
            if run.resolve() not in known:
                known.add(run.resolve())
                yield run


def _done(sweep: Path) -> list[Path]:
    """The runs of a sweep that are done."""
    done = [sweep / each.name for each in SweepView(sweep).statuses() if each.state == "done"]
    if not done:
        raise ValueError(f"no run of the sweep in {sweep} is done yet. Go on with it: diffnas sweep --resume {sweep}")
    return done


def _runs(place: Path) -> list[Path]:
    folder = RunFolder(place)
    if folder.begun or folder.genotype_file.is_file():
        return [place]  # folders inside a run folder belong to the run
    return [run for inner in sorted(place.iterdir()) if inner.is_dir() for run in _runs(inner)]


def _looked_up(run: Found, table: tables.Table, column: str | None) -> Found:
    if not is_nas_bench_201(run.genotype):
        return run

    def look_up(cells: Genotype) -> Benchmark:
        entry = table.lookup(cells, column)
        return Benchmark(entry.accuracy, entry.rank, entry.column)

    look_up(run.genotype)  # a column or cell that the table lacks is an error here, before any table is made
    return replace(run, look_up=look_up)
