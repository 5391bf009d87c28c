"""Search NAS-Bench-201 on CIFAR-10 by every method, all on the same small budget.

    python experiments/all-methods/run.py --data-dir DATA --out runs/all-methods
    python experiments/all-methods/run.py --data-dir DATA --out runs/all-methods --methods darts gdas --seeds 0 1 2

Each search has a process of its own, so that its memory can be measured. An interrupted search continues, and a
finished one is not run again. This script does not read the benchmark's table: ``table.py`` looks the cells up
afterwards.
"""

import argparse
import json
import math
import multiprocessing
import resource
import sys
from pathlib import Path

import torch

sys.path.insert(1, str(Path(__file__).parents[1]))
from common import searched

from diffnas.components import update
from diffnas.data import DataSet, load, subsample
from diffnas.engine.settings import SearchSettings, merge_settings
from diffnas.method import METHODS, Method
from diffnas.space import nas_bench_201

PICTURES = 10_000

# Sizes and the optimizer of the weights are the same for all; methods differ only in alpha and the supernet.
SAME = {
    "epochs": 6,
    "batch": 64,
    "lr": 0.025,
    "lr_min": 0.001,
    "nesterov": False,
    "weight_decay": 3e-4,
    "channels": 8,
    "depth": 5,
    "stem": "cifar-half",
}

# Rate times steps of alpha, as in the published search of DARTS: 3e-4 times 20,000.
STEPS = 20_000

# A third of the gap at which 3-entmax removes an operation: no single step may do that.
MOST = {"entmax3": 0.01}


def alpha_rate(method: Method) -> float:
    """The learning rate of alpha: the method's own, times the steps of DARTS' published search over the steps here."""
    pictures = PICTURES // 2 if method.level.data == "halves" else PICTURES
    return update.rate(method.update) * STEPS / (SAME["epochs"] * math.ceil(pictures / SAME["batch"]))


def search_one(data: DataSet, name: str, seed: int, out: Path) -> None:
    """Search with one method and one seed, and write the core seconds and the memory of this process to a file."""
    torch.set_num_threads(1)  # the last digits depend on it
    method = METHODS[name]
    rate = min(alpha_rate(method), MOST.get(name, math.inf))
    settings = merge_settings(SearchSettings, method.settings, SAME, {"alpha_lr": float(f"{rate:.2g}"), "seed": seed})
    began = core_seconds()
    try:
        searched(data, space=nas_bench_201, method=method, settings=settings, out=out)
    finally:
        if out.exists():
            write_cost(out / "cost.json", core_seconds() - began)


def write_cost(path: Path, seconds: float) -> None:
    """Write the total core seconds, including earlier parts of the search, and the peak memory of this process."""
    before = json.loads(path.read_text())["core_seconds"] if path.exists() else 0.0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    path.write_text(json.dumps({"core_seconds": round(before + seconds, 1), "peak_mib": most}) + "\n")


def core_seconds() -> float:
    """The CPU time of this process so far, in seconds over all cores."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--methods", nargs="+", default=sorted({method.name for method in METHODS.values()}))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    options = parser.parse_args()

    # Not in a fork of this process: its measured memory would include the memory for loading here.
    context = multiprocessing.get_context("forkserver")
    data = subsample(load("cifar10", data_dir=options.data_dir), PICTURES, 100)
    for seed in options.seeds:
        for name in options.methods:
            out = options.out / f"{name}-{seed}"
            if (out / "genotype.json").exists():
                continue
            process = context.Process(target=search_one, args=(data, name, seed, out))
            process.start()
            process.join()
            print(f"{out.name}: {'done' if process.exitcode == 0 else f'ended with {process.exitcode}'}", flush=True)


if __name__ == "__main__":
    main()
