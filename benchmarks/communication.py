"""What the processes of a run send in a step, counted, and what that would take on 8 and on 64 GPUs, computed.

    python benchmarks/communication.py

The script runs itself in two processes for each case, as a search of published size on tiny pictures, and counts what
they send: neither the size of pictures nor that of a batch changes it. The rest is arithmetic on stated assumptions,
``LINKS`` and ``seconds``, and nothing of it is measured.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from common import machine
from torch import Tensor

import diffnas
from diffnas.engine.listen import Silent

STEPS, BATCH, LARGE = 2, 4, 1024
PICTURES, EACH = 64, 8
"""The pictures of the steps whose seconds are known, and the pictures that each GPU has in the tables."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A method in a space, and how long a step of it takes on one GPU.

    Attributes:
        method, space: their names.
        step: seconds of a step of 64 pictures of 32x32 on one H100; see "On a GPU" in README.md.
    """

    method: str
    space: str
    step: float


CASES = (
    Case(method="sparse", space="darts", step=0.161),
    Case(method="darts", space="darts", step=0.222),
    # Its step makes about five passes in place of two. NAS-Bench-201's is by the times of its supernet, 29 to 112 ms.
    Case(method="darts-2nd", space="darts", step=0.555),
    Case(method="sparse", space="nas-bench-201", step=0.042),
    Case(method="darts", space="nas-bench-201", step=0.058),
)

# Bytes a second in each direction from each GPU, and seconds of one message between two of them.
LINKS = {"NVLink, 450 GB/s": (450e9, 5e-6), "400 Gbit/s": (50e9, 10e-6), "100 Gbit/s": (12.5e9, 20e-6)}
LINKS |= {"10 Gbit/s": (1.25e9, 50e-6)}
SIGNAL = 50e-6
"""Seconds of a message of a few bytes between two hosts, by TCP."""


def main() -> None:
    """Count, compute, and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, nargs="+", choices=range(len(CASES)), default=range(len(CASES)))
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.count is not None:
        count(CASES[given.count])
        return
    print(machine())
    print()
    print("| method | space | sent in a step | large messages | small messages |")
    print("|---|---|---|---|---|")
    sent = {CASES[number]: counted(number) for number in given.cases}
    for case, (size, large, small) in sent.items():
        print(f"| {case.method} | {case.space} | {size / 1e6:.2f} MB | {large} | {small} |")
    print()
    head = "8 GPUs: sending, of the step | times as fast | 64 GPUs: sending, of the step | times as fast"
    print(f"| method | space | link | {head} | pictures a GPU at which 64 send for half of a step |")
    print("|---|---|---|---|---|---|---|---|")
    for case, messages in sent.items():
        for link in LINKS:
            cells = " | ".join(" | ".join(gain(case, seconds(*messages, link, gpus), gpus)) for gpus in (8, 64))
            half = seconds(*messages, link, 64) / case.step * PICTURES
            print(f"| {case.method} | {case.space} | {link} | {cells} | {half:.1f} |")


def gain(case: Case, sending: float, gpus: int) -> tuple[str, str]:
    """How long a step sends if each GPU has ``EACH`` pictures, and how many times as fast it is as on one GPU."""
    computing = case.step * EACH / PICTURES
    alone = computing * gpus
    return f"{1e3 * sending:.1f} ms, {sending / (sending + computing):.0%}", f"{alone / (sending + computing):.1f}"


def seconds(size: int, large: int, small: int, link: str, gpus: int) -> float:
    """How long a step sends: by a ring for the large messages, and by a tree, forward and backward, for the small ones.

    Args:
        size: bytes of the large messages together.
        large, small: how many of them there are.
        link: its name.
        gpus: how many GPUs there are.
    """
    speed, latency = LINKS[link]
    ring = 2 * (gpus - 1)
    return size * ring / gpus / speed + large * ring * latency + small * 2 * (gpus - 1).bit_length() * SIGNAL


def counted(number: int) -> tuple[int, int, int]:
    """Bytes, large messages and small messages of a step of a case."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--count", str(number)]
        done = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True)
        sizes = json.loads(done.stdout.splitlines()[-1])
    large = [size for size in sizes if size >= LARGE]
    return sum(large), len(large), len(sizes) - len(large)


def count(case: Case) -> None:
    """Search in two processes, and print the bytes of each message in the last step of the first one."""
    sizes: list[int] = []
    marks: list[int] = []
    listener = Silent()
    listener.step = lambda loss, metrics: marks.append(len(sizes))
    reduce = dist.all_reduce

    def noted(tensor: Tensor, *arguments: Any, **named: Any) -> Any:
        sizes.append(tensor.numel() * tensor.element_size())
        return reduce(tensor, *arguments, **named)

    dist.all_reduce = noted
    halved = 2 if case.method.startswith("darts") else 1
    pictures = torch.randint(256, (STEPS * BATCH * halved, 3, 8, 8), dtype=torch.uint8)
    split = pictures, torch.arange(len(pictures)) % 2
    diffnas.search(
        diffnas.from_tensors(split, split, name="noise"),
        space=case.space,
        method=case.method,
        devices=2,
        threads=1,
        epochs=1,
        batch=BATCH,
        check_memory=False,
        device="cpu",
        listener=listener,
    )
    if marks:  # only the first process hears
        print(json.dumps(sizes[marks[-2] : marks[-1]]))


if __name__ == "__main__":
    main()
