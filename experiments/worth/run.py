"""Train random cells of the DARTS space, cells that searches find there, and networks made by hand, all in one way.

    python experiments/worth/run.py --data-dir DATA --out runs/worth
    python experiments/worth/run.py --data-dir DATA --out runs/worth --parts longer

A tenth of the training pictures judges; test pictures are not read. An interrupted run continues, and a finished one is
not run again, so the parts can be run one after the other, or two at once. ``longer`` needs the results of ``random``,
``equal`` those of ``found``.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

sys.path.insert(1, str(Path(__file__).parents[1]))
from common import random_cell, random_edges, searched, size_of, trained

from diffnas.data import DataSet, load, set_aside, subsample
from diffnas.engine.settings import EvaluateSettings, SearchSettings, merge_settings
from diffnas.genotype import Genotype, read
from diffnas.method import METHODS
from diffnas.recipes import RECIPES
from diffnas.run_folder import RunFolder
from diffnas.space import darts

PICTURES = 10_000
RECIPE = RECIPES["darts-small"]
SHORT, LONG = 15, 60
"""Epochs of a training, and of one that judges it."""

RANDOM = 20
SEARCHED = ("sparse", "darts", "path-regularized")
SEEDS = range(5)
BY_HAND = ("DARTS_V2", "PDARTS", "mobilenet", "resnet")
TARGET = "macs=6.75M"
"""What networks of equal cost have: the mean of the random cells, known before anything was trained."""

REPEATED = 3
"""So many random cells are trained with every seed."""

EDGES = 10
"""So many cells have a random operation on each edge, as the sparse method reads cells off."""

JUDGED = 7
"""So many random cells have a long training."""


class Job(NamedTuple):
    """A network to train."""

    name: str
    cells: Genotype
    seed: int = 0
    epochs: int = SHORT
    equal: bool = False  # at the width of equal cost; chains always are


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    options = parser.parse_args()

    # One thread: the last digits depend on it, and two processes side by side use two cores better.
    torch.set_num_threads(1)
    whole = load("cifar10", data_dir=options.data_dir)
    rest, judges = set_aside(whole, 0.1)
    data = replace(subsample(rest, PICTURES, None), test=judges)
    for part in options.parts:
        for job in PARTS[part](data, options.out):
            sizes = {"seed": job.seed, "epochs": job.epochs, **size(job, data)}
            training = merge_settings(EvaluateSettings, RECIPE.evaluate, sizes)
            trained(job.cells, data, training, options.out / part / job.name)


def size(job: Job, data: DataSet) -> dict[str, Any]:
    """The size of a network: what the target needs, or that of the recipe for cells of the space."""
    chain = job.cells.skeleton == "chain"
    if not (chain or job.equal):
        return {}
    depth = None if chain else RECIPE.evaluate["depth"]
    return size_of(job.cells, TARGET, RECIPE.evaluate["stem"], data, depth=depth)._asdict()


def random(data: DataSet, out: Path) -> Iterator[Job]:
    """Twenty cells, one training each."""
    yield from (Job(f"random-{number}", random_cell(number)) for number in range(RANDOM))


def seeds(data: DataSet, out: Path) -> Iterator[Job]:
    """Three cells, trained with four more seeds each."""
    for number in range(REPEATED):
        yield from (Job(f"random-{number}-seed{seed}", random_cell(number), seed) for seed in SEEDS[1:])


def found(data: DataSet, out: Path) -> Iterator[Job]:
    """The cells of five searches by each method."""
    for seed in SEEDS:
        for name in SEARCHED:
            method = METHODS[name]
            settings = merge_settings(SearchSettings, method.settings, RECIPE.search, {"seed": seed, "epochs": SHORT})
            place = out / "searches" / f"{name}-{seed}"
            cells = searched(data, space=darts, method=method, settings=settings, out=place)
            yield Job(f"{name}-{seed}", cells)


def by_hand(data: DataSet, out: Path) -> Iterator[Job]:
    """Published cells at the size of all others, and chains of the same cost."""
    yield from (Job(f"{name}-seed{seed}", read(name), seed) for seed in SEEDS[:2] for name in BY_HAND)


def equal(data: DataSet, out: Path) -> Iterator[Job]:
    """The found and the published cells at the width at which they cost as much as the random ones do on average."""
    for path in sorted((out / "searches").glob("*/genotype.json")):
        yield Job(path.parent.name, read(path), equal=True)
    yield from (Job(f"{name}-seed{seed}", read(name), seed, equal=True) for seed in SEEDS[:2] for name in BY_HAND[:2])


def edges(data: DataSet, out: Path) -> Iterator[Job]:
    """Ten cells with a random operation or ``none`` on each edge, at equal cost."""
    yield from (Job(f"random-edges-{number}", random_edges(number), equal=True) for number in range(EDGES))


def longer(data: DataSet, out: Path) -> Iterator[Job]:
    """Seven random cells from the worst to the best of ``random``, trained four times as long, from another seed."""
    places = [(out / "random" / f"random-{number}", number) for number in range(RANDOM)]
    accuracies = {number: RunFolder(place).result()["test"]["accuracy"] for place, number in places}
    ranked = sorted(accuracies, key=accuracies.__getitem__)
    for rank in range(JUDGED):
        number = ranked[round(rank * (RANDOM - 1) / (JUDGED - 1))]
        yield Job(f"random-{number}", random_cell(number), seed=1, epochs=LONG)


PARTS = {
    "random": random,
    "seeds": seeds,
    "found": found,
    "equal": equal,
    "edges": edges,
    "by-hand": by_hand,
    "longer": longer,
}


if __name__ == "__main__":
    main()
