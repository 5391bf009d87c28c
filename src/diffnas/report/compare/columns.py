"""The columns that a table of runs can have, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

from diffnas.genotype import Genotype
from diffnas.report.compare.found import Found
from diffnas.report.compare.likeness import by_edge
from diffnas.report.words import count, duration

Value: TypeAlias = "float | None"


class Column(NamedTuple):
    """A number of a run.

    Attributes:
        title: the heading.
        value: gives the number of a run; None if it is unknown. A table with a row for each run takes any value.
        say: gives the number as text.
    """

    title: str
    value: Callable[[Found], Any]
    say: Callable[[Any], str]


def _plain(number: float) -> str:
    return f"{number:.0f}" if float(number).is_integer() else f"{number:.1f}"


def _count(number: float) -> str:
    return count(round(number))


def _counted(test: Callable[[str], bool]) -> Callable[[Found], Value]:
    return lambda run: sum(test(c.op) for cell in run.genotype.cells.values() for c in cell.connections)


def _counted_in(kind: str, op: str) -> Callable[[Found], Value]:
    def count_in(run: Found) -> Value:
        cell = run.genotype.cells.get(kind)
        return None if cell is None else cell.count(op)

    return count_in


def _won_by(op: str) -> Callable[[Found], Value]:
    def count_won(run: Found) -> Value:
        if not run.lines or run.cells is None or op not in run.cells.ops:
            return None
        column, mix = run.cells.ops.index(op), run.lines[-1]["mix"]
        alone = [row[column] == max(row) and row.count(max(row)) == 1 for row in mix]
        return alone.count(True)

    return count_won


def _line(place: int, name: str) -> Callable[[Found], Value]:
    return lambda run: run.lines[place].get(name) if run.lines else None


def _indicator(name: str) -> Callable[[Found], Value]:
    return lambda run: run.lines[-1].get("indicators", {}).get(name) if run.lines else None


def _tested(name: str) -> Callable[[Found], Value]:
    return lambda run: run.tested.get(name)


def _metric(name: str) -> Callable[[Found], Value]:
    return lambda run: run.tested.get("test", {}).get(name)


def _sum(lines: Sequence[Any], name: str) -> Value:
    return sum(line[name] for line in lines) if lines else None


def _without_none(run: Found) -> Value:
    cell = run.without_none if run.look_up else None
    return run.look_up(cell).accuracy if run.look_up and cell else None


def _discarded(run: Found) -> Value:
    """The share of an edge's weight that is lost if each edge keeps its strongest operation, averaged over edges."""
    if not run.lines:
        return None
    import torch  # takes a second, and no other column needs it

    from diffnas.components.discretize import discarded

    line = run.lines[-1]
    return discarded(torch.tensor(line["mix"], dtype=torch.float64), torch.tensor(line["keep"])).mean().item()


def _depth(genotype: Genotype) -> float:
    return sum(cell.learned_depth for cell in genotype.cells.values())


COLUMNS: dict[str, Column] = {
    "benchmark": Column("in the table", lambda run: run.benchmark and run.benchmark.accuracy, "{:.2f}".format),
    "without_none": Column("without none", _without_none, "{:.2f}".format),
    "rank": Column("rank", lambda run: run.benchmark and run.benchmark.rank, _plain),
    "parameters": Column("parameters", _tested("parameters"), _count),
    "macs": Column("MACs", _tested("macs"), _count),
    "connections": Column("connections", _counted(lambda op: True), _plain),
    "skips": Column("skips", _counted(lambda op: op == "skip_connect"), _plain),
    "convolutions": Column("convolutions", _counted(lambda op: "conv" in op), _plain),
    "depth": Column("depth", lambda run: _depth(run.genotype), _plain),
    "empty": Column("edges left empty", lambda run: sum(op == "none" for op in by_edge(run.genotype).values()), _plain),
    "live": Column("live ops", _indicator("live_ops"), _plain),
    "discarded": Column("weight discarded", _discarded, "{:.2f}".format),
    "epochs": Column("epochs", lambda run: len(run.lines) or None, _plain),
    "seconds": Column("search", lambda run: _sum(run.lines, "seconds"), duration),
    "first": Column("s/epoch, first", _line(0, "seconds"), "{:.1f}".format),
    "last": Column("last", _line(-1, "seconds"), "{:.1f}".format),
    "macs_first": Column("supernet MACs, first", _line(0, "macs"), _count),
    "macs_last": Column("last", _line(-1, "macs"), _count),
    "training": Column("training", _tested("seconds"), duration),
}
"""The columns that every run may have, by name."""

USUAL = (
    "benchmark",
    "rank",
    "parameters",
    "macs",
    "connections",
    "skips",
    "live",
    "seconds",
)
"""The columns of a table beside the metrics, if the user names none."""


def metric_columns(runs: Sequence[Found]) -> dict[str, Column]:
    """A column for every metric of the tasks of some runs, by its name: its value on the test pictures."""
    metrics = {name: metric for run in runs for name, metric in run.task.metrics.items()}
    return {name: Column(f"test {name}", _metric(name), metric.say) for name, metric in metrics.items()}


def operation_columns(runs: Sequence[Found]) -> dict[str, Column]:
    """Columns for every operation: how many connections of a kind of cell have it, and on how many edges it leads.

    The names are as ``normal/noise`` and ``won/noise``. An operation leads on an edge if it alone has the largest
    mixing weight, before cells are read off.
    """
    offered = {
        (kind, op): None
        for run in runs
        for kind, cell in run.genotype.cells.items()
        for op in (*(run.cells.ops if run.cells else ()), *(connection.op for connection in cell.connections))
        if op != "none"
    }
    won = {op: None for run in runs if run.cells for op in run.cells.ops}
    return {
        **{f"{kind}/{op}": Column(f"{kind} {op}", _counted_in(kind, op), _plain) for kind, op in offered},
        **{f"won/{op}": Column(f"edges won by {op}", _won_by(op), _plain) for op in won},
    }


def columns_of(runs: Sequence[Found]) -> dict[str, Column]:
    """All columns of some runs, by name; those of every run hide a metric of the same name."""
    return {**metric_columns(runs), **operation_columns(runs), **COLUMNS}


def usual(runs: Sequence[Found]) -> tuple[str, ...]:
    """The names of the columns of a table, if the user names none."""
    return (*metric_columns(runs), *USUAL)
