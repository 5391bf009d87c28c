"""Print what the trainings of ``run.py`` say, in Markdown: does the budget separate cells, and do searches pay?

    python experiments/worth/table.py
    python experiments/worth/table.py --runs runs/worth --plot experiments/worth/worth.svg

The trainings that are finished in ``--runs`` are written to ``results.json`` beside this file first.
"""

import argparse
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import fmean, stdev, variance
from typing import Any

sys.path.insert(1, str(Path(__file__).parents[1]))
from common import keep, kept, welch
from drawing import COLORS, dots, panels
from run import PARTS, SEARCHED, TARGET
from scipy import stats

from diffnas.genotype import to_text
from diffnas.report.compare import read_found
from diffnas.run_folder import RunFolder

RESULTS = Path(__file__).with_name("results.json")
Row = dict[str, Any]

FAMILIES = (
    (SEARCHED, "random"),
    (tuple(f"{name}, equal cost" for name in SEARCHED), "random"),
    (("sparse, equal cost",), "random-edges, equal cost"),
)
"""Groups of trainings, and the group that each is compared with."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, help="where run.py put its folders")
    parser.add_argument("--plot", type=Path, help="draw into this file")
    options = parser.parse_args()
    if options.runs:
        keep(RESULTS, finished(options.runs))
    rows = kept(RESULTS)
    print_groups(rows)
    print_separation(rows)
    print_ranking(rows)
    print_worth(rows)
    if options.plot:
        draw(rows, options.plot)


def finished(runs: Path) -> Iterator[Row]:
    """A row for each finished training."""
    for part in PARTS:
        for folder in sorted((runs / part).glob("*/result.json")):
            run = folder.parent
            result = RunFolder(run).result()
            yield {
                "part": part,
                "run": run.name,
                "accuracy": round(100 * result["test"]["accuracy"], 2),
                "train": round(100 * RunFolder(run).trace()[-1]["train"]["accuracy"], 2),
                "macs": result["macs"],
                "parameters": result["parameters"],
                "seconds": round(result["seconds"]),
                "cells": to_text(read_found(run).genotype),
            }


def name_of(row: Row) -> str:
    """What a training belongs to: random cells, a method, or a network made by hand."""
    name = re.sub(r"-(seed)?\d+$", "", row["run"])
    return {
        "seeds": f"{name}, other seeds",
        "equal": f"{name}, equal cost",
        "edges": f"{name}, equal cost",
        "longer": f"{name}, 60 epochs",
    }.get(row["part"], name)


def groups_of(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Trainings by what they belong to."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[name_of(row)].append(row)
    return groups


def accuracies(rows: Iterable[Row]) -> list[float]:
    return [row["accuracy"] for row in rows]


def print_groups(rows: list[Row]) -> None:
    print("| networks | trainings | accuracy | training pictures | multiply-adds | parameters | seconds |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for name, own in groups_of(rows).items():
        found = accuracies(own)
        spread = f" ± {stdev(found):.2f}" if len(found) > 1 else ""
        means = {key: fmean(row[key] for row in own) for key in ("train", "macs", "parameters", "seconds")}
        print(
            f"| {name} | {len(own)} | {fmean(found):.2f}{spread} | {means['train']:.2f} | "
            f"{means['macs'] / 1e6:.2f} M | {means['parameters'] / 1e3:.0f} k | {means['seconds']:.0f} |"
        )


def print_separation(rows: list[Row]) -> None:
    """The F-test of the variance between cells against that between seeds of one cell."""
    first = {row["run"]: row["accuracy"] for row in rows if row["part"] == "random"}
    repeated: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        if row["part"] == "seeds":
            repeated[row["run"].partition("-seed")[0]].append(row["accuracy"])
    if len(first) < 2 or not repeated:
        return
    seeds = [[first[name], *others] for name, others in repeated.items()]
    within = fmean(variance(each) for each in seeds)
    ratio = variance(first.values()) / within
    p = stats.f.sf(ratio, len(first) - 1, sum(len(each) - 1 for each in seeds))
    print(
        f"\nStandard deviation between {len(first)} cells {stdev(first.values()):.2f}, between seeds of one cell "
        f"{within**0.5:.2f} ({len(seeds)} cells): F = {ratio:.1f}, p = {p:.3f}."
    )


def pairs(rows: list[Row]) -> list[tuple[float, float]]:
    """Accuracies of the same cells after the short training and the long one."""
    short = {row["run"]: row["accuracy"] for row in rows if row["part"] == "random"}
    return [(short[row["run"]], row["accuracy"]) for row in rows if row["part"] == "longer"]


def print_ranking(rows: list[Row]) -> None:
    """The rank correlation of the short training and the long one."""
    both = pairs(rows)
    if len(both) > 2:
        rank = stats.spearmanr(*zip(*both, strict=True))
        print(f"\nSpearman's rank correlation over {len(both)} cells: {rank.statistic:.2f}, p = {rank.pvalue:.3f}.")


def print_worth(rows: list[Row]) -> None:
    """Each method's cells against random ones: Welch's test, and p by Holm over the tests of a family."""
    groups = groups_of(row for row in rows if row["part"] != "longer")
    print("\n| cells | less | difference | from | to | p |\n|---|---|--:|--:|--:|--:|")
    for names, other in FAMILIES:
        known = [name for name in names if min(len(groups.get(name, ())), len(groups.get(other, ()))) > 1]
        both = [(accuracies(groups[name]), accuracies(groups[other])) for name in known]
        for name, (mean, low, high, p) in zip(known, welch(both), strict=True):
            told = f"{p:.3f}" if p >= 0.001 else "< 0.001"
            print(f"| {name} | {other} | {mean:+.2f} | {low:+.2f} | {high:+.2f} | {told} |")


def draw(rows: list[Row], path: Path) -> None:
    """A dot for each training, and the short training against the long one."""
    groups = groups_of(row for row in rows if row["part"] != "longer")
    with panels(path, 2, (8.2, 3.6), width_ratios=(2, 1)) as (left, right):
        dots(left, {name: accuracies(own) for name, own in groups.items()}, "accuracy after 15 epochs, %")
        left.set_title(f"equal cost, and chains made by hand: {TARGET}")
        both: Sequence[tuple[float, float]] = pairs(rows)
        if both:
            right.plot(*zip(*both, strict=True), "o", color=COLORS[0], markersize=4)
        right.set(xlabel="after 15 epochs, %", ylabel="after 60 epochs, %")


if __name__ == "__main__":
    main()
