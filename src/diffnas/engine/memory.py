"""Memory: how much there is, and how much a step takes as its batch grows."""

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

from diffnas.data import DataSet
from diffnas.engine.listen import OutOfMemory
from diffnas.engine.settings import EvaluateSettings, SearchSettings
from diffnas.nets.least import Outline
from diffnas.run_folder import standing

# A function that comes without types.
_leaves: Callable[[Any], list[Any]] = tree_leaves

# What PyTorch, oneDNN and Python say when there is no memory left.
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

    On a CPU that is what the system could hand out, or what the limits of the control groups leave if that is less.

    Args:
        device: where a run would compute.
        root: where ``proc`` and ``sys`` are.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # What torch holds and does not use is as good as free.
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    known = [*_of_machine(root), *_of_groups(root)]
    return max(0, min(known)) if known else None


def ran_out(error: BaseException) -> bool:
    """Whether an error, or one that led to it, says that there was no memory left."""
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
    # Python itself raises a SystemError where native code found no memory and did not say so.
    return isinstance(error, RuntimeError | SystemError) and any(words in str(error) for words in _FULL)


@contextmanager
def within_memory(settings: SearchSettings | EvaluateSettings, out: Path | None) -> Iterator[None]:
    """Inside, every error that says that memory ran out is an ``OutOfMemory`` of the run in ``out``.

    Raises:
        OutOfMemory: with what is left of the run, and options that need less.
    """
    try:
        yield
    except Exception as error:
        if not ran_out(error):
            raise
        raise OutOfMemory(standing(out), _leaner(settings)) from None


def _leaner(settings: SearchSettings | EvaluateSettings) -> tuple[str, ...]:
    """Options that need less memory than ``settings``, found without measuring."""
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
    """What each control group above this process has left: limits of version 2 and of version 1."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        base = root / "sys/fs/cgroup"
        names = ("memory.max", "memory.current", "inactive_file")
        if controllers:
            if "memory" not in controllers.split(","):
                continue
            base = base / "memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        # In a container the path is often one of the machine outside, and the group itself lies at the top.
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
    """The tensors in nested lists, tuples and mappings."""
    return [leaf for leaf in _leaves(nested) if isinstance(leaf, Tensor)]


class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Inside, counts the bytes of all tensors that are alive, after every operation of PyTorch.

    What kernels use within one operation is not seen, nor what an allocator wastes.

    Args:
        held: tensors that exist already and count too.

    Attributes:
        curve: bytes alive after each operation.

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
        """Do the operation, and count."""
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


def refuse_hopeless(what: str, outline: Outline, data: DataSet, batch: int, place: torch.device, **kept: bool) -> None:
    """Refuse to train a net that cannot fit whatever is done, before any of it is built.

    Args:
        what: "search" or "evaluation", for the message.
        outline: the net.
        data: the pictures.
        batch: how many of them a step takes, at the least.
        place: where it would train.
        kept: see ``least``.

    Raises:
        ValueError: with the least that it takes, and what is available.
    """
    free = available(place)
    if free is not None and (needed := least(outline, data.size, batch, **kept)) > free:
        raise ValueError(
            f"this {what} takes {in_gigabytes(needed)} of memory at the very least, with {batch} pictures a step, and "
            f"{in_gigabytes(free)} can be had on {place}. Ask for less: --channels, --depth, --batch or --size."
        )


def least(
    outline: Outline,
    size: tuple[int, int],
    batch: int,
    *,
    momentum: bool = True,
    inside: bool = True,
    half: bool = False,
) -> int:
    """A number of bytes that training a net takes at the very least: its weights, and what a step keeps of its maps.

    Args:
        outline: the net.
        size: height and width of a picture.
        batch: pictures a step.
        momentum: whether each weight has a momentum beside it.
        inside: whether a step keeps anything of the inside of cells.
        half: whether maps are in half precision.
    """
    maps = batch * outline.maps(size, inside=inside)
    return 4 * outline.weights() * (1 + momentum) + (2 if half else 4) * maps


def in_gigabytes(count: float) -> str:
    """Bytes in words.

    >>> in_gigabytes(3 * 2**30), in_gigabytes(5 * 2**20)
    ('3.0 GiB', '5 MiB')
    """
    return f"{count / 2**30:.1f} GiB" if count >= 2**29 else f"{count / 2**20:.0f} MiB"


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """How much memory a step takes, as a function of its batch.

    Attributes:
        lines: bytes at the moments of a step: what does not depend on the batch, and what comes with each picture.
        overhead: how many times that an allocator takes from the system.
    """

    lines: tuple[tuple[float, float], ...]
    overhead: float = 1.0

    @classmethod
    def between(cls, fewer: Sequence[int], more: Sequence[int], batches: tuple[int, int], overhead: float) -> Footprint:
        """From what :class:`Watch` saw of two steps that differ in their batch alone.

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
        """The most bytes that a step with so many pictures holds at once."""
        return round(self.overhead * max(fixed + batch * each for fixed, each in self.lines))

    def largest(self, limit: int) -> int:
        """The largest batch whose step fits into ``limit`` bytes; 0 if none does."""
        room = limit / self.overhead
        if any(fixed > room for fixed, _ in self.lines):
            return 0
        return int(min((room - fixed) / each for fixed, each in self.lines if each > 0))
