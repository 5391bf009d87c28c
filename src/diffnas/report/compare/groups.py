"""Groups of runs that differ only in their seed."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from diffnas.lookup import lookup
from diffnas.report.compare.found import Found, setting_name


@dataclass(frozen=True, kw_only=True)
class Group:
    """Runs that differ only in their seed.

    Attributes:
        label: the method, and how the group differs from other groups of the same method.
        runs: the runs, sorted by seed.
    """

    label: str
    runs: tuple[Found, ...]


def grouped(found: Iterable[Found], across: Collection[str] = ()) -> list[Group]:
    """Groups of runs that differ only in their seed, in the order of their first runs.

    A run without an evaluation joins the first group of the same search with one. A run without a record joins the runs
    of the same method in the same folder: those with a record if they all have the same settings, else those without.

    Args:
        found: the runs.
        across: names of settings, of a search or an evaluation, in which the runs of a group may differ as well.

    Raises:
        ValueError: for a setting that no run has, with the most similar one.
    """
    searches: dict[str, list[Found]] = {}
    for run in _adopted(_without(list(found), across)):
        decided = dict(run.search) or run.beside
        key = _as_key([run.method, run.space, run.data, decided])
        searches.setdefault(key, []).append(run)
    groups: list[list[Found]] = []
    for runs in searches.values():
        ways: dict[str, list[Found]] = {}
        for run in runs:
            if run.evaluation:
                ways.setdefault(_as_key(dict(run.evaluation)), []).append(run)
        bare = [run for run in runs if not run.evaluation]
        split = list(ways.values()) or [[]]
        groups += [[*split[0], *bare], *split[1:]]
    labels = _labels([runs[0] for runs in groups])
    ordered = [sorted(runs, key=lambda run: (run.seed is None, run.seed or 0, run.name)) for runs in groups]
    return [Group(label=label, runs=tuple(runs)) for label, runs in zip(labels, ordered, strict=True)]


def _without(found: Sequence[Found], names: Collection[str]) -> list[Found]:
    """Runs that do not say which of these settings they had."""
    known = {setting_name(name): None for run in found for name in (*run.search, *run.evaluation)}
    for name in names:
        lookup("setting", name, known)

    def others(decided: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in decided.items() if setting_name(name) not in names}

    return [replace(run, search=others(run.search), evaluation=others(run.evaluation)) for run in found]


def _as_key(decided: object) -> str:
    """What decides a result as text, which is the same for the same settings."""
    return json.dumps(decided, sort_keys=True, default=str)


def _adopted(found: Sequence[Found]) -> list[Found]:
    """Runs, where one without a record has data and settings of those beside it, if these are of one group."""
    groups: dict[tuple[str, str, str], dict[str, Found]] = {}
    for run in found:
        if run.search:
            decided = _as_key([run.data, dict(run.search)])
            groups.setdefault((run.method, run.space, run.beside), {})[decided] = run
    adopted = []
    for run in found:
        peers = [] if run.seeds else list(groups.get((run.method, run.space, run.beside), {}).values())
        alone = len(peers) == 1
        adopted.append(replace(run, data=peers[0].data, search=peers[0].search) if alone else run)
    return adopted


def _labels(firsts: Sequence[Found]) -> list[str]:
    """A label for each group: its method, and the differences from other groups of the method if there are any."""
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
    # The settings of a run without a record are unknown, so a run with a record does not differ from it.
    told = [other for each, other in zip(alike, about, strict=True) if each.search or not run.search]
    names = [name for name in own if own[name] != "" and any(other.get(name) != own[name] for other in told)]
    differs = ", ".join(f"{setting_name(name)}={own[name]}" for name in names[:3])
    return f"{run.method} ({differs}{', ...' if len(names) > 3 else ''})" if differs else run.method
