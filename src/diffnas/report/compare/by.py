"""Runs grouped by a setting: how much the found cells change with it, against how much they change with the seed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import mean, stdev

import numpy as np

from diffnas.lookup import lookup
from diffnas.report.compare.columns import columns_of
from diffnas.report.compare.courses import agreement_of, decided_after
from diffnas.report.compare.found import Found
from diffnas.report.compare.grids import Grid
from diffnas.report.compare.kappa import mean_kappa, split
from diffnas.report.words import duration


@dataclass(frozen=True, kw_only=True)
class Family:
    """Runs that differ in some settings and in their seeds only.

    Attributes:
        label: what all its runs have in common, as far as other families differ from it.
        groups: the runs by the text of these settings; the first group is the base.
    """

    label: str
    groups: Mapping[str, Sequence[Found]]


def families(runs: Sequence[Found], names: Sequence[str]) -> list[Family]:
    """Families of runs, whose groups differ in the settings, components or seeds with these names.

    Raises:
        ValueError: for a name that no run has, with the most similar one.
    """
    known = {key: None for run in runs for key in run.settings}
    for name in names:
        lookup("setting", name, known)
    found: dict[str, dict[str, list[Found]]] = {}
    for run in runs:
        own = run.settings
        rest = {key: value for key, value in own.items() if key not in names and key not in run.seeds}
        key = json.dumps([run.method, run.space, run.data, rest], sort_keys=True, default=str)
        text = ", ".join(str(own.get(name)) for name in names)
        found.setdefault(key, {}).setdefault(text, []).append(run)
    firsts = [next(iter(groups.values()))[0] for groups in found.values()]
    return [
        Family(label=_common(first, firsts, names), groups=groups)
        for first, groups in zip(firsts, found.values(), strict=True)
    ]


def by_grid(runs: Sequence[Found], names: Sequence[str]) -> Grid:
    """A table with a row for each group: how alike its cells are, how alike to the first group's, accuracy, time."""
    rows: list[tuple[str, ...]] = []
    notes: list[str] = []
    found = families(runs, names)
    for family in found:
        base = next(iter(family.groups.values()))
        rows += [_row(family, text, group, base) for text, group in family.groups.items()]
        notes += _note(family)
    header = (
        "group",
        "runs",
        "kappa within",
        "kappa to the first",
        "same winners",
        "decided after",
        "accuracy",
        "time",
    )
    about = (
        "Kappa: how alike the cells of two runs are; 0 as much as random cells of the space, 1 the same (the mean over "
        "pairs). Same winners: the share of edges with the same largest weight; in brackets, where both lead by 0.1. "
        "Decided after: the epoch after which an edge's winner led for good."
    )
    return Grid(title=f"By {', '.join(names)}", header=header, rows=tuple(rows), note=" ".join([about, *notes]))


def _row(family: Family, text: str, group: Sequence[Found], base: Sequence[Found]) -> tuple[str, ...]:
    to_base = None if group is base else mean_kappa(group, base)
    return (
        f"{family.label}: {text}" if family.label else text,
        str(len(group)),
        _said(mean_kappa(group)),
        "" if group is base else _said(to_base),
        _winners(group),
        spread([decided_after(run.lines) for run in group], "{:.1f}".format),
        accuracy_of(group),
        spread([_seconds(run) for run in group], duration, deviation=False),
    )


def _note(family: Family) -> list[str]:
    """What the split of a family says, in a sentence; none if it has one group."""
    if len(family.groups) < 2:
        return []
    found = split(list(family.groups.values()))
    if found.within is None or found.between is None:
        return []
    test = "too few runs for a test" if found.p is None else f"p = {found.p:.3f} by permutation"
    about = f"{family.label}: " if family.label else ""
    return [f"{about}kappa {found.within:.2f} within groups, {found.between:.2f} between them ({test})."]


def _common(first: Found, firsts: Sequence[Found], names: Sequence[str]) -> str:
    """What distinguishes a family: its method, and the settings in which others of the method differ."""
    if len(firsts) == 1:
        return ""
    own = first.settings
    alike = [other.settings for other in firsts if other.method == first.method]
    differs = [key for key in own if key not in names and key not in first.seeds and key != "name"]
    differs = [key for key in differs if any(other.get(key) != own[key] for other in alike)]
    return ", ".join([first.method, *(f"{key}={own[key]}" for key in differs[:3])])


def _winners(group: Sequence[Found]) -> str:
    """How many winners the pairs of a group have in common, before cells are read off."""
    last = [np.asarray(run.lines[-1]["mix"], dtype=np.float64) for run in group if run.lines]
    pairs = [agreement_of(*pair) for pair in combinations(last, 2) if pair[0].shape == pair[1].shape]
    if not pairs:
        return ""
    sure = [pair.sure for pair in pairs if pair.sure is not None]
    return f"{mean(pair.winners for pair in pairs):.0%}" + (f" ({mean(sure):.0%})" if sure else "")


def accuracy_of(group: Sequence[Found]) -> str:
    """The benchmark's accuracy of the cells if there is a table, else the metric of the trained networks."""
    columns = columns_of(group)
    for name in ("benchmark", group[0].task.deciding):
        column = columns[name]
        text = spread([column.value(run) for run in group], column.say)
        if text:
            return text
    return ""


def _seconds(run: Found) -> float | None:
    return sum(line["seconds"] for line in run.lines) + run.pretext_seconds if run.lines else None


def _said(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def spread(values: Sequence[float | None], say: Callable[[float], str], *, deviation: bool = True) -> str:
    """The mean of the known numbers, with their standard deviation unless it is not wanted; "" for none."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    return say(mean(known)) + (f" ± {say(stdev(known))}" if deviation and len(known) > 1 else "")
