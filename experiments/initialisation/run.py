"""Search NAS-Bench-201 on CIFAR-10 from several initial weights, by several methods and seeds.

    python experiments/initialisation/run.py --data-dir DATA --out runs/initialisation

Every search uses the recipe ``nas-bench-201-small``, or a part of its pictures and epochs. The arm ``rotation`` learns
the turns of pictures before the same search; ``rotation-equal`` has as many epochs as the other arms in all, so its
search is shorter. An interrupted search continues, and a finished one is not run again. No table is read here: see
``table.py``.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import torch

sys.path.insert(1, str(Path(__file__).parents[1]))
from common import searched, spent

from diffnas.data import load, subsample
from diffnas.engine.settings import SearchSettings, merge_settings
from diffnas.method import compose
from diffnas.recipes import RECIPES
from diffnas.space import SPACES

ARMS: dict[str, dict[str, str]] = {
    "torch": {},
    "orthogonal": {"initial": "orthogonal"},
    "he": {"initial": "he"},
    "lsuv": {"initial": "lsuv"},
    "rotation": {"pretext": "rotation"},
    "rotation-equal": {"pretext": "rotation"},
    "barlow": {"pretext": "barlow"},
}


def lengths(arm: str, epochs: int, pretext: int) -> dict[str, Any]:
    """The epochs of an arm's pretext and search."""
    if "pretext" not in ARMS[arm]:
        return {"epochs": epochs}
    return {"epochs": epochs - pretext if arm.endswith("-equal") else epochs, "pretext_epochs": pretext}


def main() -> None:
    recipe = RECIPES["nas-bench-201-small"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--methods", nargs="+", default=["sparse", "darts"])
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=["torch", "orthogonal", "rotation"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[10, 11, 12])
    parser.add_argument("--train", type=int, default=recipe.train, help="pictures of a search")
    parser.add_argument("--epochs", type=int, default=recipe.search["epochs"])
    parser.add_argument("--pretext-epochs", type=int, default=10)
    parser.add_argument(
        "--alpha-speed", type=float, default=recipe.search["alpha_speed"], help="raise it as the steps get fewer"
    )
    options = parser.parse_args()

    # One thread: the last digits depend on it.
    torch.set_num_threads(1)
    data = subsample(load("cifar10", data_dir=options.data_dir), options.train, None)
    # The seeds are outermost, so that a round that was cut short has the same seeds of all arms.
    for seed in options.seeds:
        for name in options.methods:
            for arm in options.arms:
                out = options.out / f"{name}-{arm}-{seed}"
                method = compose(name, ARMS[arm])
                own = {**lengths(arm, options.epochs, options.pretext_epochs), "seed": seed}
                own["alpha_speed"] = options.alpha_speed
                settings = merge_settings(SearchSettings, method.settings, recipe.search, own)
                begun = time.perf_counter()
                searched(data, space=SPACES[recipe.space], method=method, settings=settings, out=out)
                took = time.perf_counter() - begun
                print(f"{out.name}: {spent(out)} ({took:.0f} s now)", flush=True)


if __name__ == "__main__":
    main()
