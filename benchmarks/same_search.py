"""Measure how far searches in single precision are from the same search in double precision, plain and fast.

    python benchmarks/same_search.py --space nas-bench-201 --epochs 3 --seeds 0 1 2 3 4 5 6 7

Both ways compute the same, but round sums differently. A search amplifies this: through ReLUs and max pools, and
through Adam, which moves alpha by the sign of small gradients. So two runs in single precision need not agree. The fair
question is whether the fast way is farther from the exact search than PyTorch's own operations are, on one thread or on
two. For each seed there is a search in double precision by the plain way, and a search in single precision by every
contender. The script prints for how many seeds both find the same cells, for how many edges the same operation wins,
and the relative distance of alpha at the end.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from statistics import median

import torch
from common import machine

from diffnas.data import DataSet, load, subsample
from diffnas.engine.search import search
from diffnas.engine.settings import SearchSettings, merge_settings
from diffnas.genotype import Genotype
from diffnas.method import METHODS
from diffnas.recipes import RECIPES
from diffnas.space import SPACES


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A way to compute a search."""

    name: str
    backend: str
    precision: str = "32-true"
    threads: int = 1


EXACT = Contender(name="plain, double precision", backend="plain", precision="64-true")
CONTENDERS = (
    Contender(name="plain, one thread", backend="plain"),
    Contender(name="plain, two threads", backend="plain", threads=2),
    Contender(name="fast, one thread", backend="cpu"),
)


@dataclass(frozen=True, kw_only=True)
class Found:
    """The result of a search: its cells, alpha of the operations in play, ``(edges, ops)``, and each edge's winner."""

    genotype: Genotype
    alpha: torch.Tensor
    winners: torch.Tensor


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", choices=("darts", "nas-bench-201"), default="nas-bench-201")
    parser.add_argument("--method", default="sparse")
    parser.add_argument("--pictures", type=int, default=400, help="digits to learn from")
    parser.add_argument("--channels", type=int, default=4)
    parser.add_argument("--cells", type=int, default=5)
    parser.add_argument("--batch", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--alpha-lr", type=float, default=0.01)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(8)))
    return parser.parse_args()


def found(how: Contender, data: DataSet, options: argparse.Namespace, seed: int) -> Found:
    method = METHODS[options.method]
    own = {"channels": options.channels, "depth": options.cells, "batch": options.batch, "epochs": options.epochs}
    own |= {"alpha_lr": options.alpha_lr, "seed": seed, "backend": how.backend}
    settings = merge_settings(SearchSettings, method.settings, RECIPES["digits"].search, own)
    result = search(
        data, space=SPACES[options.space], method=method, settings=settings, device="cpu", precision=how.precision,
        threads=how.threads,
    )  # fmt: skip
    line = result.trace[-1]
    mix = torch.tensor(line["mix"])
    return Found(genotype=result.genotype, alpha=torch.tensor(line["alpha"]) * (mix != 0), winners=mix.argmax(1))


def main() -> None:
    options = arguments()
    data = subsample(load("digits"), options.pictures, None)
    same: dict[str, list[Found]] = {each.name: [] for each in (EXACT, *CONTENDERS)}
    for seed in options.seeds:
        for each in (EXACT, *CONTENDERS):
            same[each.name].append(found(each, data, options, seed))
    print(f"# Searches in single precision against double: {options.method} on {options.space}, ", end="")
    print(f"{options.channels} channels, {options.cells} cells, {options.epochs} epochs\n")
    print(machine(), end="\n\n")
    print("| contender | seeds with the same cells | edges with the same winner | alpha differs by |")
    print("| --- | --- | --- | --- |")
    exact = same[EXACT.name]
    for each in CONTENDERS:
        pairs = list(zip(same[each.name], exact, strict=True))
        cells = sum(one.genotype == right.genotype for one, right in pairs)
        edges = torch.cat([one.winners == right.winners for one, right in pairs]).float().mean()
        far = [float((one.alpha - right.alpha).norm() / right.alpha.norm()) for one, right in pairs]
        distance = f"{median(far):.1e} ({min(far):.1e} to {max(far):.1e})"
        print(f"| {each.name} | {cells} of {len(pairs)} | {float(edges):.1%} | {distance} |")
    print(f"\nMedian (least to most) of {len(options.seeds)} seeds.")


if __name__ == "__main__":
    main()
