"""Who computes the runs of a sweep: processes on this machine. A process is the same on a node of a cluster."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import torch

from diffnas.names import showable
from diffnas.report.sweep.record import CellRecord, read_end
from diffnas.run_files import LOGS
from diffnas.sweeps.planning import cores, free_memory

WRONG_INPUT = 2
"""The exit code of a run that can never work."""

_MOMENT = 0.2  # seconds from one look at the processes to the next


class Ending(NamedTuple):
    """How the process of a run ended.

    Attributes:
        name: the run.
        reason: why it failed; empty if the run is done.
        final: whether another attempt would fail in the same way.
    """

    name: str
    reason: str = ""
    final: bool = False


class Workers(Protocol):
    """Who computes the runs of a sweep."""

    def has_room(self, cell: CellRecord) -> bool:
        """Whether one more run can begin now."""

    def start(self, name: str, cell: CellRecord) -> None:
        """Begin a run or go on with it."""

    def ended(self) -> Iterator[Ending]:
        """The runs that have ended since the last call, which waits a moment."""

    def stop(self) -> None:
        """End all runs with checkpoints, and return once they have ended."""


class Processes:
    """Processes on this machine, as many at once as fit.

    Args:
        folder: the folder of the sweep.
        at_once: the most runs at once; None for as many as the cores and the memory hold.
    """

    def __init__(self, folder: Path, at_once: int | None) -> None:
        self.folder, self.at_once = folder, at_once
        self.free, self.gpu_free = free_memory(), free_memory("cuda") if torch.cuda.is_available() else None
        self.running: dict[str, tuple[subprocess.Popen[bytes], CellRecord]] = {}

    def has_room(self, cell: CellRecord) -> bool:
        """Whether a run fits beside those that are running. One run alone may always begin."""
        if not self.running:
            return True
        if self.at_once is not None and len(self.running) >= self.at_once:
            return False
        every = [cell, *(each for _, each in self.running.values())]
        in_memory = self.free is None or sum(each.memory for each in every) <= self.free
        on_gpu = self.gpu_free is None or sum(each.gpu_memory for each in every) <= self.gpu_free
        # A user who asks for a number of runs at once may share cores among them.
        on_cores = self.at_once is not None or sum(each.options["threads"] for each in every) <= cores()
        return in_memory and on_gpu and on_cores

    def start(self, name: str, cell: CellRecord) -> None:
        """Begin a run or go on with it."""
        self.running[name] = launch(self.folder, name), cell

    def ended(self) -> Iterator[Ending]:
        """The runs whose processes have ended."""
        time.sleep(_MOMENT)
        for name, (process, _) in list(self.running.items()):
            if process.poll() is not None:
                del self.running[name]
                yield ending(self.folder, name, end(process))

    def stop(self) -> None:
        """End all processes with checkpoints."""
        for process, _ in self.running.values():
            process.terminate()
        for process, _ in self.running.values():
            end(process)
        self.running.clear()


def launch(folder: Path, name: str) -> subprocess.Popen[bytes]:
    """A process that computes a run. It saves a checkpoint and ends once this process has died.

    What it prints goes to a file in the sweep's folder. Ctrl-C does not reach it, because it has its own session.
    """
    log = folder / LOGS / f"{name}.txt"
    log.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "diffnas", "sweep", "--resume", str(folder), "--only", name, "--tied"]
    with log.open("ab") as out:
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )


def end(process: subprocess.Popen[bytes]) -> int:
    """The exit code of a process, once it has ended; negative if a signal killed it."""
    code = process.wait()
    assert process.stdin is not None
    process.stdin.close()
    return code


def ending(folder: Path, name: str, code: int) -> Ending:
    """How the process of a run ended, by its exit code, its note in the folder, and the last line that it printed."""
    noted = read_end(folder, name)
    if noted is not None and noted.done:
        return Ending(name)
    if noted is not None:
        return Ending(name, noted.reason, final=code == WRONG_INPUT)
    if code < 0:
        hint = ", perhaps because the machine had no memory left" if -code == signal.SIGKILL else ""
        return Ending(name, f"its process was killed by {signal.Signals(-code).name}{hint}.")
    return Ending(name, _last_line(folder / LOGS / f"{name}.txt") or f"its process ended with code {code}.")


def _last_line(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        lines = file.read().decode(errors="replace").splitlines()
    return showable(next((line for line in reversed(lines) if line.strip()), ""))[:300]
