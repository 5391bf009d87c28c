"""Search the DARTS space on CIFAR by several methods and seeds, then train every found cell and some random ones.

    python experiments/cifar/run.py --data cifar10 --data-dir DATA --out runs/cifar10

All searches use the recipe ``darts-small``, and all trainings its evaluation. An interrupted run continues, and a
finished one is not run again. So the command can be repeated, or run in two terminals with different ``--methods``.
"""

import argparse
import sys
from pathlib import Path

import torch

sys.path.insert(1, str(Path(__file__).parents[1]))
from common import random_cell, searched, trained

from diffnas.data import load, subsample
from diffnas.engine.settings import EvaluateSettings, SearchSettings, merge_settings
from diffnas.genotype import save
from diffnas.method import METHODS, Method
from diffnas.recipes import RECIPES
from diffnas.space import darts

RECIPE = RECIPES["darts-small"]


def settings(seed: int, epochs: int, method: Method) -> SearchSettings:
    """The settings of a search."""
    return merge_settings(SearchSettings, method.settings, RECIPE.search, {"seed": seed, "epochs": epochs})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="cifar10", choices=["cifar10", "cifar100"])
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--methods", nargs="*", default=["sparse", "darts"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--random", nargs="*", type=int, default=[0, 1, 2], help="seeds of random cells")
    parser.add_argument("--epochs", type=int, default=RECIPE.search["epochs"])
    parser.add_argument("--train-epochs", type=int, default=RECIPE.evaluate["epochs"])
    options = parser.parse_args()

    # One thread: the last digits depend on it, and two processes side by side use two cores better.
    torch.set_num_threads(1)
    data = subsample(load(options.data, data_dir=options.data_dir), RECIPE.train, None)
    training = merge_settings(EvaluateSettings, RECIPE.evaluate, {"epochs": options.train_epochs})
    for seed in options.seeds:
        for name in options.methods:
            out = options.out / f"{name}-{seed}"
            method = METHODS[name]
            chosen = settings(seed, options.epochs, method)
            genotype = searched(data, space=darts, method=method, settings=chosen, out=out)
            trained(genotype, data, training, out / "evaluation")
    for seed in options.random:
        out = options.out / f"random-{seed}"
        out.mkdir(parents=True, exist_ok=True)
        save(random_cell(seed), out / "genotype.json")
        trained(random_cell(seed), data, training, out / "evaluation")


if __name__ == "__main__":
    main()
