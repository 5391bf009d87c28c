"""Whether a run goes on as it was begun: what decides its result is the same, under its present names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffnas import former
from diffnas.engine.settings import HOW, EvaluateSettings, SearchSettings, as_dict
from diffnas.run_folder import RunFolder, difference

_SETTINGS: dict[str, type[SearchSettings | EvaluateSettings]] = {"search": SearchSettings, "evaluate": EvaluateSettings}

_BESIDE = ("notes", "computed")
"""Parts of ``run.json`` that do not decide a result: where the data came from, and how it was computed at first."""


def check_same(folder: RunFolder, record: Mapping[str, Any]) -> None:
    """Refuse to resume a run that was begun with another record.

    Raises:
        ValueError: with the part of ``record`` that differs.
    """
    kept, now = _deciding(folder.record), _deciding(record)
    other = difference(kept, now, [part for part in now if part not in _BESIDE])
    if other:
        raise ValueError(
            f"{folder.path} holds a run with another {other}. "
            "Resume it as it was begun, or start anew with another --out."
        )


def computed_otherwise(folder: RunFolder, record: Mapping[str, Any]) -> str:
    """The differences in how the run is computed, as text; empty if there are none."""
    kept, now = (former.settings(each.get("settings") or {}) for each in (folder.record, record))
    names = [name for name in HOW if name in kept and name in now and kept[name] != now[name]]
    return ", ".join(f"{name} was {kept[name]!r} and is {now[name]!r}" for name in names)


def _deciding(record: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a record that decide the result. A setting from after the run began has its default."""
    if "method" in record:
        record = {**record, "method": former.method(record["method"])}
    settings, kind = record.get("settings"), _SETTINGS.get(str(record.get("phase")))
    if not isinstance(settings, Mapping) or kind is None:
        return dict(record)
    whole = {**as_dict(kind()), **former.settings(settings)}
    return {**record, "settings": {name: value for name, value in whole.items() if name not in HOW}}
