"""The processes that share a call, and what each of them knows of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from diffnas.engine.launch import here, joined, together
from diffnas.engine.listen import Listener, Silent
from diffnas.engine.ranks import Ranks
from diffnas.engine.settings import Machine
from diffnas.run_folder import RunFolder


class Call(NamedTuple):
    """A call in one of its processes.

    Attributes:
        place: the run folder, which is that of the first process in all of them; None if there is none.
        own: the same in the process that writes, which is the first; None in all others.
        listener: hears how the run goes; in other processes than the first, nobody.
        ranks: this process among those of the call.
    """

    place: Path | None
    own: Path | None
    listener: Listener
    ranks: Ranks


@contextmanager
def in_processes(machine: Machine, place: Path | None, listener: Listener | None, known: Path | None) -> Iterator[Call]:
    """A context in which the processes that ``machine`` asks for share a call; in each of them, the script runs.

    Args:
        machine: how many processes there shall be, on how many machines.
        place: the run folder; that of the first process counts.
        listener: hears how the run goes.
        known: a run folder that says how many there are if nothing else does; None if there is none.

    Raises:
        ValueError: if the processes cannot be started.
        Lost: if one of them ends early.
    """
    joined(machine.devices, machine.nodes, usual=_noted(known))
    with together(place) as ranks:
        place = ranks.broadcast(place)
        first = ranks.first
        yield Call(place, place if first else None, listener if listener and first else Silent(), ranks)


def _noted(folder: Path | None) -> tuple[int | None, int | None]:
    """The processes on each machine and the machines of the run in ``folder``."""
    notes: Any = RunFolder.open(folder).record.get("notes") if folder else {}
    notes = notes if isinstance(notes, dict) else {}
    devices, nodes = (notes.get(name) for name in ("devices", "nodes"))
    return devices if isinstance(devices, int) else None, nodes if isinstance(nodes, int) else None


def first() -> bool:
    """Whether this process is the one that writes and prints, as every process is that has no others."""
    return here().first
