"""Small networks on CIFAR-10: found, random and hand-made chains of equal multiply-adds, in one and the same training.

    python experiments/small-networks/run.py --data-dir DATA --out runs/small --targets 500k 1M 2M 5M
    python experiments/small-networks/run.py --data-dir DATA --out runs/small --targets 1M --networks found cells

Every network has the training of the recipe ``quick``, on all pictures. Its width is the one at which its cost is
nearest to the target. A finished run is not made again, nor one whose result is in ``results.json`` beside this file;
one that was interrupted goes on.
"""

import argparse
import itertools
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).parents[1]))

from common import continued, kept, size_of, trained

import diffnas
from diffnas.api import contest
from diffnas.data import DataSet, load
from diffnas.engine.settings import EvaluateSettings
from diffnas.genotype import Genotype, read
from diffnas.nets.sized import Size
from diffnas.recipes import RECIPES
from diffnas.run_folder import RunFolder
from diffnas.space import chain

TARGETS = ("500k", "1M", "2M", "5M")
HAND = ("mobilenet", "resnet", "convnext")
SEARCHED = {"found": "chain", "cells": "darts"}
"""The space in which a network is found."""
NETWORKS = (*HAND, "random-1", "random-2", "random-3", *SEARCHED)
RESULTS = Path(__file__).with_name("results.json")
SETTINGS = EvaluateSettings(**RECIPES["quick"].evaluate)
SEARCH: dict[str, Any] = {"recipe": "quick", "threads": 1}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--targets", nargs="+", default=TARGETS, help="multiply-adds, such as 500k")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    options = parser.parse_args()
    data = load("cifar10", data_dir=options.data_dir)
    done = {(row["target"], row["seed"], row["network"]) for row in kept(RESULTS)}
    for target, seed, name in itertools.product(options.targets, options.seeds, options.networks):
        out, begun = options.out / f"{name}-{target}-seed{seed}", time.perf_counter()
        if (target, seed, name) in done or RunFolder(out).result_file.exists():
            continue
        cells, size = found(name, data, target, seed, out) if name in SEARCHED else given(name, data, target)
        trained(cells, data, replace(SETTINGS, seed=seed, **size._asdict()), out)
        print(f"{out.name}: {size}; {time.perf_counter() - begun:.0f} s", flush=True)


def given(name: str, data: DataSet, target: str) -> tuple[Genotype, Size]:
    """A network that is not searched, and its size. Random networks are the same for all targets and seeds."""
    cells = read(name) if name in HAND else drawn(int(name.removeprefix("random-")))
    return cells, size_of(cells, f"macs={target}", SETTINGS.stem, data)


def drawn(number: int) -> Genotype:
    return next(itertools.islice(contest.randoms(chain, 0), number - 1, None))


def found(name: str, data: DataSet, target: str, seed: int, out: Path) -> tuple[Genotype, Size]:
    """What a search with the recipe ``quick`` finds for a target, and the size at which it lands."""
    place, space = out.with_name(f"search-{out.name}"), SEARCHED[name]
    told = continued(diffnas.search, data, out=place, space=space, target=f"macs={target}", seed=seed, **SEARCH)
    assert told.landing is not None, "the search has a target"
    return told.genotype, told.landing.size


if __name__ == "__main__":
    main()
