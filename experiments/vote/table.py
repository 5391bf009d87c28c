"""The cells that seeds of one search find alone, and those for which three or five of them vote, as Markdown.

    python experiments/vote/table.py --runs experiments/nas-bench-201/traces --table nats-bench-tss-cifar10.csv

A vote is that of ``diffnas vote``: the method's rule reads a cell off from the mean of the mixing weights at the end.
Nothing is trained. The table of NAS-Bench-201 is any that ``diffnas lookup`` takes; without it, no accuracy is printed.
"""

import argparse
import json
import sys
from collections import Counter
from itertools import combinations, groupby
from pathlib import Path
from statistics import mean, stdev

import torch
from torch import Tensor

sys.path.insert(1, str(Path(__file__).parents[1]))
from common import short

from diffnas import tables
from diffnas.components.discretize import winners
from diffnas.genotype import Genotype
from diffnas.space import nas_bench_201

COLUMN = "cifar10_test_200"


def ends(runs: Path) -> dict[str, list[tuple[Tensor, Tensor]]]:
    """Mix and keep at the end of each search, by method."""
    folders = sorted(path.parent for path in runs.glob("*/trace.jsonl"))
    groups = groupby(folders, key=lambda folder: folder.name.rpartition("-")[0])
    return {method: [end(folder) for folder in group] for method, group in groups}


def end(folder: Path) -> tuple[Tensor, Tensor]:
    """Mix and keep at the end of a search."""
    last = json.loads((folder / "trace.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    return torch.tensor(last["mix"]), torch.tensor(last["keep"])


def voted(searches: tuple[tuple[Tensor, Tensor], ...]) -> Genotype:
    """The cell for which some searches vote."""
    mixes, keeps = zip(*searches, strict=True)
    return winners(torch.stack(mixes).mean(0), torch.stack(keeps).any(0), nas_bench_201)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--table", type=Path)
    options = parser.parse_args()
    table = tables.load(options.table) if options.table else None
    print("| method | seeds in a vote | votes | cells, and how often | in the table |")
    print("|---|---|---|---|---|")
    for method, searches in ends(options.runs).items():
        for count in (1, 3, len(searches)):
            cells = [voted(some) for some in combinations(searches, count)]
            often = ", ".join(f"{cell} {times}" for cell, times in Counter(map(short, cells)).most_common())
            found = [table.lookup(cell, COLUMN).accuracy for cell in cells] if table else []
            spread = f" ± {stdev(found):.2f}" if len(found) > 1 else ""
            print(f"| {method} | {count} | {len(cells)} | {often} | {f'{mean(found):.2f}{spread}' if found else '-'} |")


if __name__ == "__main__":
    main()
