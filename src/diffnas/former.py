"""What a former version of diffnas wrote into a run folder, as this version would have written it.

Version 1 knew one task, classification, and wrote its numbers flat: ``train_loss``, ``held_out_accuracy``. Version 2
names the task in ``run.json`` and has its numbers in groups: ``"train": {"loss": ..., "accuracy": ...}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffnas.run_files import LOSS

TASK = {"name": "classification", "metrics": {"accuracy": {"better": "higher", "form": ".2%"}}}
"""What all runs learned, before a record named it."""

_NUMBERS = (LOSS, "accuracy")


_LATER_ROLES = {"initial": "pytorch", "pretext": "None"}
"""Roles that methods did not have, and what all methods did."""


def record(read: Mapping[str, Any]) -> dict[str, Any]:
    """What ``run.json`` says, its task and all roles of its method too."""
    found = {**read, "task": read.get("task", TASK)}
    return {**found, "method": {**_LATER_ROLES, **read["method"]}} if isinstance(read.get("method"), Mapping) else found


def line(read: Mapping[str, Any]) -> dict[str, Any]:
    """A line of a trace.

    >>> line({"epoch": 0, "train_loss": 0.5, "train_accuracy": 0.9, "lr": 0.1})
    {'epoch': 0, 'train': {'loss': 0.5, 'accuracy': 0.9}, 'lr': 0.1}
    """
    if "train" in read:
        return dict(read)
    found: dict[str, Any] = {}
    for name, value in read.items():
        split, _, number = name.rpartition("_")
        if split not in ("train", "held_out") or number not in _NUMBERS:
            found[name] = value
        elif value is not None:
            found.setdefault(split, {})[number] = value
        else:
            found.setdefault(split, None)
    return found


def result(read: Mapping[str, Any]) -> dict[str, Any]:
    """What an evaluation measured.

    >>> result({"test_pictures": 5, "accuracy": 0.8, "loss": 0.7, "macs": 9})
    {'test_pictures': 5, 'macs': 9, 'test': {'loss': 0.7, 'accuracy': 0.8}}
    """
    if "test" in read:
        return dict(read)
    tested = {name: read[name] for name in _NUMBERS if name in read}
    return {**{name: value for name, value in read.items() if name not in _NUMBERS}, "test": tested}


def settings(read: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a record, under their present names.

    >>> settings({"epochs": 2, "forward_by": "batched"})
    {'epochs': 2, 'backend': 'auto'}
    """
    names = {"forward_by": "backend"}
    values = {"batched": "auto"}
    return {names.get(name, name): values.get(value, value) if name in names else value for name, value in read.items()}


def method(read: Any) -> Any:
    """The method of a record, with the present names of its supernet options.

    >>> method({"name": "pc-darts", "supernet": "Changes(share=4)"})
    {'name': 'pc-darts', 'supernet': 'SupernetOptions(one_in=4)'}
    """
    if not isinstance(read, Mapping) or not isinstance(read.get("supernet"), str):
        return read
    now = read["supernet"].replace("Changes(share=", "Changes(one_in=").replace("Changes(", "SupernetOptions(")
    return {**read, "supernet": now}
