"""Runs beside one of them: what was changed, and how far the cells and the mixing weights then are from its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from statistics import mean

import numpy as np

from diffnas.lookup import lookup
from diffnas.report.compare.by import accuracy_of, values_of
from diffnas.report.compare.found import Found
from diffnas.report.compare.grids import Grid
from diffnas.report.compare.likeness import same_edges

_SHOWN = 3
"""So many changed settings are named in a row."""


def changes_grid(runs: Sequence[Found], name: str) -> Grid:
    """A row for each set of settings, components and seeds in which runs differ from the one with this name.

    Raises:
        ValueError: if no run or more than one has this name.
    """
    base = lookup("run", name, {run.name: run for run in runs})
    if sum(run.name == name for run in runs) > 1:
        raise ValueError(f"more than one run is called {name!r}. Give the folder of one of them only.")
    changed: dict[str, list[Found]] = {}
    for run in runs:
        if run is not base:
            changed.setdefault(_differs(run, base), []).append(run)
    return Grid(
        title=f"Changes to {name}",
        header=("changed", "runs", "same edges", "same edges among themselves", "weights differ by", "accuracy"),
        rows=tuple(_row(text, group, base) for text, group in changed.items()),
        note=(
            f"Same edges: the share of edges with the same operations as in {name}, none included, averaged over runs; "
            "then among the runs of a row, averaged over pairs. Weights differ by: the mean absolute difference of the "
            "mixing weights at the end."
        ),
    )


def _row(text: str, group: Sequence[Found], base: Found) -> tuple[str, ...]:
    pairs = list(combinations(group, 2))
    return (
        text,
        str(len(group)),
        f"{mean(_same(run, base) for run in group):.0%}",
        f"{mean(_same(*pair) for pair in pairs):.0%}" if pairs else "",
        _mean([distance(run, base) for run in group], "{:.3f}".format),
        accuracy_of(group),
    )


def _differs(run: Found, base: Found) -> str:
    """The names of what differs between two runs."""
    own, other = values_of(run), values_of(base)
    names = [name for name in {**own, **other} if own.get(name) != other.get(name)]
    return ", ".join([*names[:_SHOWN], *["..."] * (len(names) > _SHOWN)]) or "nothing"


def _same(run: Found, other: Found) -> float:
    return same_edges(run.genotype, other.genotype)


def distance(run: Found, other: Found) -> float | None:
    """The mean absolute difference of the mixing weights of two searches at their end; None in different spaces."""
    if not run.lines or not other.lines:
        return None
    own, others = (np.asarray(each.lines[-1]["mix"], dtype=np.float64) for each in (run, other))
    return float(np.abs(own - others).mean()) if own.shape == others.shape else None


def _mean(values: Sequence[float | None], say: Callable[[float], str]) -> str:
    known = [value for value in values if value is not None]
    return say(mean(known)) if known else ""
