"""Search NAS-Bench-201 on CIFAR-10 by several methods and seeds, one after the other.

    python experiments/nas-bench-201/run.py --data-dir DATA --out runs/nas-bench-201

Every search uses the recipe ``nas-bench-201-small``. An interrupted search continues, and a finished one is not run
again. This script does not read the benchmark's table: ``table.py`` looks the cells up afterwards.
"""

import argparse
import sys
from pathlib import Path

import torch

sys.path.insert(1, str(Path(__file__).parents[1]))
from common import searched, trace

from diffnas.data import load, subsample
from diffnas.engine.settings import SearchSettings, merge_settings
from diffnas.method import METHODS
from diffnas.recipes import RECIPES
from diffnas.space import SPACES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--methods", nargs="+", default=["sparse", "single-level", "darts"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[10, 11, 12, 13, 14])
    options = parser.parse_args()

    # One thread: the last digits depend on it, and two searches side by side use two cores better.
    torch.set_num_threads(1)
    recipe = RECIPES["nas-bench-201-small"]
    data = subsample(load("cifar10", data_dir=options.data_dir), recipe.train, None)
    for seed in options.seeds:
        for name in options.methods:
            out = options.out / f"{name}-{seed}"
            method = METHODS[name]
            settings = merge_settings(SearchSettings, method.settings, recipe.search, {"seed": seed})
            searched(data, space=SPACES[recipe.space], method=method, settings=settings, out=out)
            seconds = [line["seconds"] for line in trace(out)]
            print(f"{out.name}: {len(seconds)} epochs in {sum(seconds):.0f} s", flush=True)


if __name__ == "__main__":
    main()
