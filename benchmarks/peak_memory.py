"""Measure the most memory that steps of a single-level search take, each way in a process of its own.

    python benchmarks/peak_memory.py --space darts --batch 64 --threads 2

What Python, torch, compiled kernels and the weights hold before the first step is taken off.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys

import torch
from common import machine
from steps import WAYS, contender, settings_of, survivors

from diffnas.space import SPACES


def peak() -> int:
    """The most memory this process has held so far, in bytes."""
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024


def taken(options: argparse.Namespace) -> int:
    """Bytes that the steps of one way took, at most, beside what was there before."""
    space = SPACES[options.space]
    settings = settings_of(space, batch=options.batch, channels=options.channels, cells=options.cells)
    keep = survivors(space, str(len(space.ops)) if options.left == "all" else options.left)
    # Compilers and libraries that a first step loads are not what a step takes.
    small = settings_of(space, batch=2, channels=2, cells=5)
    contender(options.way, space, small, keep, size=8).step()
    one = contender(options.way, space, settings, keep)
    before = peak()
    for _ in range(options.steps):
        one.step()
    return peak() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", choices=("darts", "nas-bench-201"), default="darts")
    parser.add_argument("--channels", type=int, help="of the first cell; the space's own by default")
    parser.add_argument("--cells", type=int, help="the space's own number by default")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--left", default="all", help="operations left on an edge, or late, or all")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--way", choices=WAYS, help="measure this one only, and print bytes")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.way:
        print(taken(options))
        return
    print(
        f"# Peak memory of a search step: {options.space}, batch {options.batch}, {options.left} left\n\n{machine()}\n"
    )
    print("| contender | MiB | share of plain NCHW |\n| --- | --- | --- |")
    reference = None
    for way in WAYS:
        command = [sys.executable, *sys.argv, "--way", way]
        size = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        reference = reference or size
        print(f"| {way} | {size / 2**20:,.0f} | {size / reference:.2f} |", flush=True)


if __name__ == "__main__":
    main()
