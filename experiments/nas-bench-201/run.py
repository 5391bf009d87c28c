"""Search NAS-Bench-201 on CIFAR-10 by several methods and seeds, one after the other.

    python experiments/nas-bench-201/run.py --data-dir DATA --out runs/nas-bench-201

Every search uses the recipe ``nas-bench-201-small``. An interrupted search continues, and a finished one is not run
again. This script does not read the benchmark's table: ``diffnas compare --table`` looks the cells up afterwards.
"""

import argparse
import sys
from pathlib import Path

import torch

sys.path.insert(1, str(Path(__file__).parents[1]))
from common import SMALL, searched_small, small_pictures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--methods", nargs="+", default=["sparse", "single-level", "darts"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[10, 11, 12, 13, 14])
    parser.add_argument("--epochs", type=int, default=SMALL.search["epochs"])
    options = parser.parse_args()

    # One thread: the last digits depend on it, and two searches side by side use two cores better.
    torch.set_num_threads(1)
    data = small_pictures(options.data_dir)
    for seed in options.seeds:
        for name in options.methods:
            searched_small(data, name, options.out / f"{name}-{seed}", seed=seed, epochs=options.epochs)


if __name__ == "__main__":
    main()
