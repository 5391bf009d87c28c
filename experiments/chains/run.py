"""Does a search of chains find what people made by hand? Judged on training pictures that are held out.

    python experiments/chains/run.py --data-dir DATA --out experiments/chains/results.jsonl
    python experiments/chains/run.py --data-dir DATA --out experiments/chains/small.jsonl --target 1M

CIFAR-10: a fifth of the training pictures, 10,000, judges. A search sees 4,000 others, as the recipe ``quick`` says. A
training sees 8,000. All networks cost about as many multiply-adds, 3 million if nothing else is said. Test pictures are
not read. A job whose result is in the file is not done again.
"""

import argparse
import itertools
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).parents[1]))

from common import layers

import diffnas
from diffnas.api import contest
from diffnas.data import DataSet, load, set_aside
from diffnas.genotype import Genotype, read
from diffnas.space import chain

CEILINGS = {"500k": "580k", "1M": "1.16M", "2M": "2.2M", "3M": "3.2M", "5M": "5.4M"}
"""By target, what a network that is not searched may cost: the next width whose cost is about the target."""
HAND = ("mobilenet", "resnet", "convnext")
WAITING = {"alpha_warmup": 4, "prune_warmup": 8}
SEARCHES: dict[str, dict[str, Any]] = {
    "quick": {},
    "cells of DARTS": {"space": "darts"},
    "waiting, balance": {**WAITING, "multiplier": "balance"},
    **{f"{channels} channels": {"evaluate_settings": {"channels": channels}} for channels in (16, 12, 11, 10, 7)},
}
NETWORKS = (*SEARCHES, *HAND, "random")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--target", choices=CEILINGS, default="3M")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    options = parser.parse_args()
    data = held_out(load("cifar10", data_dir=options.data_dir))
    rows = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    known = {(row["name"], row["seed"], row.get("target", "3M")) for row in rows}
    for seed, name in itertools.product(options.seeds, options.networks):
        if (name, seed, options.target) not in known:
            made = (found if name in SEARCHES else given)(name, data, options.target, seed)
            row = {"name": name, "target": options.target, "seed": seed, **made}
            print(json.dumps(row), flush=True)
            with options.out.open("a") as file:
                file.write(f"{json.dumps(row)}\n")


def held_out(whole: DataSet) -> DataSet:
    """The data with a fifth of its training pictures in place of the test pictures."""
    less, aside = set_aside(whole, 0.2)
    _, seen = set_aside(less, 0.2)
    return replace(whole, train=seen, test=aside)


def found(name: str, data: DataSet, target: str, seed: int) -> dict[str, Any]:
    """What a search finds, after its training."""
    begun, named = time.perf_counter(), {"space": "chain", "recipe": "quick", "seed": seed, "threads": 1, "flip": True}
    result = diffnas.run(data, target=f"macs={target}", **{**named, **SEARCHES[name]})
    return summary(result.search.genotype, result.evaluation, begun)


def given(name: str, data: DataSet, target: str, seed: int) -> dict[str, Any]:
    """A network that was not searched, after its training. Each seed has another random one."""
    begun = time.perf_counter()
    cells = read(name) if name in HAND else next(iter(contest.randoms(chain, 100 + seed)))
    # Widths are whole numbers, so a network may cost somewhat more.
    ceiling = f"macs<={CEILINGS[target]}"
    result = diffnas.evaluate(cells, data, recipe="quick", seed=seed, threads=1, target=ceiling)
    return summary(cells, result, begun)


def summary(cells: Genotype, result: diffnas.EvaluateResult, begun: float) -> dict[str, Any]:
    told = {"accuracy": round(result.test["accuracy"], 4), "macs": result.macs, "layers": layers(cells)}
    return {**told, "seconds": round(time.perf_counter() - begun)}


if __name__ == "__main__":
    main()
