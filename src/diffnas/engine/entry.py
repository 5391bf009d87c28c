"""How a run enters its folder: the first time, or again where its last good checkpoint is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch

from diffnas import files
from diffnas.engine import checkpoint
from diffnas.engine.listen import Listener
from diffnas.engine.lock import owning
from diffnas.engine.memory import ran_out
from diffnas.engine.run import Damaged, RunFolder, saved
from diffnas.names import first_line
from diffnas.run_files import CHECKPOINTS


class Restorable(Protocol):
    """A state that can go back to what a checkpoint holds."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to ``state``."""


@contextmanager
def open_or_resume(
    path: Path | None,
    record: Mapping[str, Any],
    state: Restorable,
    *,
    resume: bool,
    device: torch.device,
    listener: Listener,
) -> Iterator[tuple[RunFolder | None, list[dict[str, Any]]]]:
    """Inside, the run owns its folder; given are the folder and the trace so far.

    A run that goes on has ``state`` brought to its last checkpoint, or to the one before if the last is damaged.

    Args:
        path: the run folder, if there is to be one.
        record: everything that decides the result, and how it is computed.
        state: what a checkpoint changes.
        resume: whether the run goes on.
        device: where the state lives.
        listener: hears how the run is computed, and what is damaged and what is done about it.

    Raises:
        ValueError: if the folder does not fit, with nothing touched: another process owns it, there is a run, or there
            is none, it was begun otherwise, or no checkpoint is good.
    """
    if path is None:
        if resume:
            raise ValueError("to resume, say which run: --resume FOLDER, or out=FOLDER in Python.")
        _tell(record, listener)
        yield None, []
        return
    with owning(path, listener.warn):
        folder = RunFolder.open(path) if resume else RunFolder.create(path, record)
        folder.check_same(record)
        otherwise = folder.computed_otherwise(record)
        if otherwise:
            listener.warn(
                f"the run goes on computed in another way: {otherwise}. The last digits of its numbers may differ."
            )
        epoch = _go_on(folder, state, device, listener.warn) if resume else 0
        for place in (path, path / CHECKPOINTS):
            files.remove_partials(place)
        _tell(record, listener)
        yield folder, folder.rewind(epoch)


def _tell(record: Mapping[str, Any], listener: Listener) -> None:
    for sentence in record["computed"]:
        listener.note(sentence)


def _go_on(folder: RunFolder, state: Restorable, device: torch.device, warn: Callable[[str], None]) -> int:
    """Bring ``state`` to the last good checkpoint; the number of epochs that are over there comes back."""
    paths = saved(folder.path / CHECKPOINTS)
    complaints: list[str] = []
    for path in paths:
        try:
            loaded = checkpoint.load(path, device)
            _restore(folder, state, loaded, path)
        except Damaged as error:
            complaints.append(str(error))
            continue
        if complaints:
            checkpoint.set_aside(paths[0])
            warn(f"{complaints[0]} The run goes on from the checkpoint before it, in epoch {loaded['epoch'] + 1}.")
        return int(loaded["epoch"])
    if complaints:
        raise ValueError(f"{' '.join(complaints)} No good checkpoint is left; start anew with another --out.")
    written = len(folder.trace())
    if written > 1:  # of one epoch the checkpoint may not have been written yet
        raise ValueError(
            f"{folder.path} has {written} epochs in its trace and no checkpoint to go on from; its files are left as "
            "they are. Start anew with another --out."
        )
    return 0


def _restore(folder: RunFolder, state: Restorable, loaded: Mapping[str, Any], path: Path) -> None:
    """Bring ``state`` to what was loaded, if that belongs to the folder."""
    try:
        folder.check_fits(loaded)
        state.load_state_dict(loaded)
    except Damaged:
        raise
    except (KeyError, RuntimeError, ValueError, AttributeError, TypeError, AssertionError) as error:
        if ran_out(error):
            raise
        raise ValueError(f"the checkpoint {path} does not fit this run: {first_line(error)}") from error
