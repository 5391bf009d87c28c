"""Measure the most memory that a step of a single-level search takes, above the memory of its process before it.

    python benchmarks/memory.py --space darts --batch 64 --threads 2
    python benchmarks/memory.py --survivors 2

- plain NCHW, plain channels_last: one module for each edge and operation, stock kernels, as in ``supernet_step.py``.
- as searched: what ``diffnas search`` runs; recomputing: with ``--recompute``.

Every contender runs in a process of its own, so that none can reuse another's memory. The estimate is that of ``diffnas
search --dry-run``. It predicts the memory of a process that keeps freed memory, as a search does
(``--allocator kept``).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from common import add_allocator, allocate, machine
from steps import Way, add_sizes, contender, settings_of, survivors

from diffnas.data import from_tensors
from diffnas.engine.cost import Prospect, footprint, in_gigabytes
from diffnas.engine.devices import peak_memory
from diffnas.engine.trial import trial
from diffnas.method import METHODS
from diffnas.space import SPACES

# The way in which the supernet is computed (None: the way of a search), and whether it recomputes.
CONTENDERS: dict[str, tuple[Way | None, bool]] = {
    "plain NCHW": ("plain NCHW", False),
    "plain channels_last": ("plain channels_last", False),
    "plain NCHW, recomputing": ("plain NCHW", True),
    "as searched": (None, False),
    "as searched, recomputing": (None, True),
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_sizes(parser, batch=16, threads=1)
    parser.add_argument("--survivors", default="all", help="operations left on an edge, or late, or all")
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS), metavar="CONTENDER")
    parser.add_argument("--steps", type=int, default=3, help="of each contender")
    parser.add_argument("--measure", choices=CONTENDERS, help="measure this one only, and print numbers")
    add_allocator(parser)
    return parser.parse_args()


def measured(options: argparse.Namespace) -> tuple[int, float, int]:
    """Peak in bytes, seconds of the last step, and the estimate in bytes; 0 if there is no estimate."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    make(options, device, batch=2, channels=4)()  # loads libraries and compiles kernels, once for each process
    before = memory_now(device)
    step = make(options, device, batch=options.batch, channels=options.channels)
    seconds = 0.0
    for _ in range(options.steps):
        begun = time.perf_counter()
        step()
        seconds = time.perf_counter() - begun
    # The most this process ever had: the first, small step had less.
    peak = peak_memory(torch.device(device)) - before
    return peak, seconds, estimated(options, device)


def make(options: argparse.Namespace, device: str, *, batch: int, channels: int | None) -> Callable[[], None]:
    """The step function of the contender that ``--measure`` names."""
    way, recompute = CONTENDERS[options.measure]
    if way is None:
        return trial(**search(options, device, batch=batch, channels=channels)).step
    space = SPACES[options.space]
    settings = settings_of(space, batch=batch, channels=channels, cells=options.cells)
    made = contender(way, space, settings, left(options), size=options.size, device=device)
    made.state.supernet.recompute = recompute
    return made.step


def search(options: argparse.Namespace, device: str, *, batch: int, channels: int | None) -> dict[str, Any]:
    """The arguments of the search whose steps are measured."""
    space = SPACES[options.space]
    pictures = torch.randint(256, (max(10, batch), 3, options.size, options.size), dtype=torch.uint8)
    split = pictures, torch.arange(len(pictures)) % 10
    settings = settings_of(space, batch=batch, channels=channels, cells=options.cells)
    return {
        "data": from_tensors(split, split),
        "space": space,
        "method": METHODS["single-level"],
        "settings": replace(settings, recompute=CONTENDERS[options.measure][1]),
        "device": device,
        "keep": left(options),
    }


def left(options: argparse.Namespace) -> torch.Tensor:
    """Which operations are still in play, ``(edges, ops)``, bool."""
    return survivors(SPACES[options.space], options.survivors)


def memory_now(device: str) -> int:
    """The memory that this process has now, in bytes."""
    if device == "cuda":
        return torch.cuda.memory_allocated()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def estimated(options: argparse.Namespace, device: str) -> int:
    """The estimate of a dry run of the same search, in bytes; 0 for a plain way, which has none."""
    if CONTENDERS[options.measure][0] is not None:
        return 0
    asked = search(options, device, batch=options.batch, channels=options.channels)
    return footprint(Prospect(**asked)).at(options.batch)


def in_its_own_process(name: str) -> tuple[float, float, float]:
    """Peak, seconds and estimate of one contender, which this script measures in a new process."""
    command = [sys.executable, *sys.argv, "--measure", name]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    peak, seconds, estimate = map(float, done.stdout.split())
    return peak, seconds, estimate


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    said = allocate(options.allocator)
    if options.measure:
        print(*measured(options))
        return
    settings = settings_of(SPACES[options.space], batch=options.batch, channels=options.channels, cells=options.cells)
    print(f"# Memory of a search step: {options.space}, {settings.channels} channels, {settings.depth} cells, ", end="")
    print(f"{options.size}x{options.size} pictures, batch {options.batch}, survivors: {options.survivors}")
    print(f"\n{machine()}\n{said}\n")
    first = options.contenders[0]
    print(f"| contender | peak | share of {first}'s | seconds a step | estimate / measured |\n{'| --- ' * 5}|")
    most = None
    for name in options.contenders:
        peak, seconds, estimate = in_its_own_process(name)
        most = most or peak
        told = f"{estimate / peak:.2f}" if estimate else ""
        print(f"| {name} | {in_gigabytes(peak)} | {peak / most:.2f} | {seconds:.2f} | {told} |", flush=True)


if __name__ == "__main__":
    main()
