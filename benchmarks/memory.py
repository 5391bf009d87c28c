"""How much memory a step of a single-level search takes: what it holds at its peak, above what the process had before.

Every contender runs in a process of its own, so that none finds the memory of another. The estimate is what
`diffnas search --dry-run` says before it starts.

    python benchmarks/memory.py
    python benchmarks/memory.py --space nas-bench-201 --cells 17 --batch 64
    python benchmarks/memory.py --survivors 2 --threads 2
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
from common import machine
from steps import Way, contender, settings_of, survivors

from diffnas.data import from_tensors
from diffnas.engine.common import peak_memory
from diffnas.engine.cost import footprint, in_gigabytes
from diffnas.engine.search import trial
from diffnas.lookup import lookup
from diffnas.method import METHODS
from diffnas.space import SPACES

# How the supernet goes forward (None: as a search does by itself), and whether it recomputes.
CONTENDERS: dict[str, tuple[Way | None, bool]] = {
    "plain NCHW": ("plain NCHW", False),
    "plain NCHW, recomputing": ("plain NCHW", True),
    "as searched": (None, False),
    "as searched, recomputing": (None, True),
}
REFERENCE = "plain NCHW"


def main() -> None:
    """Measure the contenders one after the other, or one of them in this process."""
    options = parser().parse_args()
    if options.measure:
        print(*measured(options))
        return
    rows = {name: [float(word) for word in in_its_own_process(name).split()] for name in CONTENDERS}
    print(f"{machine()}\n- {options}\n")
    print("| contender | peak | share of plain NCHW | seconds a step | times plain NCHW's | estimate / measured |")
    print("| --- | --- | --- | --- | --- | --- |")
    most, slowest, _ = rows[REFERENCE]
    for name, (peak, seconds, estimate) in rows.items():
        told = f"{estimate / peak:.2f}" if estimate else ""
        print(
            f"| {name} | {in_gigabytes(peak)} | {peak / most:.2f} | {seconds:.2f} | {seconds / slowest:.2f} | {told} |"
        )


def parser() -> argparse.ArgumentParser:
    """The sizes of a step."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--space", default="darts")
    made.add_argument("--channels", type=int, default=16)
    made.add_argument("--cells", type=int, default=8)
    made.add_argument("--batch", type=int, default=16)
    made.add_argument("--size", type=int, default=32)
    made.add_argument("--survivors", default="8", help="operations left on an edge, or late")
    made.add_argument("--threads", type=int, default=1)
    made.add_argument("--measure", choices=CONTENDERS, help=argparse.SUPPRESS)
    return made


def in_its_own_process(name: str) -> str:
    """What this script prints when it measures one contender."""
    command = [sys.executable, __file__, *sys.argv[1:], "--measure", name]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def measured(options: argparse.Namespace) -> tuple[int, float, int]:
    """Peak in bytes, seconds of a step after the first, and the estimate where there is one (0 where not)."""
    torch.set_num_threads(options.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    make(options, device, batch=2, channels=4)()  # libraries and compiled kernels, which every process has once
    before = held(device)
    step = make(options, device, batch=options.batch, channels=options.channels)
    step()
    begun = time.perf_counter()
    step()
    seconds = time.perf_counter() - begun
    # The most this process ever had: the first, small step had less.
    peak = peak_memory(torch.device(device)) - before
    return peak, seconds, estimated(options, device)


def make(options: argparse.Namespace, device: str, *, batch: int, channels: int) -> Callable[[], None]:
    """The step of the contender that is asked for."""
    way, recompute = CONTENDERS[options.measure]
    if way is None:
        return trial(**search(options, device, batch=batch, channels=channels)).step
    space = lookup("space", options.space, SPACES)
    settings = settings_of(space, batch=batch, channels=channels, cells=options.cells)
    made = contender(way, space, settings, left(options), size=options.size, device=device)
    made.state.supernet.recompute = recompute
    return made.step


def search(options: argparse.Namespace, device: str, *, batch: int, channels: int) -> dict[str, Any]:
    """The search whose steps are measured."""
    space = lookup("space", options.space, SPACES)
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
    """Which operations are still in play."""
    return survivors(lookup("space", options.space, SPACES), options.survivors)


def held(device: str) -> int:
    """The memory of this process now, in bytes."""
    if device == "cuda":
        return torch.cuda.memory_allocated()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def estimated(options: argparse.Namespace, device: str) -> int:
    """What a dry run of the same search says."""
    if CONTENDERS[options.measure][0] is not None:
        return 0
    asked = search(options, device, batch=options.batch, channels=options.channels)
    return footprint(**asked).at(options.batch)


if __name__ == "__main__":
    main()
