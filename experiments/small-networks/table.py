"""Print the small networks that ``run.py`` trained, in Markdown; keep them as JSON, and draw accuracy against cost.

    python experiments/small-networks/table.py --runs runs/small
    python experiments/small-networks/table.py --runs runs/small --out experiments/small-networks/results.json
    python experiments/small-networks/table.py --results experiments/small-networks/results.json --plot front.svg

Trainings that are not finished are left out.
"""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

sys.path.insert(1, str(Path(__file__).parents[1]))

from common import layers

from diffnas.engine.costing import PeakMemory
from diffnas.engine.target import amount
from diffnas.genotype import Genotype, from_json
from diffnas.genotype.own_space import own_space
from diffnas.nets.sized import Size, SizedSpace
from diffnas.run_folder import RunFolder

Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, help="where run.py put its folders")
    parser.add_argument("--results", type=Path, help="read this file in place of folders")
    parser.add_argument("--out", type=Path, help="keep the results of the folders in this file")
    parser.add_argument("--plot", type=Path, help="draw into this file")
    options = parser.parse_args()
    rows = json.loads(options.results.read_text()) if options.results else list(finished(options.runs))
    if options.out:
        options.out.write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n")
    if options.plot:
        draw(rows, options.plot)
    print_table(rows)


def finished(runs: Path) -> Iterator[Row]:
    """A row for each finished training, by target, network and seed."""
    for folder in map(RunFolder, sorted(runs.glob("*-seed*"))):
        if not folder.result_file.exists():
            continue
        name, target, seed = folder.path.name.rsplit("-", 2)
        result, record = folder.result(), folder.record
        cells = from_json(json.dumps(record["genotype"]))
        yield {
            "network": name,
            "target": target,
            "seed": int(seed.removeprefix("seed")),
            "layers": layers(cells),
            "channels": record["settings"]["channels"],
            "accuracy": round(result["test"]["accuracy"], 4),
            "train": round(folder.trace()[-1]["train"]["accuracy"], 4),
            "macs": result["macs"],
            "params": result["parameters"],
            "memory": memory(cells, record["settings"]),
            "seconds": round(result["seconds"]),
        }


def memory(cells: Genotype, settings: dict[str, Any]) -> int:
    """The most bytes that activations take at once, for one picture of CIFAR-10."""
    size = Size(settings["channels"], len(cells.cells), settings["stem"])
    at = SizedSpace(space=own_space(cells), picture=(3, 32, 32), classes=10, size=size)
    return round(PeakMemory().of(at, cells))


def grouped(rows: list[Row]) -> dict[tuple[str, str], list[Row]]:
    """The rows of each target and network."""
    found = defaultdict(list)
    for row in rows:
        found[row["target"], row["network"]].append(row)
    return found


def print_table(rows: list[Row]) -> None:
    print("| target | network | test accuracy | training | multiply-adds | parameters | memory | seconds |")
    print("|--:|---|--:|--:|--:|--:|--:|--:|")
    for (target, network), same in grouped(rows).items():
        tested = [100 * row["accuracy"] for row in same]
        spread = f" ± {stdev(tested):.2f} ({len(tested)})" if len(tested) > 1 else ""
        costs = [amount(cost, fmean(row[cost] for row in same)).rsplit(" ", 1)[0] for cost in ("macs", "params")]
        held = amount("memory", fmean(row["memory"] for row in same)).removesuffix(" of memory")
        learned, time = fmean(100 * row["train"] for row in same), fmean(row["seconds"] for row in same)
        told = [f"{fmean(tested):.2f}%{spread}", f"{learned:.1f}%", *costs, held, f"{time:.0f}"]
        print(f"| {target} | {network} | " + " | ".join(told) + " |")


def draw(rows: list[Row], path: Path) -> None:
    """Accuracy against multiply-adds, a dot for each training."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4))
    for network in dict.fromkeys(row["network"].split("-")[0] for row in rows):
        same = [row for row in rows if row["network"].split("-")[0] == network]
        axes.plot([row["macs"] for row in same], [100 * row["accuracy"] for row in same], "o", label=network)
    axes.set(xscale="log", xlabel="multiply-adds", ylabel="test accuracy, %")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
