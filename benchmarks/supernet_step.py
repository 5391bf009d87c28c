"""Time one step of a single-level search (forward, backward for weights and alpha, SGD, Adam) in several ways.

    python benchmarks/supernet_step.py --space darts --batch 64 --threads 2 --rounds 5
    python benchmarks/supernet_step.py --space darts --batch 16 --threads 1 --survivors 8 4 2 1 late
    python benchmarks/supernet_step.py --space darts --batch 64 --device cuda --cuda-graph

- plain NCHW: one module for each edge and operation, stock kernels: the structure of the official code.
- plain channels_last: the same with the channels last in memory.
- fast: the backend that a search chooses.

Before anything is timed, all ways must give one loss and one set of gradients, up to rounding. With --survivors,
every pruned supernet is compared with the whole supernet computed the first way: "plain NCHW", or the first of --ways.
"""

from __future__ import annotations

import argparse
import gc

import torch
from common import add_allocator, allocate, difference, interleaved, machine, table
from steps import WAYS, Contender, add_sizes, contender, settings_of, survivors

from diffnas.engine.devices import rounding_products
from diffnas.space import SPACES

# Far above what float32 gives (about 0.003 over 8 cells, whose ReLUs and max-pools flip), far below a wrong kernel.
TOLERANCE = 0.05


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_sizes(parser, batch=64, threads=2)
    parser.add_argument("--stem", default="cifar")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--warm-up", type=int, default=1, help="rounds that do not count")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="the first is the reference")
    parser.add_argument("--survivors", nargs="+", default=["all"], help="operations left on an edge, or late, or all")
    parser.add_argument("--seed", type=int, default=0, help="decides the survivors")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cuda-graph", action="store_true", help="replay the passes of all ways from CUDA graphs")
    add_allocator(parser)
    return parser.parse_args()


def verified(contenders: dict[str, Contender]) -> list[str]:
    """The distance of each contender's gradients from the first one's.

    Raises:
        SystemExit: if a contender computes something else.
    """
    (first, reference), *_ = contenders.items()
    loss, gradients = reference.gradients()
    distances = ["0"]
    for name, other in list(contenders.items())[1:]:
        gc.collect()
        other_loss, other_gradients = other.gradients()
        far, alpha = difference(other_gradients, gradients), difference(other_gradients[-1:], gradients[-1:])
        if not (abs(other_loss - loss) < 1e-3 * loss and far < TOLERANCE and alpha < TOLERANCE):
            raise SystemExit(
                f"{name!r} computes something else than {first!r}: loss {other_loss:.6f}, not {loss:.6f}; "
                f"relative difference of all gradients {far:.2g}, of alpha's {alpha:.2g}."
            )
        distances.append(f"{far:.1e}")
    return distances


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    space = SPACES[options.space]
    settings = settings_of(
        space, batch=options.batch, channels=options.channels, cells=options.cells, stem=options.stem
    )
    print(f"# One step of a search: {space.name}, {settings.channels} channels, {settings.depth} cells, ", end="")
    print(f"{options.size}x{options.size} pictures, batch {settings.batch}, float32, {options.device}\n")
    print(machine(), allocate(options.allocator), sep="\n", end="\n\n")
    contenders: dict[str, Contender] = {}
    distances: list[str] = []
    live: list[str] = []
    reference = None
    for pattern in dict.fromkeys(["all", *options.survivors]):
        count = str(len(space.ops)) if pattern == "all" else pattern
        if pattern != "all" and count == str(len(space.ops)):
            continue
        keep = survivors(space, count, options.seed)
        ways = options.ways if pattern in options.survivors or count in options.survivors else options.ways[:1]
        made = {
            way if pattern == "all" else f"{way}, {pattern} left": contender(
                way, space, settings, keep, size=options.size, device=options.device, cuda_graph=options.cuda_graph
            )
            for way in ways
        }
        reference = reference or next(iter(made))
        distances += verified(made)
        convolving = torch.tensor(["conv" in op for op in space.ops])
        live += [f"{int(keep.sum())} ({int((keep & convolving).sum())})"] * len(made)
        contenders |= made
    assert reference is not None
    steps = {name: each.step for name, each in contenders.items()}
    # A graph is captured after a few steps.
    warm_up = max(options.warm_up, 5) if options.cuda_graph else options.warm_up
    with rounding_products(torch.device(options.device), tf32=True):  # as in a search
        seconds = interleaved(steps, rounds=options.rounds, warm_up=warm_up)
    others = [way for way in ("plain channels_last",) if way in contenders and way != reference]
    print(table(seconds, [reference, *others], {"live ops (conv)": live, "gradients differ by": distances}))


if __name__ == "__main__":
    main()
