"""Look the cells of finished searches up in a table of NAS-Bench-201, and print Markdown.

    python experiments/nas-bench-201/table.py --runs runs/nas-bench-201 --table nats-bench-tss-cifar10.csv

The table is any that ``diffnas lookup`` takes, with the column ``cifar10_test_200``. It is read here, after all
searches are done, and nowhere else. Every search is read off twice: as its method prescribes, ``none`` included, and
with ``none`` left out.
"""

import argparse
import sys
from itertools import combinations
from pathlib import Path
from statistics import mean, stdev

import torch

sys.path.insert(1, str(Path(__file__).parents[1]))
from common import finished, short, trace

from diffnas import tables
from diffnas.components.discretize import winners
from diffnas.space import nas_bench_201


def agreement(cells: list[str]) -> float:
    """The mean share of edges that two searches of a group give the same operation."""
    return mean(mean(a == b for a, b in zip(x, y, strict=True)) for x, y in combinations(cells, 2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--table", type=Path, required=True)
    options = parser.parse_args()
    table = tables.load(options.table)

    groups: dict[str, list[dict[str, object]]] = {}
    for run in finished(options.runs):
        lines = trace(run)
        mix, keep = torch.tensor(lines[-1]["mix"]), torch.tensor(lines[-1]["keep"])
        row: dict[str, object] = {
            "seed": run.name.rsplit("-", 1)[1],
            "first": lines[0]["seconds"],
            "last": lines[-1]["seconds"],
            "total": sum(line["seconds"] for line in lines),
            "live": lines[-1]["indicators"]["live_ops"],
            "discarded": float((mix.sum(dim=1) - mix.amax(dim=1)).mean()),
        }
        for name, none in (("cell", True), ("without", False)):
            found = winners(mix, keep, nas_bench_201, none=none)
            entry = table.lookup(found, "cifar10_test_200")
            row |= {name: short(found), f"{name}_accuracy": entry.accuracy, f"{name}_rank": entry.rank}
        groups.setdefault(run.name.rsplit("-", 1)[0], []).append(row)

    print("| method | seed | cell | accuracy | rank | without none | accuracy | live ops | weight discarded |", end="")
    print(" s/epoch first, last | s in all |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for method, rows in groups.items():
        for r in rows:
            print(f"| {method} | {r['seed']} | {r['cell']} | {r['cell_accuracy']:.2f} | {r['cell_rank']} ", end="")
            print(f"| {r['without']} | {r['without_accuracy']:.2f} | {r['live']} of 30 | {r['discarded']:.2f} ", end="")
            print(f"| {r['first']:.1f}, {r['last']:.1f} | {r['total']:.0f} |")
    print()
    print("| method | seeds | accuracy, mean ± std | without none | distinct cells | edges two seeds agree on |")
    print("|---|---|---|---|---|---|")
    for method, rows in groups.items():
        cells = [str(r["cell"]) for r in rows]
        if len(cells) < 2:
            continue
        summaries = []
        for name in ("cell_accuracy", "without_accuracy"):
            values = [float(str(r[name])) for r in rows]
            summaries.append(f"{mean(values):.2f} ± {stdev(values):.2f}")
        print(f"| {method} | {len(rows)} | {summaries[0]} | {summaries[1]} | {len(set(cells))} ", end="")
        print(f"| {agreement(cells):.0%} |")


if __name__ == "__main__":
    main()
