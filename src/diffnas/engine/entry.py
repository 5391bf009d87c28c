"""How a run opens its folder, which is new, or has a good checkpoint that the run resumes."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch

from diffnas import files
from diffnas.engine import checkpoint, shared
from diffnas.engine.launch import here
from diffnas.engine.listen import Listener
from diffnas.engine.lock import owning
from diffnas.engine.memory import ran_out
from diffnas.engine.nested import to_cpu
from diffnas.engine.ranks import Ranks
from diffnas.engine.same import check_same, computed_otherwise
from diffnas.engine.training_loop import State
from diffnas.names import first_line
from diffnas.run_folder import Damaged, RunFolder, saved, standing

_FULL = (errno.ENOSPC, errno.EDQUOT)


class Restorable(State, Protocol):
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
    """A context in which the run owns its folder. It gives the folder, if there is one, and the trace so far.

    If the run is resumed, ``state`` is set to its last checkpoint, or to the one before if the last is damaged. Of
    several ranks, the first gets the folder, and the others get the state and the trace from it.

    Args:
        path: the run folder; None for a run without one.
        record: everything that decides the result, and how it is computed.
        state: the state, which a checkpoint changes.
        resume: whether the run is resumed.
        device: where the tensors of the state are.
        listener: is told how the run is computed, which checkpoint is damaged, and which one takes its place.

    Raises:
        ValueError: if another process owns the folder; if a new run finds a run there; or if a resumed run finds none,
            one that was begun with other options, or no good checkpoint. The folder is left as it is.
    """
    ranks = here()
    if not ranks.first:
        yield None, _follow(state, ranks)
        return
    with _opened(path, record, state, resume=resume, device=device, listener=listener) as (folder, trace, loaded):
        ranks.broadcast((trace, to_cpu(loaded)))
        if loaded:
            shared.take_own(state, loaded, ranks)
            if shared.ranks_of(loaded) != ranks.count:
                listener.warn(
                    f"the run goes on with {ranks.count} process(es), and had {shared.ranks_of(loaded)}: batches are "
                    "shared otherwise, so its numbers will not be those of a run that was left alone."
                )
        with _within_disk(path):
            yield folder, trace


@contextmanager
def _within_disk(path: Path | None) -> Iterator[None]:
    """A context in which the error of a full disk says what is left of the run in ``path``."""
    try:
        yield
    except OSError as error:
        if path is None or error.errno not in _FULL:
            raise
        raise OSError(error.errno, f"{error.strerror} for {path}. Make room. {standing(path)}") from None


def _follow(state: Restorable, ranks: Ranks) -> list[dict[str, Any]]:
    """The trace so far, from the first rank; ``state`` becomes what it has loaded."""
    given: tuple[list[dict[str, Any]], dict[str, Any] | None] = ranks.broadcast(([], None))
    trace, loaded = given
    if loaded:
        state.load_state_dict(loaded)
        shared.take_own(state, loaded, ranks)
    return trace


@contextmanager
def _opened(
    path: Path | None,
    record: Mapping[str, Any],
    state: Restorable,
    *,
    resume: bool,
    device: torch.device,
    listener: Listener,
) -> Iterator[tuple[RunFolder | None, list[dict[str, Any]], dict[str, Any] | None]]:
    """A context in which the run owns its folder. It gives the folder, the trace, and the checkpoint in ``state``."""
    if path is None:
        if resume:
            raise ValueError("to resume, say which run: --resume FOLDER, or out=FOLDER in Python.")
        _tell(record, listener)
        yield None, [], None
        return
    with owning(path, listener.warn):
        folder = RunFolder.open(path) if resume else RunFolder.create(path, record)
        check_same(folder, record)
        otherwise = computed_otherwise(folder, record)
        if otherwise:
            listener.warn(
                f"the run goes on computed in another way: {otherwise}. The last digits of its numbers may differ."
            )
        loaded = _go_on(folder, state, device, listener.warn) if resume else None
        for place in (path, folder.checkpoints):
            files.remove_partials(place)
        _tell(record, listener)
        yield folder, folder.rewind(loaded["epoch"] if loaded else 0), loaded


def _tell(record: Mapping[str, Any], listener: Listener) -> None:
    for sentence in record["computed"]:
        listener.note(sentence)


def _go_on(
    folder: RunFolder, state: Restorable, device: torch.device, warn: Callable[[str], None]
) -> dict[str, Any] | None:
    """The last good checkpoint, to which ``state`` is set; None if none was written yet."""
    paths = saved(folder.checkpoints)
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
        return loaded
    if complaints:
        raise ValueError(f"{' '.join(complaints)} No good checkpoint is left; start anew with another --out.")
    written = len(folder.trace())
    if written > 1:  # after one epoch, the run may have died before it wrote the first checkpoint
        raise ValueError(
            f"{folder.path} has {written} epochs in its trace and no checkpoint to go on from; its files are left as "
            "they are. Start anew with another --out."
        )
    return None


def _restore(folder: RunFolder, state: Restorable, loaded: Mapping[str, Any], path: Path) -> None:
    """Set ``state`` to what was loaded from ``path``, if that belongs to the folder."""
    try:
        folder.check_fits(loaded)
        state.load_state_dict(loaded)
    except Damaged:
        raise
    except (KeyError, RuntimeError, ValueError, AttributeError, TypeError, AssertionError) as error:
        if ran_out(error):
            raise
        raise ValueError(f"the checkpoint {path} does not fit this run: {first_line(error)}") from error
