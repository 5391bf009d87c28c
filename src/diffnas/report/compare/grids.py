"""Tables of runs, whose cells are text, for a terminal, Markdown, CSV and HTML."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from diffnas.genotype import to_text
from diffnas.lookup import lookup
from diffnas.report.compare.columns import Column, columns_of, usual
from diffnas.report.compare.found import Found
from diffnas.report.compare.groups import Group
from diffnas.report.compare.likeness import agreement, differing


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A table: its title, the headings of its columns, its rows, and a note for the reader."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def run_grid(groups: Sequence[Group], names: Sequence[str | Column] | None = None) -> Grid:
    """A table with a row for each run. Columns without any value are left out.

    Args:
        groups: the runs.
        names: names of columns, or columns of your own; None for the usual ones.

    Raises:
        ValueError: for the name of a column that the runs do not have.
    """
    runs = [run for group in groups for run in group.runs]
    columns = _known(names, runs)
    rows = tuple((_named(run), *(_said(column, run) for column in columns)) for run in runs)
    return Grid(title="Runs", header=("run", *(column.title for column in columns)), rows=rows)


def group_grid(groups: Sequence[Group], names: Sequence[str | Column] | None = None) -> Grid:
    """A table with a row for each group: mean and spread of every number, and how far the cells agree."""
    columns = _known(names, [run for group in groups for run in group.runs])
    header = ("method", "runs", *(column.title for column in columns), "different cells", "similarity", "same edges")
    rows = []
    for group in groups:
        cells = [run.genotype for run in group.runs]
        agree = agreement(cells)
        alike = (f"{agree[0]:.2f}", f"{agree[1]:.0%}") if agree else ("", "")
        numbers = (_spread(column, group.runs) for column in columns)
        rows.append((group.label, str(len(cells)), *numbers, str(len({to_text(cell) for cell in cells})), *alike))
    return Grid(
        title="Methods",
        header=header,
        rows=tuple(rows),
        note=(
            "Mean ± standard deviation over the runs of a group. Similarity: the connections that two runs share over "
            "those that either has (Jaccard; kind of cell, source, target, operation), averaged over pairs. Same "
            "edges: the share of all edges with the same operations, none included."
        ),
    )


def differing_grid(groups: Sequence[Group]) -> Grid:
    """A table of the edges on which the runs of a group differ, with the number of runs for each operation."""
    rows = [
        (group.label, f"{kind} {source} → {target}", ", ".join(f"{op} ({many})" for op, many in ops.items()))
        for group in groups
        for (kind, source, target), ops in differing([run.genotype for run in group.runs]).items()
    ]
    return Grid(title="Edges that differ", header=("method", "edge", "operations (runs)"), rows=tuple(rows))


def cells_grid(groups: Sequence[Group]) -> Grid:
    """What every run found, as text."""
    rows = tuple((_named(run), to_text(run.genotype)) for group in groups for run in group.runs)
    return Grid(title="Cells", header=("run", "cells"), rows=rows)


def epochs_grid(groups: Sequence[Group], name: str, every: int = 1) -> Grid:
    """A table with a row for each run and a column for each epoch, of one number.

    Args:
        groups: the runs; those without a trace are left out.
        name: a number of the trace or of its indicators; one in a group is named with it: ``train/loss``. Or a column:
            its number if the search had ended with that epoch.
        every: show the first epoch, those that come this many epochs apart, and the last one.

    Raises:
        ValueError: if no run has such a number.
    """
    runs = [run for group in groups for run in group.runs if run.lines]
    epochs = max((len(run.lines) for run in runs), default=0)
    shown = [epoch for epoch in range(epochs) if epoch % every == 0 or epoch == epochs - 1]
    say = _traced(runs, name)
    rows = tuple((run.name, *(say(run, epoch) if epoch < len(run.lines) else "" for epoch in shown)) for run in runs)
    header = ("run", *(str(epoch + 1) for epoch in shown))
    return Grid(title=f"{name}, after each epoch", header=header, rows=rows)


def _traced(runs: Sequence[Found], name: str) -> Callable[[Found, int], str]:
    """What says a number of a run after an epoch; epochs are counted from 0."""
    if any(isinstance(_number(line, name), int | float) for run in runs for line in run.lines):

        def number(run: Found, epoch: int) -> str:
            value = _number(run.lines[epoch], name)
            return f"{value:.4g}" if isinstance(value, int | float) else ""

        return number
    column = columns_of(runs).get(name)
    if column is None or all(column.value(run.after(0)) is None for run in runs):
        raise ValueError(f"no run has {name!r} in its trace.")
    return lambda run, epoch: _said(column, run.after(epoch))


def _number(line: Mapping[str, Any], name: str) -> object:
    group, _, number = name.rpartition("/")
    if group:
        numbers = line.get(group)
        return numbers.get(number) if isinstance(numbers, Mapping) else None
    return line.get(name, line["indicators"].get(name))


def to_markdown(grid: Grid) -> str:
    """A table as Markdown.

    >>> print(to_markdown(Grid(title="T", header=("a", "b"), rows=(("1", "x|y"),))))
    | a | b |
    |---|---|
    | 1 | x\\|y |
    """
    lines = [grid.header, *grid.rows]
    texts = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
    return "\n".join([texts[0], "|---" * len(grid.header) + "|", *texts[1:]])


def to_csv(groups: Sequence[Group]) -> str:
    """All numbers of all runs as CSV, with a row for each run, in full precision."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    columns = columns_of([run for group in groups for run in group.runs])
    writer.writerow(["run", "group", "method", "space", "data", "seed", "finished", *columns, "genotype"])
    for group in groups:
        for run in group.runs:
            about = [run.name, group.label, run.method, run.space, run.data, run.seed, run.finished]
            numbers = [column.value(run) for column in columns.values()]
            writer.writerow([*about, *("" if n is None else n for n in numbers), to_text(run.genotype)])
    return file.getvalue()


def _known(names: Iterable[str | Column] | None, runs: Sequence[Found]) -> list[Column]:
    known = columns_of(runs)
    given = usual(runs) if names is None else names
    columns = [name if isinstance(name, Column) else lookup("column", name, known) for name in given]
    return [column for column in columns if any(column.value(run) is not None for run in runs)]


def _named(run: Found) -> str:
    return run.name if run.finished else f"{run.name} (not finished)"


def _said(column: Column, run: Found) -> str:
    value = column.value(run)
    return "" if value is None else column.say(value)


def _spread(column: Column, runs: Sequence[Found]) -> str:
    values = [value for run in runs if (value := column.value(run)) is not None]
    if not values:
        return ""
    text = column.say(mean(values))
    if len(values) > 1:
        text += f" ± {column.say(stdev(values))}"
    return text if len(values) == len(runs) else f"{text} (of {len(values)})"
