"""Runs beside one of them: what was changed, and how far the cells and the mixing weights then are from its own."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from statistics import mean
from typing import Any

import numpy as np

from diffnas.lookup import lookup
from diffnas.report.compare.by import accuracy_of, spread
from diffnas.report.compare.found import Found
from diffnas.report.compare.grids import Grid
from diffnas.report.compare.likeness import agreement, same_edges

_SHOWN = 3
"""So many changes are named in a row."""


def changes_grid(runs: Sequence[Found], name: str) -> Grid:
    """A row for the run with this name, and one for each way in which others differ from it; seeds have no values.

    Raises:
        ValueError: if no run or more than one has this name.
    """
    base = lookup("run", name, {run.name: run for run in runs})
    if sum(run.name == name for run in runs) > 1:
        raise ValueError(f"more than one run is called {name!r}. Give the folder of one of them only.")
    changed: dict[tuple[str, ...], list[Found]] = {}
    for run in runs:
        if run is not base:
            changed.setdefault(tuple(_changes(run, base)), []).append(run)
    return Grid(
        title=f"Changes from {name}",
        header=("changed", "runs", "same edges", "same edges among themselves", "weights differ by", "accuracy"),
        rows=(
            (f"({name})", "1", "", "", "", accuracy_of([base])),
            *(_row(texts, group, base) for texts, group in changed.items()),
        ),
        note=(
            f"Same edges: the share of edges with the same operations as in {name}, none included, averaged over runs; "
            "then among the runs of a row, averaged over pairs. Weights differ by: the mean absolute difference of the "
            "mixing weights at the end."
        ),
    )


def _row(texts: Sequence[str], group: Sequence[Found], base: Found) -> tuple[str, ...]:
    among = agreement([run.genotype for run in group])
    return (
        ", ".join([*texts[:_SHOWN], *["..."] * (len(texts) > _SHOWN)]) or "nothing",
        str(len(group)),
        f"{mean(same_edges(run.genotype, base.genotype) for run in group):.0%}",
        f"{among[1]:.0%}" if among else "",
        spread([distance(run, base) for run in group], "{:.3f}".format, deviation=False),
        accuracy_of(group),
    )


def _changes(run: Found, base: Found) -> Iterator[str]:
    """What differs between two runs: seeds by name, and settings with the value of the first."""
    if run.finished != base.finished:
        yield "finished" if run.finished else "not finished"
    if bool(run.search) != bool(base.search):
        yield "search unknown"
    elif not run.search and run.genotype != base.genotype:
        yield "cells"
    else:
        yield from _differences(run.settings, base.settings, seeds=run.seeds)
    if run.evaluation and base.evaluation:
        yield from (f"evaluation {text}" for text in _differences(run.training, base.training))


def _differences(own: Mapping[str, Any], other: Mapping[str, Any], seeds: Collection[str] = ()) -> Iterator[str]:
    for name in {**own, **other}:
        if own.get(name) != other.get(name):
            said = "method" if name == "name" else name
            yield said if name in seeds else f"{said}={own.get(name)}"


def distance(run: Found, other: Found) -> float | None:
    """The mean absolute difference of the mixing weights of two searches at their end; None in different spaces."""
    if not run.lines or not other.lines:
        return None
    own, others = (np.asarray(each.lines[-1]["mix"], dtype=np.float64) for each in (run, other))
    return float(np.abs(own - others).mean()) if own.shape == others.shape else None
