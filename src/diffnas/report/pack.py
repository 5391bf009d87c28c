"""The data of the page's drawings in compact form: 200 epochs of a DARTS search are about 200 kB."""

from __future__ import annotations

import base64
import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from diffnas.genotype import Cell, Connection, Genotype, collapse
from diffnas.report import measure
from diffnas.report.draw import curve
from diffnas.report.findings import findings
from diffnas.report.layout import Box, plan, short
from diffnas.report.reading import Evaluation, Kind, Run, Search
from diffnas.report.records import TaskRecord
from diffnas.report.words import COST_WORDS, titled

# Weights are stored as integers from 0 to LEVELS; DEAD stands for an operation that is no longer in play.
LEVELS = 65534
DEAD = LEVELS + 1


def pack(run: Run) -> dict[str, Any]:
    """All data of a run that the browser draws, ready for JSON."""
    return {
        "name": run.name,
        "task": [
            {"name": name, "title": titled(name), "share": metric.is_share} for name, metric in run.task.metrics.items()
        ],
        "search": _search(run.search) if run.search and run.search.lines else None,
        "evaluation": _evaluation(run.evaluation) if run.evaluation else None,
    }


def _search(search: Search) -> dict[str, Any]:
    distinct: dict[str, int] = {}
    listed: list[dict[str, Any]] = []
    at: list[int] = []
    for genotype in search.genotypes:
        read = {kind.name: _connections(search, kind, genotype) for kind in search.kinds}
        key = repr(read)
        if key not in distinct:
            distinct[key] = len(listed)
            listed.append(read)
        at.append(distinct[key])
    weights, scale = _weights(search)
    return {
        "epochs": [line.epoch + 1 for line in search.lines],
        "planned": search.record.epochs + len(search.pretext),
        "chosen": search.chosen if search.genotype else None,
        "ops": [short(op) for op in search.ops],
        "none": search.ops.index(collapse.NONE) if collapse.NONE in search.ops else None,
        "kinds": [_kind(search, kind) for kind in search.kinds],
        "weights": weights,
        "scale": scale,
        "genotypes": listed,
        "genotypeAt": at,
        "train": _learned([line.train for line in search.lines], search.record.task),
        "held_out": _learned([line.held_out for line in search.lines], search.record.task),
        "series": {name: _rounded(values) for name, values in _series(search).items()},
        "costs": _costs(search),
        "findings": [
            {"name": found.name, "series": _rounded(found.series), "top": found.top}
            for found in findings(search)
            if found.series
        ],
    }


def _learned(lines: Sequence[Mapping[str, float] | None], task: TaskRecord) -> dict[str, list[float | None]]:
    """The loss and the metrics over the epochs, by name; None in epochs that did not measure them."""
    return {name: _rounded(line[name] if line else None for line in lines) for name in task.numbers}


def _series(search: Search) -> dict[str, Sequence[float | None]]:
    lines = search.lines
    names = ("lr", "seconds", "parameters", "macs")
    return {
        **{name: [getattr(line, name) for line in lines] for name in names},
        "memory": [line.peak_memory for line in lines],
        "step_seconds": measure.step_seconds(lines),
        "live_ops": measure.live(search),
        "live_learning": measure.live(search, learning=True),
    }


def _costs(search: Search) -> list[dict[str, Any]]:
    """For each cost with a target, its words and its numbers by epoch; all lines of a trace have the same costs."""
    lines = [line.cost for line in search.lines]
    found = []
    for name, first in lines[0].items() if lines else ():
        title, say = COST_WORDS[name]
        known = [line.get(name) for line in lines]
        series = {
            part: _rounded(None if each is None else getattr(each, part) for each in known)
            for part in ("expected", "read_off", "lo", "hi", "multiplier")
        }
        found.append({"name": name, "title": title, "say": say, "target": first.target, **series})
    return found


def _evaluation(evaluation: Evaluation) -> dict[str, Any]:
    lines, result = evaluation.lines, evaluation.result
    return {
        "epochs": [line.epoch + 1 for line in lines],
        "planned": evaluation.record.epochs,
        "train": _learned([line.train for line in lines], evaluation.record.task),
        "series": {"lr": _rounded(line.lr for line in lines)},
        "test": result.test if result else None,
    }


def _connections(search: Search, kind: Kind, genotype: Genotype) -> list[list[int]]:
    """The connections of one kind of cell, each as the indices of its edge and its operation."""
    cell = genotype.cells.get(kind.name)
    return [
        [kind.edges.index((c.source, c.target)), search.ops.index(c.op)]
        for c in (cell.connections if cell else ())
        if (c.source, c.target) in kind.edges and c.op in search.ops
    ]


def _weights(search: Search) -> tuple[str, float]:
    """The weights of all epochs, edges and operations, as base64 of 16-bit integers; and the largest weight."""
    scale = max((w for line in search.lines for row in line.mix for w in row if math.isfinite(w)), default=1.0) or 1.0
    levels = array("H")
    for line in search.lines:
        for row, kept in zip(line.mix, line.keep, strict=True):
            levels.extend(round(max(w, 0.0) / scale * LEVELS) if k else DEAD for w, k in zip(row, kept, strict=True))
    if array("H", [1]).tobytes()[0] != 1:
        levels.byteswap()  # the page's script reads the low byte first
    return base64.b64encode(levels.tobytes()).decode(), scale


def _kind(search: Search, kind: Kind) -> dict[str, Any]:
    """A kind of cell with all its edges, in a layout that stays the same through all epochs."""
    # Laid out with the widest label, so that every operation fits into every box.
    widest = max(search.ops, key=lambda op: (op != "none", len(short(op))))
    connections = tuple(Connection(widest, source, target) for source, target in kind.edges)
    planned = plan(Cell(inputs=kind.inputs, nodes=kind.nodes, connections=connections, output=kind.output))
    return {
        "name": kind.name,
        "edges": kind.edges,
        "offered": kind.offered,
        "first": kind.first,
        "size": [round(planned.width), round(planned.height)],
        "nodes": [{**_place(box), "text": box.text, "look": box.look} for box in planned.nodes],
        "routes": [
            {**_place(route.box), "path": "".join(curve(line) for line in route.lines)} for route in planned.routes
        ],
        "joins": [curve(line) for line in planned.joins],
    }


def _place(box: Box) -> dict[str, float]:
    return {name: round(getattr(box, name), 1) for name in ("x", "y", "width", "height")}


def _rounded(values: Iterable[float | None]) -> list[float | None]:
    """The values rounded to five digits; None for infinity and NaN."""
    return [None if v is None or not math.isfinite(v) else float(f"{v:.5g}") for v in values]
