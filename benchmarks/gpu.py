"""Measure all that is asked of a GPU in one visit of ten minutes: correctness first, then steps, epochs and evaluation.

    python benchmarks/gpu.py --out visit.jsonl
    python benchmarks/gpu.py --rehearse

Every result is a line of JSON, written as soon as it is known, so that a visit cut short keeps what it had. Each part
runs in a process of its own with a time limit: a kernel that hangs, or that writes where it must not, ends its part
alone. A part that fails leaves a line with the reason, and the next one begins. ``--rehearse`` runs all parts on a CPU,
at sizes that measure nothing. The parts, in order:

- machine: the GPU, versions, and the rate at which it copies memory.
- correct: values and gradients of both supernets against float64, next to those of stock modules.
- steps: a step of a search, replayed from CUDA graphs: both spaces, stock modules and ours, in float32, TF32 and bf16.
- alone: the same step, launched one by one.
- pruned: a step with fewer operations left on an edge, and the seconds to capture its graphs.
- kernels: which kernels take the time of ten steps, and the share of the time in which the GPU computes nothing.
- epoch: an epoch of ``sparse`` and one of ``darts`` on 50,000 random pictures: seconds, and the host's CPU time a step.
- depthwise: the depthwise convolutions of a node, as a search computes them and banded, each direction by itself: ms,
  GB a second, and the distance between the two.
- evaluate: a step of the evaluation of PDARTS at its published size.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import evaluation_step
import torch
from common import difference, machine
from steps import Contender, Way, contender, settings_of, survivors

from diffnas.backends.choose import choose
from diffnas.data import DataSet, from_tensors
from diffnas.engine.devices import rounding_products
from diffnas.engine.search import search
from diffnas.engine.settings import EvaluateSettings, SearchSettings
from diffnas.engine.trial import trial
from diffnas.method import METHODS
from diffnas.space import SPACES, SearchSpace

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Visit:
    """How large everything is; the defaults are the published sizes.

    Attributes:
        device: "cuda", or "cpu" for a rehearsal.
        batches: batch sizes of a step.
        channels, cells: of a supernet; None for the space's own.
        size: of the pictures.
        pictures: in an epoch.
        warm_up, rounds: how many steps run before the timed ones, and how many are timed.
        evaluated: channels, cells and batch of an evaluation.
    """

    device: str = "cuda"
    batches: tuple[int, ...] = (64, 256)
    channels: int | None = None
    cells: int | None = None
    size: int = 32
    pictures: int = 50_000
    warm_up: int = 3
    rounds: int = 20
    evaluated: tuple[int, int, int] = (36, 20, 96)

    @property
    def on_gpu(self) -> bool:
        return self.device == "cuda"

    def settings(self, space: SearchSpace, batch: int) -> SearchSettings:
        """Those of a search with such batches."""
        return settings_of(space, batch=batch, channels=self.channels, cells=self.cells)

    def wait(self) -> None:
        """Wait until the GPU is done."""
        if self.on_gpu:
            torch.cuda.synchronize()

    def timed(self, step: Callable[[], object]) -> Row:
        """The first step's seconds, the median, the least and the most of later ones in ms, and the most memory."""
        begun = time.perf_counter()
        step()
        self.wait()
        first, milliseconds = time.perf_counter() - begun, []
        for turn in range(self.warm_up + self.rounds):
            begun = time.perf_counter()
            step()
            self.wait()
            if turn >= self.warm_up:
                milliseconds.append(1e3 * (time.perf_counter() - begun))
        row = {"ms": median(milliseconds), "least": min(milliseconds), "most": max(milliseconds), "first_s": first}
        return row | ({"GiB": torch.cuda.max_memory_allocated() / 2**30} if self.on_gpu else {})


REHEARSAL = Visit(
    device="cpu", batches=(4,), channels=2, cells=5, size=8, pictures=40, warm_up=0, rounds=1, evaluated=(4, 3, 4)
)  # fmt: skip

# What a step's products are computed in: whether float32 is rounded to TF32, and the dtype of autocast.
PRECISIONS: dict[str, tuple[bool, torch.dtype | None]] = {
    "tf32": (True, None),
    "float32": (False, None),
    "bf16": (True, torch.bfloat16),
}


def supernet(visit: Visit, way: Way, space: str, *, batch: int, left: str = "all", graph: bool = True) -> Contender:
    """A contender of ``supernet_step.py``; on a CPU there are no graphs."""
    spaced = SPACES[space]
    keep = survivors(spaced, left)
    settings = visit.settings(spaced, batch)
    replayed = graph and visit.on_gpu
    made = contender(way, spaced, settings, keep, size=visit.size, device=visit.device, cuda_graph=replayed)
    if way == "fast" and visit.on_gpu:  # a search would not choose our kernels without a graph
        made.state.supernet.backend = choose("gpu", torch.device(visit.device), "32-true").backend
    return made


def about_the_machine(visit: Visit) -> Iterator[Row]:
    yield {"machine": machine()}
    numbers = (1 << 28) if visit.on_gpu else 1 << 10
    one = torch.zeros(numbers, device=visit.device)
    other = torch.empty_like(one)
    row = visit.timed(lambda: other.copy_(one))
    yield {"what": "copy", "GB_per_s": 8e-6 * numbers / row["ms"]}


def correct(visit: Visit) -> Iterator[Row]:
    """Distances from float64; ours should be no larger than twice the stock modules'."""
    for space in ("nas-bench-201", "darts"):
        with rounding_products(torch.device(visit.device), tf32=False):
            exact, plain, ours = (supernet(visit, way, space, batch=8, graph=False) for way in _EXACT_PLAIN_OURS)
            exact.state.supernet.double()
            exact = replace(exact, pictures=exact.pictures.double())
            expected = [gradient.float() for gradient in exact.gradients()[1]]
            far = {
                name: difference(other.gradients()[1], expected) for name, other in (("stock", plain), ("ours", ours))
            }
        yield {"space": space, **far, "ok": far["ours"] <= 2 * far["stock"] + 1e-6}


_EXACT_PLAIN_OURS: tuple[Way, ...] = ("plain NCHW", "plain NCHW", "fast")


def steps(visit: Visit) -> Iterator[Row]:
    for batch in visit.batches:
        for space in ("darts", "nas-bench-201"):
            for name, (tf32, autocast) in PRECISIONS.items():
                for way in ("fast", "plain NCHW"):
                    if autocast is not None and (way == "fast" or not visit.on_gpu):
                        continue  # our kernels compute in float32
                    row = one_step(visit, way, space, batch=batch, tf32=tf32, autocast=autocast)
                    yield {"space": space, "batch": batch, "precision": name, "way": way, **row}


def one_step(
    visit: Visit, way: Way, space: str, *, batch: int, tf32: bool = True, autocast: torch.dtype | None = None
) -> Row:
    """The times of one contender, which is freed afterwards."""
    if visit.on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    made = supernet(visit, way, space, batch=batch)
    if made.graphed is not None:
        made.graphed.autocast = autocast
    with rounding_products(torch.device(visit.device), tf32=tf32):
        return visit.timed(made.step)


def alone(visit: Visit) -> Iterator[Row]:
    for way in ("fast", "plain NCHW"):
        made = supernet(visit, way, "darts", batch=visit.batches[0], graph=False)
        with rounding_products(torch.device(visit.device), tf32=True):
            yield {"space": "darts", "way": way, **replace(visit, rounds=min(5, visit.rounds)).timed(made.step)}


def pruned(visit: Visit) -> Iterator[Row]:
    for left in ("4", "2", "late", "1"):
        made = supernet(visit, "fast", "darts", batch=visit.batches[0], left=left)
        with rounding_products(torch.device(visit.device), tf32=True):
            row = visit.timed(made.step)
            again: Row = {}
            if made.graphed is not None:
                made.graphed.forget()
                again = {"captured_again_s": visit.timed(made.step)["first_s"]}
        yield {"space": "darts", "left": left, **row, **again}


def kernels(visit: Visit) -> Iterator[Row]:
    """By kernel: ms a step; of the whole step: the share of the time in which no kernel runs."""
    for space in ("darts", "nas-bench-201"):
        taken = 10 if visit.on_gpu else 1
        made = trial(
            pictures(visit),
            space=SPACES[space],
            method=METHODS["sparse"],
            settings=visit.settings(SPACES[space], visit.batches[0]),
            device=visit.device,
        )
        for _ in range(made.warmup_steps + 2):
            made.step()
        visit.wait()
        begun, host = time.perf_counter(), time.process_time()
        for _ in range(taken):
            made.step()
        host = time.process_time() - host
        visit.wait()
        yield {"space": space, "ms": 1e3 * (time.perf_counter() - begun) / taken, "host_ms": 1e3 * host / taken}
        yield {"space": space, **profiled(visit, made.step, taken)}


def profiled(visit: Visit, step: Callable[[], None], taken: int) -> Row:
    activities = [torch.profiler.ProfilerActivity.CUDA if visit.on_gpu else torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities) as profile:
        begun = time.perf_counter()
        for _ in range(taken):
            step()
        visit.wait()
        seconds = time.perf_counter() - begun
    spent = {
        event.key: (event.self_device_time_total if visit.on_gpu else event.self_cpu_time_total) / 1e3 / taken
        for event in profile.key_averages()
    }
    longest = sorted(spent, key=lambda name: -spent[name])[:25]
    launched = sum(event.count for event in profile.key_averages()) / taken
    busy = sum(spent.values())
    return {
        "busy_ms": busy,
        "idle_share": 1 - busy * taken / (1e3 * seconds),
        "launches": launched,
        "kernels_ms": {name[:60]: round(spent[name], 3) for name in longest},
    }


def depthwise(visit: Visit) -> Iterator[Row]:
    """Whether banded products are worth a new layout of all maps: that is estimated from the copy rate."""
    if find_spec("triton") is None or not (visit.on_gpu or os.environ.get("TRITON_INTERPRET") == "1"):
        yield {"skipped": "Triton is not installed, or has no GPU and does not interpret"}
        return
    from depthwise import Banded, Present

    same, large = [(3, 1), (3, 2)], [(5, 1), (5, 2)]
    cases = [(16, 32, same), (16, 32, large), (32, 16, large), (64, 8, same + large)]
    repeats = 4 if visit.on_gpu else 1
    for channels, size, kernels in cases if visit.on_gpu else [(2, 8, same)]:
        for precision in ("tf32x3", "tf32") if visit.on_gpu else ("ieee",):
            both = Banded(
                kernels * repeats,
                channels=channels,
                size=(size, size),
                stride=1,
                pictures=visit.batches[0],
                shared=False,
                device=visit.device,
                precision=precision,
            )
            present = Present(both)
            for direction in ("forward", "input_grad", "weight_grad"):
                new, old = getattr(both, direction), getattr(present, direction)
                far = difference([new().flatten()], [_alike(old(), new()).flatten()])
                row = {"channels": channels, "size": size, "kernels": kernels, "precision": precision, "far": far}
                moved = 1e-6 * (3 if direction == "input_grad" else 2) * both.x.nbytes
                for way, run in (("present", old), ("banded", new)):
                    ms = visit.timed(run)["ms"]
                    yield {**row, "direction": direction, "way": way, "ms": ms, "GB_per_s": moved / ms}


def _alike(flat: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Maps ``(N, pixels, C)`` in the order of ``(N, C, B, H, W)``; gradients for weights as they are."""
    return flat if flat.dim() == 1 else flat.movedim(-1, 1).reshape(like.shape)


def epoch(visit: Visit) -> Iterator[Row]:
    data = pictures(visit)
    for method in ("sparse", "darts"):
        space = SPACES["darts"] if visit.on_gpu else SPACES["nas-bench-201"]
        settings = replace(visit.settings(space, visit.batches[0]), epochs=1)
        host, begun = time.process_time(), time.perf_counter()
        found = search(data, space=space, method=METHODS[method], settings=settings, device=visit.device)
        (line,) = found.trace
        took, host = time.perf_counter() - begun, time.process_time() - host
        ms = 1e3 * line["seconds"] / line["steps"]
        each = {"ms": ms, "host_ms": 1e3 * host / line["steps"], "s": line["seconds"], "in_all_s": took}
        yield {"method": method, "steps": line["steps"], **each}


def pictures(visit: Visit) -> DataSet:
    """Random pictures of ten classes."""
    generator = torch.Generator().manual_seed(0)
    size = (visit.pictures, 3, visit.size, visit.size)
    split = torch.randint(256, size, generator=generator, dtype=torch.uint8), torch.arange(visit.pictures) % 10
    return from_tensors(split, (split[0][:10], split[1][:10]))


def evaluate(visit: Visit) -> Iterator[Row]:
    channels, cells, batch = visit.evaluated
    settings = EvaluateSettings(channels=channels, depth=cells, batch=batch, drop_path=0.1)
    for way in evaluation_step.WAYS:
        made = evaluation_step.contender(way, "PDARTS", settings, visit.device)
        with rounding_products(torch.device(visit.device), tf32=True):
            yield {"genotype": "PDARTS", "way": way, **replace(visit, rounds=min(8, visit.rounds)).timed(made.step)}


# What each part does, and its limit in seconds: ten minutes in all.
PARTS: dict[str, tuple[Callable[[Visit], Iterator[Row]], int]] = {
    "machine": (about_the_machine, 20),
    "correct": (correct, 60),
    "steps": (steps, 170),
    "pruned": (pruned, 60),
    "kernels": (kernels, 50),
    "epoch": (epoch, 130),
    "depthwise": (depthwise, 40),
    "evaluate": (evaluate, 50),
    "alone": (alone, 20),
}


def run(part: str, visit: Visit, out: Path | None) -> None:
    """Write the rows of a part as they come; the part ends at its limit."""
    work, limit = PARTS[part]
    ours, its = multiprocessing.Pipe(duplex=False)
    # A fork has everything imported already. It is safe, because nothing here has touched the GPU.
    process = multiprocessing.get_context("fork").Process(target=_send, args=(work, visit, its), daemon=True)
    process.start()
    its.close()
    begun = time.monotonic()
    row: Row | None = {}
    while row is not None:
        row = _next(ours, limit - (time.monotonic() - begun))
        if row is not None:
            line = json.dumps({"part": part, **row})
            print(line, flush=True)
            if out is not None:
                with out.open("a", encoding="utf-8") as file:
                    file.write(f"{line}\n")
            row = None if "cut" in row or "failed" in row else row
    process.kill()
    process.join()


def _next(rows: Connection, seconds: float) -> Row | None:
    """The next row of a part; None after its last, and a row that says so where it takes too long."""
    if not rows.poll(max(0.0, seconds)):
        return {"cut": "the part's time is over"}
    try:
        row: Row = rows.recv()
    except EOFError:
        return None
    return row


def _send(work: Callable[[Visit], Iterator[Row]], visit: Visit, rows: Connection) -> None:
    try:
        for row in work(visit):
            rows.send(row)
    except Exception as error:  # whatever it is, the other parts go on
        rows.send({"failed": f"{type(error).__name__}: {error}"})
    rows.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="a file that lines are added to")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="in this order")
    parser.add_argument("--rehearse", action="store_true", help="on a CPU, at sizes that measure nothing")
    options = parser.parse_args()
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # looking for a GPU must not start CUDA before the forks
    visit = REHEARSAL if options.rehearse else Visit()
    if options.rehearse:
        torch.set_num_threads(1)
    for part in options.parts:
        run(part, visit, options.out)


if __name__ == "__main__":
    main()
