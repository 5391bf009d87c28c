"""Search the DARTS space on CIFAR with gates, their penalties and compositions, then train every found cell.

    python experiments/path-regularized/run.py --data cifar10 --data-dir DATA --out runs/path-regularized

A method's name may end in ``xN``, such as ``gates-group-x100``: its penalties are then N times the published ones.
An interrupted run continues, and a finished one is not run again. So the command can be repeated, or run in two
terminals with different ``--methods``.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(1, str(Path(__file__).parents[1]))
from common import searched, trained

from diffnas.components.regularizer import Regularizer
from diffnas.components.relaxation import Relaxation
from diffnas.data import load, subsample
from diffnas.engine.settings import EvaluateSettings, SearchSettings, merge_settings
from diffnas.method import METHODS, Method
from diffnas.recipes import RECIPES
from diffnas.space import darts

RECIPE = RECIPES["darts-small"]
NAMES = ("darts", "gates", "gates-group", "gates-path", "path-regularized", "gates-single", "sparse-path")

# All methods use DARTS' optimizer of the weights, so that they differ only in alpha.
SAME = {"nesterov": False, "weight_decay": 3e-4}
# Rate times steps as in the published searches (3e-4 times 20,000), at 600 steps; 3-entmax is bounded by the gap at
# which it removes an operation.
RATES = {"sparse-path": 3e-3}
RATE = 1e-2


def times(at: Relaxation, *, rule: Regularizer, factor: float) -> Tensor:
    """The penalty multiplied by a factor."""
    return factor * rule(at)


def chosen(name: str) -> Method:
    """The method called ``name``; its penalties are multiplied by N if the name ends in ``xN``."""
    base, _, factor = name.partition("-x")
    method = METHODS[base]
    if not factor:
        return method
    scaled = tuple(partial(times, rule=rule, factor=float(factor)) for rule in method.regularizers)
    return replace(method, name=name, regularizers=scaled)


def settings(method: Method, options: dict[str, Any]) -> SearchSettings:
    """The settings of a search."""
    rate = {"alpha_lr": RATES.get(method.name, RATE)}
    return merge_settings(SearchSettings, method.settings, RECIPE.search, SAME, rate, options)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="cifar10", choices=["cifar10", "cifar100"])
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--methods", nargs="+", default=NAMES)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--train", type=int, default=RECIPE.train, help="pictures of the search and the training")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--train-epochs", type=int, default=RECIPE.evaluate["epochs"])
    options = parser.parse_args(arguments)

    # One thread: the last digits depend on it, and two processes side by side use two cores better.
    torch.set_num_threads(1)
    data = subsample(load(options.data, data_dir=options.data_dir), options.train, None)
    training = merge_settings(EvaluateSettings, RECIPE.evaluate, {"epochs": options.train_epochs})
    for seed in options.seeds:
        for name in options.methods:
            out = options.out / f"{name}-{seed}"
            method = chosen(name)
            sizes = settings(method, {"seed": seed, "epochs": options.epochs})
            genotype = searched(data, space=darts, method=method, settings=sizes, out=out)
            trained(genotype, data, training, out / "evaluation")


if __name__ == "__main__":
    main()
