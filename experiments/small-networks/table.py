"""Print the small networks that ``run.py`` trained, in Markdown, and draw accuracy against cost.

    python experiments/small-networks/table.py
    python experiments/small-networks/table.py --runs runs/small --plot front.svg

The trainings that are finished in ``--runs`` are added to ``results.json`` beside this file.
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

from common import keep, kept, layers
from run import RESULTS

from diffnas.engine.costing import PeakMemory
from diffnas.engine.target import amount, parse
from diffnas.genotype import Genotype, from_json
from diffnas.genotype.own_space import own_space
from diffnas.nets.sized import Size, SizedSpace
from diffnas.run_folder import RunFolder

Row = dict[str, Any]
COSTS = {
    "macs": ("multiply-adds, millions", 1e6, (0.5, 1, 2, 5, 10, 40)),
    "params": ("parameters, thousands", 1e3, (10, 30, 100, 300, 800)),
    "memory": ("peak memory of activations, KiB", 1024, (32, 64, 128)),
}
"""The label of each cost, its unit on the plot, and the ticks."""
COLORS = {
    "found": "#1f6f54",
    "cells": "#6fb39a",
    "mobilenet": "#b0591b",
    "resnet": "#c98d3c",
    "convnext": "#7a5ca8",
    "random": "#8a8780",
}
PUBLISHED = {
    "MLPerf Tiny, ResNet-8": {"macs": 12.5e6, "params": 78e3, "accuracy": 85.0},  # what the benchmark asks for
    "ShuffleNetV2 x0.5": {"macs": 10.9e6, "params": 0.35e6, "accuracy": 90.1},
    "MobileNetV2 x0.5": {"macs": 28.0e6, "params": 0.70e6, "accuracy": 92.9},
    "ResNet-20": {"macs": 40.8e6, "params": 0.27e6, "accuracy": 92.6},
}
"""Networks of others, trained for 200 epochs or more; the last three by github.com/chenyaofo/pytorch-cifar-models."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, help="where run.py put its folders")
    parser.add_argument("--plot", type=Path, help="draw into this file")
    options = parser.parse_args()
    rows = kept(RESULTS)
    if options.runs:
        rows = sorted({key(row): row for row in [*rows, *finished(options.runs)]}.values(), key=key)
        keep(RESULTS, rows)
    if options.plot:
        draw(rows, options.plot)
    print_table(rows)


def key(row: Row) -> tuple[float, str, int]:
    """By target, network and seed."""
    return parse(f"macs={row['target']}")[0].value, row["network"], row["seed"]


def finished(runs: Path) -> Iterator[Row]:
    """A row for each finished training, by target, network and seed."""
    for folder in map(RunFolder, sorted(runs.glob("*-seed*"))):
        if not folder.result_file.exists():
            continue  # a search, or a training that goes on
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
    size = Size(settings["channels"], settings["depth"], settings["stem"])
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
    """Mean test accuracy against each cost, a line for each kind of network, with published networks beside them."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "front", "font.size": 8})
    figure, panels = plt.subplots(1, 3, figsize=(9, 3.2), sharey=True)
    for axes, (cost, (label, unit, ticks)) in zip(panels, COSTS.items(), strict=True):
        for name, color in COLORS.items():
            same = [own for (_, network), own in grouped(rows).items() if network.startswith(name)]
            points = sorted((fmean(row[cost] / unit for row in own), accuracy(own)) for own in same)
            style = "o" if name == "random" else "o-"  # three networks of one cost make no line
            if points:
                axes.plot(*zip(*points, strict=True), style, color=color, markersize=4, label=name)
        if cost != "memory":
            known = [(each[cost] / unit, each["accuracy"]) for each in PUBLISHED.values()]
            axes.plot(*zip(*known, strict=True), "D", color="#8a8780", fillstyle="none", label="published")
        axes.set(xscale="log", xlabel=label)
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.grid(color="#d8d6cf", linewidth=0.4)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set(ylabel="test accuracy, %")
    panels[0].legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def accuracy(same: list[Row]) -> float:
    """The mean test accuracy of trainings, in percent."""
    return fmean(100 * row["accuracy"] for row in same)


if __name__ == "__main__":
    main()
