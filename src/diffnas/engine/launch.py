"""How the processes of a run come together: launched here, or by torchrun or SLURM.

Lightning Fabric knows what torchrun and SLURM tell a process. Its own launcher is not used: as soon as a process that
it launched ends with an error, it kills the first one too, which then cannot say what happened.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from torch.distributed import Store, TCPStore  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from diffnas.engine.listen import Diverged, Interrupted, Lost, NotFinite, OutOfMemory
from diffnas.engine.ranks import ALONE, Ranks
from diffnas.names import first_line
from diffnas.run_folder import standing

PATIENCE = timedelta(hours=2)
"""How long a process waits for another one that is there, which may be reading data or testing a network."""

# Seconds that processes get to end by themselves after the run, and seconds to find out which process is gone.
_GRACE, _GLANCE = 30.0, 3.0

# Tells a process that was launched here who it is: ADDRESS PORT NUMBER COUNT.
_SEAT = "DIFFNAS_PROCESS"

_EXPECTED = (ValueError, OSError, ImportError, MemoryError, KeyboardInterrupt, Diverged, NotFinite, OutOfMemory)


@dataclass(frozen=True, kw_only=True)
class _Seat:
    """Where a process meets the others, and who it is among them; ``port`` 0 is any that is free."""

    address: str
    port: int
    number: int
    count: int


@dataclass(kw_only=True)
class _Party:
    """The processes of this run, as this one knows them.

    Attributes:
        ranks: who they are; None once they have parted.
        store: in which a process that ends early writes why.
        launched: those that were launched by this process, by number.
        entered: whether a run is under way.
    """

    ranks: Ranks | None
    store: Store
    launched: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    entered: bool = False


_party: _Party | None = None


def here() -> Ranks:
    """This process among those of its run; ``ALONE`` before ``joined`` has found others."""
    return _party.ranks if _party and _party.ranks else ALONE


def joined(
    devices: int | None, nodes: int | None = None, *, usual: tuple[int | None, int | None] = (None, None)
) -> Ranks:
    """This process among those of its run, which are launched if they have to be.

    Args:
        devices: processes on each machine; None for those that torchrun or SLURM has launched, or the usual number.
        nodes: machines.
        usual: devices and nodes where nothing else says how many there are.

    Raises:
        ValueError: if the processes cannot be launched, or their number is another than ``devices`` and ``nodes`` say.
        Lost: if one of them ends before all have met.
    """
    global _party
    asked = None if devices is None and nodes is None else (devices or 1) * (nodes or 1)
    if _party is None:
        if asked == 1:
            return ALONE
        seat = _given_seat()
        devices, nodes = usual if asked is None else (devices, nodes)
        if seat is None and (devices or 1) * (nodes or 1) == 1:
            return ALONE
        _party = _meet(seat) if seat else _launch(devices or 1, nodes or 1)
    ranks = _party.ranks
    if ranks is None:
        raise ValueError("the processes of this run have parted after an error. Run the script again.")
    if asked not in (None, ranks.count):
        raise ValueError(
            f"{asked} processes are asked for, by devices and nodes, and this run has {ranks.count}. Leave both out, "
            "or start it otherwise."
        )
    return ranks


@contextmanager
def together(folder: Path | None) -> Iterator[Ranks]:
    """A context in which the processes compute a run, whose folder is ``folder``; an error in one ends all.

    The first process raises the error of any process. The others end in silence.

    Raises:
        Lost: in the first process, if another one is gone.
    """
    party = _party
    if party is None or party.ranks is None or party.entered:
        yield here()
        return
    party.entered = True
    try:
        yield party.ranks
    except BaseException as error:
        first = party.ranks.first
        _part(party, error)
        if first and isinstance(error, Lost):
            raise Lost(f"{str(error).rstrip('.')}. {standing(folder)}") from None
        if first or not isinstance(error, (Interrupted, Lost, *_EXPECTED)):
            raise
        raise SystemExit(128 + error.signal if isinstance(error, Interrupted) else 1) from None
    finally:
        party.entered = False


def _part(party: _Party, error: BaseException) -> None:
    """Leave the other processes, which learn why."""
    ranks, party.ranks = party.ranks, None
    with suppress(RuntimeError):  # the first process, which keeps the store, may be gone
        if ranks and not ranks.first and not isinstance(error, Lost):
            party.store.set(
                _cause(ranks.number), f"process {ranks.number} on {socket.gethostname()} ended: {_told(error)}"
            )
    with suppress(RuntimeError):
        dist.destroy_process_group()


def _told(error: BaseException) -> str:
    return first_line(error) if isinstance(error, Exception) and str(error) else repr(error)


def _cause(number: int) -> str:
    return f"diffnas/ended/{number}"


def _given_seat() -> _Seat | None:
    """The place that this process was given by the one that launched it; None if it was launched by itself."""
    ours = os.environ.pop(_SEAT, None)
    if ours is not None:
        address, port, number, count = ours.split()
        return _Seat(address=address, port=int(port), number=int(number), count=int(count))
    if TorchElasticEnvironment.detect():
        cluster: TorchElasticEnvironment | SLURMEnvironment = TorchElasticEnvironment()
    # A batch script of several tasks that starts a single process is no such job step.
    elif int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1 and SLURMEnvironment.detect():
        cluster = SLURMEnvironment()
    else:
        return None
    if cluster.world_size() == 1:
        return None
    return _Seat(
        address=cluster.main_address,
        port=cluster.main_port,
        number=cluster.global_rank(),
        count=cluster.world_size(),
    )


def _launch(devices: int, nodes: int) -> _Party:
    """Run this command again for each other process of this machine, and meet them."""
    command = _command()
    address, port, node = _machine(nodes)
    seat = _Seat(address=address, port=port, number=node * devices, count=nodes * devices)
    store = _store(seat)
    launched = {}
    for number in range(seat.number + 1, seat.number + devices):
        place = f"{address} {getattr(store, 'port', port)} {number} {seat.count}"
        # Torch's own warnings of a lost connection would say less than we do, and several times.
        quiet = {"TORCH_CPP_LOG_LEVEL": "ERROR", **os.environ, _SEAT: place}
        launched[number] = subprocess.Popen(command, env=quiet)
    atexit.register(_end, launched)
    return _met(seat, store, launched)


def _command() -> list[str]:
    """The command line of this process.

    Raises:
        ValueError: if there is none that could be run again.
    """
    if "ipykernel" in sys.modules or sys.argv[0] in ("", "-"):
        raise ValueError(
            "several processes need a script or a command that is run again for each of them, and a notebook or an "
            "interactive session is none. Put the call into a script, or take devices=1."
        )
    return [sys.executable, *sys.orig_argv[1:]]


def _machine(nodes: int) -> tuple[str, int, int]:
    """Address and port of the first process, and the number of this machine.

    Raises:
        ValueError: if there are several machines and nobody has said where the first is.
    """
    if nodes == 1:
        return "127.0.0.1", 0, 0
    try:
        return os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), int(os.environ["NODE_RANK"])
    except (KeyError, ValueError):
        raise ValueError(
            f"{nodes} machines need to know one another: set MASTER_ADDR and MASTER_PORT, where the first one can be "
            "reached, and NODE_RANK (0, 1, ...) on each. torchrun and SLURM do that by themselves."
        ) from None


def _store(seat: _Seat) -> Store:
    """The store that all processes share; the first one keeps it."""
    if seat.port == 0:
        return TCPStore(seat.address, 0, seat.count, True, PATIENCE, wait_for_workers=False)
    url = f"tcp://{seat.address}:{seat.port}"
    store: Store = next(rendezvous(url, seat.number, seat.count, timeout=PATIENCE))[0]
    return store


def _meet(seat: _Seat) -> _Party:
    """The processes of this run, once this one, which another has launched, has met them."""
    try:
        return _met(seat, _store(seat), {})
    except RuntimeError:
        raise SystemExit(1) from None  # the first process is gone, or says what is wrong


def _met(seat: _Seat, store: Store, launched: dict[int, subprocess.Popen[bytes]]) -> _Party:
    """The processes of this run, once all of them are there."""
    hosts = _hosts(seat, store, launched)
    host = hosts[seat.number]
    local = hosts[: seat.number].count(host)
    gpus = torch.cuda.device_count()
    # Two processes on one GPU cannot speak by NCCL. Small things go by Gloo, which notices at once who is gone.
    own = 0 < max(map(hosts.count, hosts)) <= gpus
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if own else "gloo",
        store=store,
        rank=seat.number,
        world_size=seat.count,
        timeout=PATIENCE,
    )
    party = _Party(ranks=None, store=store, launched=launched)
    party.ranks = Ranks(
        number=seat.number, count=seat.count, here=hosts.count(host), local=local, lost=lambda: _lost(party)
    )
    return party


def _hosts(seat: _Seat, store: Store, launched: dict[int, subprocess.Popen[bytes]]) -> list[str]:
    """The machine of each process, once all are there.

    Raises:
        Lost: if one that was launched here ends before.
    """
    store.set(f"diffnas/host/{seat.number}", socket.gethostname())
    keys = [f"diffnas/host/{number}" for number in range(seat.count)]
    while not store.check(keys):
        if gone := _ended(launched):
            raise Lost(f"{gone} before the run began.")
        time.sleep(0.02)
    return [store.get(key).decode() for key in keys]


def _lost(party: _Party) -> str:
    """What can be said of a process that is gone, a sentence; empty if nothing can."""
    deadline = time.monotonic() + _GLANCE
    while time.monotonic() < deadline:
        with suppress(RuntimeError):  # in other processes than the first, which keeps the store
            for number in range(dist.get_world_size()):
                if party.store.check([_cause(number)]):
                    return party.store.get(_cause(number)).decode()
        if gone := _ended(party.launched):
            return f"{gone}."
        if not party.launched:
            return ""
        time.sleep(0.05)
    return ""


def _ended(launched: dict[int, subprocess.Popen[bytes]]) -> str:
    """How one of the processes that were launched here has ended; empty if none has."""
    for number, process in launched.items():
        code = process.poll()
        if code is not None:
            by = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
            return f"process {number} {by}"
    return ""


def _end(launched: dict[int, subprocess.Popen[bytes]]) -> None:
    """Leave no process behind: those that were launched here end with this one, or are ended."""
    with suppress(RuntimeError, ValueError, AssertionError):  # the processes have parted already
        dist.destroy_process_group()
    deadline = time.monotonic() + _GRACE
    for process in launched.values():
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))
        if process.poll() is None:
            process.kill()
