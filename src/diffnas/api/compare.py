"""Runs side by side, with what a benchmark's table says of their cells."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from diffnas import tables
from diffnas.genotype import is_nas_bench_201
from diffnas.report.compare import Benchmark, Found, Group, grouped, read_found
from diffnas.run_files import GENOTYPE, RECORD


def compared(
    runs: Iterable[str | Path], table: str | Path | tables.Table | None = None, column: str | None = None
) -> list[Group]:
    """Runs in groups that differ by their seed alone.

    Args:
        runs: run folders, or folders that hold some.
        table: where to look NAS-Bench-201 cells up; what ``diffnas.tables.load`` takes, or gave.
        column: of that table; needed if it has several.

    Raises:
        ValueError: if there is no such folder, or nothing was found in it, or something is damaged.
    """
    found = [read_found(folder) for folder in _folders(map(Path, runs))]
    if table is None:
        return grouped(found)
    loaded = table if isinstance(table, tables.Table) else tables.load(table)
    return grouped(_looked_up(run, loaded, column) for run in found)


def _folders(places: Iterable[Path]) -> Iterator[Path]:
    """Run folders as they are; other folders stand for the run folders in them, however deep."""
    for place in places:
        if not place.is_dir():
            raise ValueError(f"there is no run folder {str(place)!r}.")
        yield from _runs(place) or [place]


def _runs(place: Path) -> list[Path]:
    if any((place / name).is_file() for name in (RECORD, GENOTYPE)):
        return [place]  # what lies within a run is a part of it
    return [run for inner in sorted(place.iterdir()) if inner.is_dir() for run in _runs(inner)]


def _looked_up(run: Found, table: tables.Table, column: str | None) -> Found:
    if not is_nas_bench_201(run.genotype):
        return run
    entry = table.lookup(run.genotype, column)
    return replace(run, benchmark=Benchmark(entry.accuracy, entry.rank, entry.column))
