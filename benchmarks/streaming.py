"""Read many small pictures from disk, as files and as shards: memory over an epoch, and pictures a second.

    python benchmarks/streaming.py --pictures 200000

The pictures are 32x32 noise in PNG, which is written first. "PIL alone" opens the same files in the same order, with as
many threads, and does nothing else. Memory is that of the process (resident), at ten places of the second epoch. CPU
time is that of all threads; other work on the machine changes it least.
"""

from __future__ import annotations

import argparse
import io
import resource
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from common import machine
from PIL import Image

from diffnas.data import DataSet, Files, fetched, load

SIDE, CLASSES, BATCH, SHARD, THREADS = 32, 10, 64, 10_000, 8


def main() -> None:
    """Write the pictures, read them, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=200_000)
    given = parser.parse_args()
    print(machine())
    print(f"{given.pictures:,} pictures of {SIDE}x{SIDE} pixels, of which four fifths are one epoch")
    print()
    print("| from | seconds to begin | pictures/s, CPU time of each | PIL alone | memory in MiB, along an epoch |")
    print("|---|---|---|---|---|")
    for write in (write_files, write_shards):
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), given.pictures)
            print(row(Path(folder), "files" if write is write_files else "shards"), flush=True)


def pictures(count: int) -> Iterator[bytes]:
    """So many pictures of noise."""
    drawn = np.random.default_rng(0)
    for _ in range(count):
        made = io.BytesIO()
        Image.fromarray(drawn.integers(0, 256, (SIDE, SIDE, 3), np.uint8)).save(made, "PNG", compress_level=1)
        yield made.getvalue()


def write_files(folder: Path, count: int) -> None:
    """A folder of class folders."""
    for label in range(CLASSES):
        (folder / str(label)).mkdir()
    for number, content in enumerate(pictures(count)):
        (folder / str(number % CLASSES) / f"{number:07}.png").write_bytes(content)


def write_shards(folder: Path, count: int) -> None:
    """A folder of shards."""
    every = enumerate(pictures(count))
    for first in range(0, count, SHARD):
        with tarfile.open(folder / f"{first:07}.tar", "w") as tar:
            for number, content in (next(every) for _ in range(min(SHARD, count - first))):
                for suffix, part in (("png", content), ("cls", str(number % CLASSES).encode())):
                    member = tarfile.TarInfo(f"{number:07}.{suffix}")
                    member.size = len(part)
                    tar.addfile(member, io.BytesIO(part))


def row(folder: Path, kind: str) -> str:
    """A line of the table."""
    begun = time.perf_counter()
    data = load(folder, stream=True)
    loaded = time.perf_counter() - begun
    read_epoch(data, 0)  # files are in the system's cache from now on
    memory: list[int] = []
    speed = timed(lambda: memory.extend(read_epoch(data, 1)), len(data.train))
    alone = timed(lambda: pil_alone(folder), len(data.train)) if kind == "files" else "-"
    return f"| {kind} | {loaded:.0f} | {speed} | {alone} | {', '.join(map(str, memory))} |"


def timed(read: Callable[[], None], count: int) -> str:
    """How fast ``count`` pictures are read."""
    begun, computed = time.perf_counter(), time.process_time()
    read()
    wall, cpu = time.perf_counter() - begun, time.process_time() - computed
    return f"{count / wall:,.0f}, {1e6 * cpu / count:.0f} us"


def read_epoch(data: DataSet, seed: int) -> list[int]:
    """The memory along an epoch of batches."""
    assert isinstance(data.train, Files)
    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(seed))
    chunks = torch.split(order, BATCH)
    often, memory = max(1, len(chunks) // 10), []
    for step, _ in enumerate(fetched(data.train, chunks, "cpu")):
        if step % often == often - 1:
            memory.append(resident())
    return memory


def resident() -> int:
    """The memory of this process in MiB: as it is where /proc says so, else its peak."""
    told = Path("/proc/self/statm")
    if told.exists():
        return int(told.read_text().split()[1]) * resource.getpagesize() // 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**10


def pil_alone(folder: Path) -> None:
    """Have Pillow alone open four fifths of the files, in random order and in as many threads."""
    paths = sorted(folder.rglob("*.png"))
    order = np.random.default_rng(0).permutation(len(paths))[: len(paths) * 4 // 5]

    def read(first: int) -> None:
        for number in order[first::THREADS]:
            with Image.open(paths[number]) as image:
                np.array(image.convert("RGB"))

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(read, range(THREADS)))


if __name__ == "__main__":
    main()
