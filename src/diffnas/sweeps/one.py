"""One run of a sweep, in the process in which it is computed."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diffnas.api import run
from diffnas.engine.listen import Interrupted, Listener
from diffnas.engine.lock import in_use
from diffnas.names import first_line, showable
from diffnas.report.sweep.record import EndRecord, read_end, read_sweep, write_end
from diffnas.run_folder import RunFolder
from diffnas.values import whole

PATIENCE = 120.0
"""Seconds for a process of an earlier driver to save its checkpoint and end."""


def run_one(folder: Path, which: str, listener: Listener | None = None) -> None:
    """Begin one run of a sweep or go on with it, and note in the sweep's folder how it ended.

    Args:
        folder: the folder of the sweep.
        which: the name of the run, or its number from 0.
        listener: hears how the run goes.

    Raises:
        ValueError: if the sweep has no such run, or the run cannot work.
        Interrupted: if a signal asked the run to end.
    """
    name = _name(folder, which)
    end = read_end(folder, name)
    if end is not None and end.done:
        return
    place = folder / name
    _wait_for(place)
    write_end(folder, name, None)
    begun = RunFolder(place).begun
    options = {} if begun else read_sweep(folder).cells[name].options
    try:
        run(out=place, resume=begun, listener=listener, **options)
    except Interrupted:
        raise
    except Exception as error:
        write_end(folder, name, EndRecord(done=False, reason=showable(first_line(error))))
        raise
    write_end(folder, name, EndRecord(done=True))


def _name(folder: Path, which: str) -> str:
    names = list(read_sweep(folder).cells)
    if which in names:
        return which
    if which.isdecimal() and len(which) < 9:
        return names[int(whole(0, len(names) - 1).check("the number of a run of the sweep", int(which)))]
    raise ValueError(
        f"the sweep in {folder} has no run {which!r}. Its runs, or 0 to {len(names) - 1}: {', '.join(names)}."
    )


def _wait_for(place: Path) -> None:
    """Wait while another process works on the run.

    If the driver of that process has died, the process saves a checkpoint and ends.
    """
    until = time.monotonic() + PATIENCE
    while in_use(place) and time.monotonic() < until:
        time.sleep(0.2)


@contextmanager
def tied() -> Iterator[None]:
    """A context in which the run is asked to end once the standard input ends, as it does when the driver dies.

    The signal is SIGINT, because a driver that stops its runs sends SIGTERM, and a signal that comes twice kills.
    """

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 1):
            pass
        if not over.is_set():
            os.kill(os.getpid(), signal.SIGINT)

    # A driver in the background of a shell ignores SIGINT, and its runs inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    over = threading.Event()
    threading.Thread(target=wait, daemon=True).start()
    try:
        yield
    finally:
        over.set()
