"""Search deep supernets in which skip connections are known to win, by several methods and seeds.

    python experiments/collapse/run.py --data-dir DATA --out runs/collapse

Every search follows the recipe in the README beside this file. An interrupted search continues, and a finished one is
not run again. One whose numbers overflow ends, and the next begins. ``diffnas compare --table`` looks the cells up
afterwards.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(1, str(Path(__file__).parents[1]))
from common import searched, spent

from diffnas.data import load, subsample
from diffnas.engine.listen import NotFinite
from diffnas.engine.settings import SearchSettings, merge_settings
from diffnas.method import METHODS
from diffnas.space import SPACES

PICTURES = 10_000

RECIPE = {
    "nas-bench-201": {"epochs": 50, "channels": 16, "depth": 17, "stem": "cifar-half"},
    "s2": {"epochs": 50, "channels": 16, "depth": 8, "stem": "cifar-half"},
    "s4": {"epochs": 50, "channels": 16, "depth": 8, "stem": "cifar-half"},
}
# The sparse method without its pruning: what it then still has is the weights.
UNPRUNED = "sparse-unpruned"
COMMON = {"batch": 64, "alpha_speed": 5.0, "eigenvalue_every": 5}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--spaces", nargs="+", choices=RECIPE, default=["nas-bench-201"])
    parser.add_argument(
        "--methods", nargs="+", default=["darts", "sparse", "single-level", "path-regularized", "darts-minus"]
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    options = parser.parse_args()

    # One thread: the last digits depend on it, and two searches side by side use two cores better.
    torch.set_num_threads(1)
    data = subsample(load("cifar10", data_dir=options.data_dir), PICTURES, None)
    for seed in options.seeds:
        for space in options.spaces:
            for name in options.methods:
                out = options.out / space / f"{name}-{seed}"
                method = replace(METHODS["sparse"], name=name, pruning=None) if name == UNPRUNED else METHODS[name]
                settings = merge_settings(SearchSettings, method.settings, COMMON, RECIPE[space], {"seed": seed})
                try:
                    searched(data, space=SPACES[space], method=method, settings=settings, out=out)
                except NotFinite as problem:
                    print(f"{space}/{out.name}: {problem}", file=sys.stderr)
                print(f"{space}/{out.name}: {spent(out)}", flush=True)


if __name__ == "__main__":
    main()
