"""Runs of a sweep on a cluster, with Ray: each is a task that begins the process of the run on some node."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from typing import Any

from diffnas.names import first_line, showable
from diffnas.report.sweep.record import CellRecord
from diffnas.sweeps.workers import Ending, end, ending, launch

LOCAL = "local"
"""The address that means: start Ray on this machine."""

_MOMENT = 0.5  # seconds from one look at tasks and processes to the next


class Cluster:
    """The nodes of a cluster, which share the folder of the sweep. Ray decides which run begins where, and when.

    Args:
        folder: the folder of the sweep, by the same path on all nodes.
        address: the address of a cluster, such as ``auto`` or ``host:6379``; ``local`` starts Ray on this machine.
        cpus: the CPUs that Ray sets aside for a run; None for its number of threads.
        gpus: the GPUs that Ray sets aside for a run. A fraction shares a GPU among runs.

    Raises:
        ImportError: if Ray is not installed.
        ValueError: if there is no cluster at the address.
    """

    def __init__(self, folder: Path, address: str, cpus: float | None, gpus: float | None) -> None:
        self.ray = _ray()
        self.folder, self.cpus, self.gpus = folder, cpus, gpus
        self.tasks: dict[Any, str] = {}
        self.open = ExitStack()
        if not self.ray.is_initialized():
            _connect(self.ray, address)
            self.open.callback(self.ray.shutdown)
        # Ray prints what happens to workers and nodes. The standard output is for results.
        self.open.enter_context(redirect_stdout(sys.stderr))

    def has_room(self, cell: CellRecord) -> bool:
        """True: Ray itself lets runs wait."""
        return True

    def start(self, name: str, cell: CellRecord) -> None:
        """Submit a run."""
        asked = {"num_cpus": self.cpus or cell.options["threads"], "num_gpus": self.gpus or 0}
        # The driver itself tries a lost run again, because it notes why the run was lost.
        task = self.ray.remote(_attempt).options(**asked, max_retries=0)
        self.tasks[task.remote(str(self.folder), name)] = name

    def ended(self) -> Iterator[Ending]:
        """The runs whose tasks have ended, also by the death of their worker or node."""
        ready, _ = self.ray.wait(list(self.tasks), num_returns=1, timeout=_MOMENT)
        for task in ready:
            name = self.tasks.pop(task)
            try:
                yield Ending(*self.ray.get(task))
            except self.ray.exceptions.RayError as error:
                yield Ending(name, showable(f"lost by the cluster: {first_line(error)}"))

    def stop(self) -> None:
        """End all runs with checkpoints, and leave the cluster."""
        for task in self.tasks:
            self.ray.cancel(task, force=False)
        if self.tasks:
            self.ray.wait(list(self.tasks), num_returns=len(self.tasks), timeout=None)
        self.tasks.clear()
        self.open.close()


def _attempt(folder: str, name: str) -> tuple[str, str, bool]:
    """How a run ended, whose process works on this node; the fields of an ``Ending``."""
    process = launch(Path(folder), name)
    try:
        # Ray cancels a task by a KeyboardInterrupt, which does not come while a system call waits.
        while process.poll() is None:
            time.sleep(_MOMENT)
    except KeyboardInterrupt:
        process.terminate()
    return tuple(ending(Path(folder), name, end(process)))  # type: ignore[return-value]


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise ImportError("a sweep on a cluster needs Ray. Install it: pip install 'diffnas[cluster]'.") from None
    return ray


def _connect(ray: Any, address: str) -> None:
    try:
        ray.init(None if address == LOCAL else address, log_to_driver=False, configure_logging=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"there is no Ray cluster at {address!r}: {first_line(error)} Start one with ray start --head, or take "
            f"--address {LOCAL} for this machine."
        ) from None
