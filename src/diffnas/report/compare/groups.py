"""Groups of runs that belong together: those that differ in their seeds, and in settings that a user names."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from diffnas.lookup import lookup
from diffnas.report.compare.found import SEEDS, Found, setting_name

_SHOWN = 3
"""So many differences are named in a label, and more only where two labels would be the same."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Runs that belong together.

    Attributes:
        label: the method, and how the group differs from other groups of the same method. No two are the same.
        runs: the runs, sorted by seed.
    """

    label: str
    runs: tuple[Found, ...]


def grouped(found: Iterable[Found], across: Collection[str] = ()) -> list[Group]:
    """Groups of runs that belong together, in the order of their first runs.

    They have the same method, space, data and settings; their seeds may differ, and the size at which each of them
    meets the target of its search. A run without an evaluation joins the first group of the same search with one. A run
    without a record joins the runs of the same method in the same folder: those with a record if they all have the same
    settings, else those without.

    Args:
        found: the runs.
        across: names of settings, of a search or an evaluation, in which the runs of a group may differ as well.

    Raises:
        ValueError: for a setting that no run has, with the most similar one.
    """
    every, apart = _adopted(list(found)), frozenset([across] if isinstance(across, str) else across) - set(SEEDS)
    _check(apart, every)
    searches: dict[str, list[Found]] = {}
    for run in every:
        decided = _searched(run, apart) or run.beside
        searches.setdefault(_as_key([run.method, run.space, run.data, decided]), []).append(run)
    groups: list[list[Found]] = []
    for runs in searches.values():
        ways: dict[str, list[Found]] = {}
        for run in runs:
            if run.evaluation:
                ways.setdefault(_as_key(_trained(run, apart)), []).append(run)
        bare = [run for run in runs if not run.evaluation]
        split = list(ways.values()) or [[]]
        groups += [[*split[0], *bare], *split[1:]]
    labels = _labels([runs[0] for runs in groups], apart)
    ordered = [sorted(runs, key=lambda run: (run.seed is None, run.seed or 0, run.name)) for runs in groups]
    return [Group(label=label, runs=tuple(runs)) for label, runs in zip(labels, ordered, strict=True)]


def _check(apart: Collection[str], found: Iterable[Found]) -> None:
    """Refuse names that are no settings. Method, space and data always keep runs apart."""
    names = {setting_name(name): None for run in found for name in (*run.search, *run.evaluation)}
    known = {name: None for name in names if name not in ("name", "space", "data")}
    for name in apart:
        lookup("setting", name, known)


def _searched(run: Found, apart: Collection[str]) -> dict[str, Any]:
    """What decides the search of a run, apart from some settings."""
    return {name: value for name, value in run.search.items() if setting_name(name) not in apart}


def _trained(run: Found, apart: Collection[str]) -> dict[str, Any]:
    """What decides the evaluation of a run, apart from some settings."""
    return {name: value for name, value in run.training.items() if name not in apart}


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


def _labels(firsts: Sequence[Found], apart: Collection[str]) -> list[str]:
    """A label for each group: its method, and the differences from other groups of the method if there are any."""
    about = [
        {
            "space": run.space,
            "data": run.data,
            **(_searched(run, apart) or {"folder": run.beside}),
            **{f"evaluation {name}": value for name, value in _trained(run, apart).items()},
        }
        for run in firsts
    ]
    labels = []
    for place, run in enumerate(firsts):
        # The settings of a run without a record are unknown, so a run with a record does not differ from it.
        others = [
            about[other]
            for other, peer in enumerate(firsts)
            if other != place and peer.method == run.method and (peer.search or not run.search)
        ]
        labels.append(_label(run.method, about[place], others))
    return labels


def _label(method: str, own: dict[str, Any], others: Sequence[dict[str, Any]]) -> str:
    names = [name for name in own if own[name] != "" and any(other.get(name) != own[name] for other in others)]
    shown = _SHOWN
    while any(all(other.get(name) == own[name] for name in names[:shown]) for other in others) and shown < len(names):
        shown += 1
    differs = ", ".join(f"{setting_name(name)}={own[name]}" for name in names[:shown])
    return f"{method} ({differs}{', ...' if len(names) > shown else ''})" if differs else method
