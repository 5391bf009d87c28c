"""Memory: how much is available, and how much a step takes as its batch grows."""

from __future__ import annotations

import errno
import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from diffnas.engine.listen import OutOfMemory
from diffnas.engine.settings import EvaluateSettings, SearchSettings
from diffnas.nets.least import Least
from diffnas.run_folder import standing

# A function that comes without types.
_leaves: Callable[[Any], list[Any]] = tree_leaves

# Words in the errors of PyTorch, oneDNN and Python when no memory is left.
_FULL = (
    "DefaultCPUAllocator",
    "not enough memory",
    "could not create a memory",
    "could not create a primitive",
    "could not execute a primitive",
    "out of memory",
    "Cannot allocate memory",
    "without setting an exception",
    "error return without exception set",
)


def available(device: torch.device, root: Path = Path("/")) -> int | None:
    """How many bytes more this process can have on ``device``; None where the system does not say.

    On a CPU this is the memory that the system could give, or what the limits of control groups leave, if less.

    Args:
        device: the device of a run.
        root: the folder that has ``proc`` and ``sys``.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # The memory that torch has reserved and does not use can be used by tensors too.
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    known = [*_of_machine(root), *_of_groups(root)]
    return max(0, min(known)) if known else None


def ran_out(error: BaseException) -> bool:
    """Whether an error, or one that led to it, says that no memory was left."""
    chain: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in chain:
        chain.append(following)
        following = following.__cause__ or following.__context__
    return any(_is_of_memory(each) for each in chain)


def _is_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    # Python raises a SystemError if native code found no memory and raised no error itself.
    return isinstance(error, RuntimeError | SystemError) and any(words in str(error) for words in _FULL)


@contextmanager
def within_memory(settings: SearchSettings | EvaluateSettings, out: Path | None) -> Iterator[None]:
    """A context in which every error of memory that ran out becomes an ``OutOfMemory`` of the run in ``out``.

    Raises:
        OutOfMemory: with what is left of the run, and options with which it needs less memory.
    """
    try:
        yield
    except Exception as error:
        if not ran_out(error):
            raise
        raise OutOfMemory(standing(out), _leaner(settings)) from None


def _leaner(settings: SearchSettings | EvaluateSettings) -> tuple[str, ...]:
    """Options with which a run needs less memory than with ``settings``, found without measuring."""
    halves = {"--batch": settings.batch // 2, "--channels": (settings.channels or 0) // 2}
    recompute = () if settings.recompute else ("--recompute",)
    return *(f"{option} {half}" for option, half in halves.items() if half), *recompute


def _of_machine(root: Path) -> Iterator[int]:
    for line in _read(root / "proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            yield int(line.split()[1]) * 1024
            return
    pages = {"SC_AVPHYS_PAGES", "SC_PAGE_SIZE"}
    if pages <= set(getattr(os, "sysconf_names", ())):
        yield os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _of_groups(root: Path) -> Iterator[int]:
    """The bytes that each control group above this process has left, by the limits of version 1 or 2."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        base = root / "sys/fs/cgroup"
        names = ("memory.max", "memory.current", "inactive_file")
        if controllers:
            if "memory" not in controllers.split(","):
                continue
            base = base / "memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        # In a container, the path is often that on the machine outside, and the group itself is at the top.
        parts = [part for part in path.split("/") if part and part != ".."]
        for depth in range(len(parts) + 1):
            yield from _left(base.joinpath(*parts[:depth]), *names)


def _left(group: Path, limit: str, used: str, reclaimable: str) -> Iterator[int]:
    most, now = _read(group / limit).strip(), _read(group / used).strip()
    # Version 1 writes "no limit" as a number near 2**63.
    if not most.isdigit() or int(most) >= 1 << 60:
        return
    cached = [line.split()[1] for line in _read(group / "memory.stat").splitlines() if line.startswith(reclaimable)]
    yield int(most) - int(now or 0) + sum(map(int, cached))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def tensors(nested: Any) -> list[Tensor]:
    """All tensors in nested lists, tuples and mappings."""
    return [leaf for leaf in _leaves(nested) if isinstance(leaf, Tensor)]


class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A context that counts the bytes of all live tensors, after every operation of PyTorch.

    It does not see the scratch memory within an operation, or the memory that an allocator wastes.

    Args:
        held: tensors that exist before, and are counted too.

    Attributes:
        curve: the bytes of live tensors after each operation.

    >>> held = torch.zeros(4)
    >>> with Watch([held]) as watch:
    ...     x = torch.ones(8)
    ...     x = x + 1
    >>> [count - 16 for count in watch.curve]
    [32, 64]
    """

    def __init__(self, held: Iterable[Tensor] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.alive: set[int] = set()
        self.bytes = 0
        self.curve: list[int] = []
        for tensor in held:
            self._see(tensor)

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """The result of the operation, whose tensors are counted."""
        result = func(*args, **(kwargs or {}))
        for tensor in tensors(result):
            self._see(tensor)
        self.curve.append(self.bytes)
        return result

    def _see(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self.alive:
            self.alive.add(key)
            self.bytes += size
            weakref.finalize(storage, self._forget, key, size).atexit = False

    def _forget(self, key: int, size: int) -> None:
        self.alive.discard(key)
        self.bytes -= size


def refuse_hopeless(what: str, net: Least, batch: int, place: torch.device, **kept: Any) -> None:
    """Refuse to train a net that cannot fit into memory, before it is built.

    Args:
        what: "search" or "evaluation", for the message.
        net: the least that training it keeps.
        batch: the least number of pictures in a step.
        place: the device that would train the net.
        kept: the other arguments of ``Least.bytes``.

    Raises:
        ValueError: with the least memory that training takes, and the memory that is available.
    """
    free = available(place)
    if free is not None and (needed := net.bytes(batch, **kept)) > free:
        raise ValueError(
            f"this {what} takes at least {in_gigabytes(needed)} of memory with {batch} pictures a step, and "
            f"{in_gigabytes(free)} can be had on {place}. Lower --channels, --depth, --batch or --size."
        )


def in_gigabytes(count: float) -> str:
    """A number of bytes as text.

    >>> in_gigabytes(3 * 2**30), in_gigabytes(5 * 2**20)
    ('3.0 GiB', '5 MiB')
    """
    return f"{count / 2**30:.1f} GiB" if count >= 2**29 else f"{count / 2**20:.0f} MiB"


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """How much memory a step takes, as a function of its batch.

    Attributes:
        lines: for each moment of a step, the bytes that do not depend on the batch, and the bytes for each picture.
        overhead: the memory that the allocator takes from the system, divided by the bytes of all tensors.
    """

    lines: tuple[tuple[float, float], ...]
    overhead: float = 1.0

    @classmethod
    def between(cls, fewer: Sequence[int], more: Sequence[int], batches: tuple[int, int], overhead: float) -> Footprint:
        """The footprint that follows from two steps that differ only in their batch.

        Args:
            fewer, more: the curves of a :class:`Watch` in a step with fewer and in one with more pictures.
            batches: how many pictures these steps have.
            overhead: see the attribute.

        >>> step = Footprint.between([20, 14, 8], [30, 24, 8], (2, 4), 1.0)
        >>> step.at(10), step.largest(110)
        (60, 20)
        """
        if len(fewer) != len(more):
            fewer, more = [max(fewer)], [max(more)]
        small, large = batches
        slopes = [(b - a) / (large - small) for a, b in zip(fewer, more, strict=True)]
        return cls(
            lines=tuple({(a - slope * small, slope) for a, slope in zip(fewer, slopes, strict=True)}),
            overhead=overhead,
        )

    def at(self, batch: int) -> int:
        """The most bytes that a step with ``batch`` pictures holds at once."""
        return round(self.overhead * max(fixed + batch * each for fixed, each in self.lines))

    def largest(self, limit: int) -> int:
        """The largest batch whose step fits into ``limit`` bytes; 0 if none does."""
        room = limit / self.overhead
        if any(fixed > room for fixed, _ in self.lines):
            return 0
        return int(min((room - fixed) / each for fixed, each in self.lines if each > 0))
