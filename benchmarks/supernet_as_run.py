"""Time one step of a search as it is really run: the official code's plain supernet against a search of ours.

    python benchmarks/supernet_as_run.py --space darts --batch 16 --threads 1 --survivors 2 1

This differs from `supernet_step.py` in two ways. First, every contender is a process of its own, so that each has its
usual setting for freed memory: a plain supernet returns it to the system, as the C library does; a search of ours keeps
it. The processes take turns and hold their memory all along. Second, a turn has consecutive steps, as in a search, for
at least `--seconds`. A single step would start with empty caches after the others' turns, which made a step of a
supernet with one operation on every edge an eighth slower. A turn counts as the mean of its steps.

The operations that are left are drawn at random. If there are few, the draw decides how many of them are convolutions.
With several seeds, each seed is a contender, and one more line has the mean of their seconds.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from multiprocessing.connection import Connection
from statistics import fmean

import torch
from common import allocate, machine, table
from steps import add_sizes, contender, settings_of, survivors

from diffnas.space import SPACES

PLAIN, OURS = "plain NCHW", "fast"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_sizes(parser, batch=16, threads=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="that a turn lasts at least")
    parser.add_argument("--survivors", nargs="*", default=[], help="operations left on an edge, or late")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="each decides the survivors anew")
    return parser.parse_args()


def serve(pipe: Connection, options: argparse.Namespace, way: str, pattern: str, seed: int) -> None:
    """Run one contender in this process: send its loss, then the mean seconds of a step for each turn requested."""
    torch.set_num_threads(options.threads)
    allocate("kept" if way == OURS else "default")
    space = SPACES[options.space]
    settings = settings_of(space, batch=options.batch, channels=options.channels, cells=options.cells)
    keep = survivors(space, pattern, seed)
    each = contender(way, space, settings, keep, size=options.size)
    loss, _ = each.gradients()
    pipe.send(float(loss))
    while pipe.recv():
        begun, count = time.perf_counter(), 0
        while not count or time.perf_counter() - begun < options.seconds:
            each.step()
            count += 1
        pipe.send((time.perf_counter() - begun) / count)


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    spawn = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    losses: dict[str, float] = {}
    drawn = {f"{OURS}, {pattern} left": pattern for pattern in options.survivors if pattern != "all"}
    many = [(f"{name}, seed {seed}", OURS, drawn[name], seed) for name in drawn for seed in options.seeds]
    for name, way, pattern, seed in [(PLAIN, PLAIN, "all", 0), (OURS, OURS, "all", 0), *many]:
        pipe, far = spawn.Pipe()
        spawn.Process(target=serve, args=(far, options, way, pattern, seed), daemon=True).start()
        losses[name], pipes[name] = pipe.recv(), pipe
    if abs(losses[OURS] - losses[PLAIN]) > 1e-3 * losses[PLAIN]:
        raise SystemExit(f"the contenders compute different things: losses {losses[PLAIN]:.6f}, {losses[OURS]:.6f}.")
    seconds: dict[str, list[float]] = {name: [] for name in pipes}
    for turn in range(options.rounds + 1):
        for name, pipe in pipes.items():
            pipe.send(True)
            took = pipe.recv()
            if turn:  # the first is for warming up
                seconds[name].append(took)
    for name in drawn:
        each = [seconds[f"{name}, seed {seed}"] for seed in options.seeds]
        seconds[f"{name}, mean of {len(each)}"] = [fmean(turn) for turn in zip(*each, strict=True)]
    for pipe in pipes.values():
        pipe.send(False)
    space = SPACES[options.space]
    settings = settings_of(space, batch=options.batch, channels=options.channels, cells=options.cells)
    print(f"# One step of a search as it is run: {space.name}, {settings.channels} channels, ", end="")
    print(f"{settings.depth} cells, ", end="")
    print(f"{options.size}x{options.size} pictures, batch {settings.batch}, float32\n")
    print(machine(), "- freed memory: as the C library has it for plain NCHW, kept for fast", sep="\n", end="\n\n")
    print(table(seconds, [PLAIN]))


if __name__ == "__main__":
    main()
