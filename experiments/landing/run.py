"""Do searches land on their targets? CIFAR-10, the space of DARTS, three methods, two or three costs.

    python experiments/landing/run.py --data-dir DATA --out runs/landing
    python experiments/landing/run.py --data-dir DATA --out runs/landing --costs latency --seeds 0
    python experiments/landing/run.py --data-dir DATA --out runs/landing --table

Targets are at 30, 50 and 70% of the interval that the cost has at the recipe's size. A finished search is not made
again, and one that was interrupted goes on. ``--table`` prints the table from the folders, and runs nothing.
"""

import argparse
import itertools
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(1, str(Path(__file__).parents[1]))

from common import continued

import diffnas
from diffnas.data import load, subsample
from diffnas.deploy.latency import latency
from diffnas.engine import aim as aims
from diffnas.engine.aim import Aim
from diffnas.engine.costing import Interval
from diffnas.engine.target import amount, parse
from diffnas.method import METHODS
from diffnas.nets.sized import Size
from diffnas.recipes import RECIPES
from diffnas.run_folder import RunFolder
from diffnas.space import SPACES

RECIPE = "darts-small"
SHARES = (30, 50, 70)
COSTS = {"macs": "1k", "params": "1k", "latency": "1ms"}
"""Each cost, with an amount in its unit."""
METHOD_NAMES = ("sparse", "darts", "path-regularized")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--costs", nargs="+", choices=COSTS, default=["macs", "params"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--train", type=int, default=2_000, help="pictures of the search")
    parser.add_argument("--table", action="store_true", help="print the table, and run nothing")
    options = parser.parse_args()
    if options.table:
        print_table(options.out, options.costs, options.seeds)
        return
    data = subsample(load("cifar10", data_dir=options.data_dir), options.train, None)
    for method, cost in itertools.product(METHOD_NAMES, options.costs):
        found = interval(cost, method, data)
        for seed, share in itertools.product(options.seeds, SHARES):
            out, begun = options.out / name_of(method, cost, share, seed), time.perf_counter()
            if RunFolder(out).genotype_file.exists():
                continue
            value = found.low + share / 100 * (found.high - found.low)
            target = f"{cost}={value * 1e6:.4g}us" if cost == "latency" else f"{cost}={value:.4g}"
            named = {"space": "darts", "recipe": RECIPE, "method": method, "seed": seed, "threads": 1}
            landing = continued(diffnas.search, data, out=out, target=target, **named).landing
            print(f"{out.name}: {landing}; {time.perf_counter() - begun:.0f} s", flush=True)


def name_of(method: str, cost: str, share: int, seed: int) -> str:
    return f"{method}-{cost}-{share}-seed{seed}"


def interval(cost: str, method: str, data: diffnas.DataSet) -> Interval:
    """The costs of all networks that the method can read off, at the size of the recipe's evaluation."""
    at = RECIPES[RECIPE].evaluate
    aim = Aim(targets=parse(f"{cost}={COSTS[cost]}"), size=Size(at["channels"], at["depth"], at["stem"]))
    space = SPACES["darts"]
    if cost == "latency":
        timed = latency(aims.sized_for(aim, space, data), runtime=None, warn=print)
        aim = replace(aim, costings={**aim.costings, cost: timed})
    reach = aims.reaches(aim, space, data, METHODS[method])[cost]
    return reach.interval(torch.tensor(space.offered))


def print_table(runs: Path, costs: list[str], seeds: list[int]) -> None:
    """Print a row for each method, cost and share, with a column for each seed.

    A latency has two numbers: that of the cells at the size of the search, as it was predicted, and that of the
    landing, as it was measured.
    """
    print("| method | cost | target | " + " | ".join(f"landed, seed {seed}" for seed in seeds) + " |")
    print("|---|---|--:|" + "--:|" * len(seeds))
    for method, cost, share in itertools.product(METHOD_NAMES, costs, SHARES):
        cells, wanted = [], "?"
        for seed in seeds:
            folder = RunFolder(runs / name_of(method, cost, share, seed))
            record = folder.landing()
            (target,) = parse(record["targets"][0])
            landed = record["costs"][cost]
            wanted = f"{amount(cost, target.value)}, {share}%"
            predicted = folder.trace()[-1]["cost"][cost]["read_off"]
            first = f"{amount(cost, predicted)} predicted, " if cost == "latency" else ""
            cells.append(f"{first}{amount(cost, landed)} ({landed / target.value - 1:+.1%})")
        print(f"| `{method}` | {cost} | {wanted} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
