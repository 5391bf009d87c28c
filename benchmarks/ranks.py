"""Time the steps of a search in two processes of one thread, and in one process of two threads.

    python benchmarks/ranks.py --space nas-bench-201 --channels 16 --depth 17 --batch 64 --epochs 2

The script runs itself: once in one process, once in two. Both search with the same settings; the seconds of a step are
those of the last epoch of the trace, so that the first one may find kernels and memory.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from common import machine, table

import diffnas
from diffnas.space import SPACES

WAYS = {"1 process, 2 threads": (1, 2), "2 processes, 1 thread": (2, 1)}


def search(given: argparse.Namespace) -> None:
    """Search as one of the ways; of several processes, each one runs this."""
    diffnas.search(
        diffnas.from_tensors(pictures(given.pictures), pictures(10), name="random"),
        space=given.space,
        method=given.method,
        out=given.out,
        devices=given.devices,
        threads=given.threads,
        epochs=given.epochs,
        batch=given.batch,
        channels=given.channels,
        depth=given.depth,
        backend=given.backend,
        check_memory=False,
        device="cpu",
    )


def pictures(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random pictures of the size of CIFAR's, and labels."""
    drawn = torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return drawn, torch.arange(count) % 10


def seconds_a_step(out: Path) -> float:
    """Those of the last epoch in a run folder."""
    last = json.loads((out / "trace.jsonl").read_text().splitlines()[-1])
    return float(last["seconds"]) / int(last["steps"])


def main() -> None:
    """Run all ways in turn and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", choices=SPACES, default="nas-bench-201")
    parser.add_argument("--method", default="darts")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--depth", type=int, default=17)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--pictures", type=int, default=640)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--devices", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.out:
        search(given)
        return
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(given.rounds):
            for way, (devices, threads) in WAYS.items():
                out = Path(folder) / f"{devices}-{number}"
                own = ["--devices", str(devices), "--threads", str(threads), "--out", str(out)]
                subprocess.run([sys.executable, *sys.argv, *own], check=True)
                found[way].append(seconds_a_step(out))
    print(machine())
    print(table(found, list(WAYS)[:1]))


if __name__ == "__main__":
    main()
