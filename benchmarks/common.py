"""What the benchmarks share: a description of the machine, a timer that runs contenders in turn, a table."""

from __future__ import annotations

import argparse
import gc
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from diffnas.engine.devices import keep_freed_memory

Contenders = Mapping[str, Callable[[], object]]

# Instruction sets that decide how fast a CPU computes.
TELLING = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_tile", "asimd", "sve")


def machine() -> str:
    """The machine in a few lines: what a reader needs to compare numbers."""
    facts = {
        "CPU": f"{_cpuinfo('model name') or platform.processor() or platform.machine()}, "
        f"{len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} cores to use",
        "instruction sets": ", ".join(name for name in TELLING if name in _cpuinfo("flags").split()) or "unknown",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "load when it began": " ".join(f"{load:.1f}" for load in os.getloadavg()),
        "versions": ", ".join(f"{name} {_version(name)}" for name in ("torch", "numba", "numpy", "diffnas"))
        + f", Python {platform.python_version()}",
        "torch threads": f"{torch.get_num_threads()}, OMP_WAIT_POLICY={os.environ.get('OMP_WAIT_POLICY', 'unset')}",
    }
    if torch.cuda.is_available():
        facts["GPU"] = torch.cuda.get_device_name()
    return "\n".join(f"- {name}: {fact}" for name, fact in facts.items())


def _cpuinfo(entry: str) -> str:
    """The first entry of that name in Linux' description of the processor; empty elsewhere."""
    path = Path("/proc/cpuinfo")
    for line in path.read_text().splitlines() if path.exists() else ():
        if line.startswith(entry):
            return line.partition(":")[2].strip()
    return ""


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def add_allocator(parser: argparse.ArgumentParser) -> None:
    """Add the option that says where freed memory goes; a process has one setting, so all its contenders share it."""
    parser.add_argument(
        "--allocator",
        choices=("kept", "default"),
        default="kept",
        help="kept: freed memory stays with the process, as in a search; default: it goes back to the system",
    )


def allocate(how: str) -> str:
    """A line that says where freed memory goes, after setting it for this process."""
    if how == "kept":
        keep_freed_memory()
    return f"- freed memory: {'kept by the process' if how == 'kept' else 'as the C library has it'}"


def interleaved(
    contenders: Contenders, *, rounds: int, warm_up: int = 1, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of every contender in every round; in a round each contender runs once, one after the other.

    So other work on the machine slows all contenders alike, and ratios within a round stay valid. With one thread,
    ``time.process_time`` does not count the work of other processes; that matters for turns of a few milliseconds.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(warm_up + rounds):
        for name, run in contenders.items():
            gc.collect()
            begun = clock()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn >= warm_up:
                seconds[name].append(clock() - begun)
    return seconds


def ratios(seconds: Mapping[str, Sequence[float]], name: str, reference: str) -> list[float]:
    """How many times as fast a contender was as the reference, round by round."""
    return [slow / fast for slow, fast in zip(seconds[reference], seconds[name], strict=True)]


def spread(values: Sequence[float]) -> str:
    """The median, with the least and the most in parentheses.

    >>> spread([1.0, 4.0, 2.0])
    '2.00 (1.00 to 4.00)'
    """
    digits = 2 if median(values) < 20 else 1
    return f"{median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def table(
    seconds: Mapping[str, Sequence[float]], references: Sequence[str], extra: Mapping[str, Sequence[str]] | None = None
) -> str:
    """A Markdown table: each contender's seconds, and how many times as fast it is as each reference.

    Args:
        seconds: what ``interleaved`` measured.
        references: the contenders that the others are compared with, a column each.
        extra: further columns, an entry for each contender.
    """
    extra = extra or {}
    rounds = len(next(iter(seconds.values())))
    rows = [["contender", *extra, "seconds", *(f"times as fast as {name}" for name in references)]]
    rows.append(["---"] * len(rows[0]))
    for place, name in enumerate(seconds):
        more = (column[place] for column in extra.values())
        compared = (spread(ratios(seconds, name, reference)) for reference in references)
        rows.append([name, *more, f"{median(seconds[name]):.4g}", *compared])
    lines = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"{lines}\n\nMedian (least to most) of {rounds} rounds, contenders in turn within a round."


@torch.no_grad()
def difference(mine: Sequence[Tensor], reference: Sequence[Tensor]) -> float:
    """The relative distance of gradients from a reference: the norm of the difference over the reference's norm."""
    far = sum(float((a - b).double().square().sum()) for a, b in zip(mine, reference, strict=True))
    # With one operation on every edge, alpha's gradient is zero.
    size = sum(float(b.double().square().sum()) for b in reference) or 1.0
    return float((far / size) ** 0.5)
