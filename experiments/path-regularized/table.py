"""Print the results of the runs of ``run.py`` in a folder as Markdown, and what each penalty does, by its strength.

python experiments/path-regularized/table.py --runs runs/path-regularized --plot penalties.svg
"""

import argparse
import sys
from collections import defaultdict
from math import factorial
from pathlib import Path
from statistics import fmean, median
from typing import Any, NamedTuple

import torch

sys.path.insert(1, str(Path(__file__).parents[1]))
from common import finished, trace
from drawing import COLORS, panels
from scipy import stats

from diffnas.components.regularizer import chains
from diffnas.genotype import Genotype, read
from diffnas.report.compare.differences import holm
from diffnas.run_folder import RunFolder
from diffnas.space import darts

PENALTIES = {
    "gates-group": "alpha of skips less that of others",
    "gates-path": "alpha of convolutions on the chain",
}
"""The penalties, and the effect of each by which it is judged."""

Trends = dict[str, list[tuple[float, float]]]
"""For each effect, pairs of a strength and the effect at it."""

HEADER = (
    "| cell | skips, normal + reduction | convolutions | depth, normal and reduction | whole chains | "
    "live ops of 224, first and last epoch | s/epoch, median of the first three and the last three | "
    "network parameters | test accuracy |"
)


class Means(NamedTuple):
    """Mean alpha of skips, of the other operations but ``none``, and of convolutions on the chain from node to node."""

    skips: float
    others: float
    chain: float


def counts(genotype: Genotype) -> str:
    """Skips, convolutions and depth of both cells, and in how many of them a convolution joins all adjacent nodes."""
    cells = [genotype.cells[kind] for kind in ("normal", "reduce")]
    skips, depths = (
        [str(value) for value in each]
        for each in zip(*((c.count("skip_connect"), c.learned_depth) for c in cells), strict=True)
    )
    convs = sum("conv" in connection.op for cell in cells for connection in cell.connections)
    whole = sum(
        {(1, 2), (2, 3), (3, 4), (4, 5)} <= {(c.source, c.target) for c in cell.connections if "conv" in c.op}
        for cell in cells
    )
    return f"{' + '.join(skips)} | {convs} | {', '.join(depths)} | {whole} of 2"


def row(run: Path) -> str:
    """A line of the table."""
    text = f"| {run.name} | {counts(read(run / 'genotype.json'))} "
    lines = trace(run)
    live = [line["indicators"]["live_ops"] for line in lines]
    seconds = [line["seconds"] for line in lines]
    text += f"| {live[0]}, {live[-1]} | {median(seconds[:3]):.0f}, {median(seconds[-3:]):.0f} "
    evaluation = RunFolder(run / "evaluation")
    if not (evaluation.path / "result.json").exists():
        return f"{text}| | |"
    measured = evaluation.result()
    return f"{text}| {measured['parameters'] / 1e3:.0f} k | {measured['test']['accuracy']:.2%} |"


def preferences(run: Path) -> str:
    """Mean alpha at the end, and how many skips are in play, as a line of a table."""
    live = int(torch.tensor(trace(run)[-1]["keep"])[:, darts.ops.index("skip_connect")].sum())
    return f"| {run.name} | {' | '.join(f'{mean:.2f}' for mean in means(run))} | {live} of 28 |"


def means(run: Path) -> Means:
    """Mean alpha at the end, for the operations that the penalties lower or raise, and for the others."""
    alpha = torch.tensor(trace(run)[-1]["alpha"])
    skip, none = darts.ops.index("skip_connect"), darts.ops.index("none")
    others = [op for op in range(len(darts.ops)) if op not in (skip, none)]
    convs = [column for column, op in enumerate(darts.ops) if "conv" in op]
    chain = [row for rows in chains(darts).values() for row in rows]
    return Means(*map(float, (alpha[:, skip].mean(), alpha[:, others].mean(), alpha[chain][:, convs].mean())))


def effects(run: Path) -> dict[str, float]:
    """What the penalties are meant to change: alpha, and the cells that are read off."""
    alpha, cells = means(run), read(run / "genotype.json").cells.values()
    return {
        "alpha of skips less that of others": alpha.skips - alpha.others,
        "alpha of convolutions on the chain": alpha.chain,
        "skips in both cells": sum(cell.count("skip_connect") for cell in cells),
        "depth of both cells": sum(cell.learned_depth for cell in cells),
    }


def by_strength(runs: list[Path], penalty: str) -> Trends:
    """The strengths of a penalty without the other, 0 for none and 1 as published, and each effect at them."""
    trends: Trends = defaultdict(list)
    for run in runs:
        strength = strength_of(run, penalty)
        if strength is not None:
            for name, value in effects(run).items():
                trends[name].append((strength, value))
    return {name: sorted(points) for name, points in trends.items()}


def print_trends(trends: dict[str, Trends]) -> None:
    """Each effect by the strength of a penalty, and whether strength and the effect that judges it are correlated."""
    print("\n| penalty | effect | mean at each strength |\n|---|---|---|")
    for penalty, found in trends.items():
        for name, points in found.items():
            levels = sorted({strength for strength, _ in points})
            at = {level: fmean(value for strength, value in points if strength == level) for level in levels}
            print(f"| {penalty} | {name} | {', '.join(f'{level:g}: {mean:.2f}' for level, mean in at.items())} |")
    judged = {penalty: found[PENALTIES[penalty]] for penalty, found in trends.items()}
    tests = [correlated(points) for points in judged.values()]
    print("\n| penalty | runs | correlation of strength and effect | p |\n|---|--:|--:|--:|")
    for (penalty, points), test, p in zip(judged.items(), tests, holm([test.pvalue for test in tests]), strict=True):
        print(f"| {penalty} | {len(points)} | {test.statistic:+.2f} | {p:.3f} |")


def correlated(points: list[tuple[float, float]]) -> Any:
    """Spearman's correlation, with the share of all orders of the effects that give one as large, of either sign."""
    strengths, values = (stats.zscore(stats.rankdata(each)) for each in zip(*points, strict=True))

    def statistic(order: Any, axis: int) -> Any:
        return (order * strengths).mean(axis=axis)

    return stats.permutation_test(
        (values,), statistic, permutation_type="pairings", vectorized=True, n_resamples=factorial(len(points))
    )


def draw(trends: dict[str, Trends], out: Path) -> None:
    """What each penalty changes, against its strength."""
    names = list(next(iter(trends.values())))
    with panels(out, len(names), (9.6, 2.2)) as axes:
        for (penalty, found), color in zip(trends.items(), COLORS, strict=False):
            for each, points in zip(axes, found.values(), strict=True):
                each.plot(*zip(*points, strict=True), "o", color=color, label=penalty, alpha=0.6, markeredgewidth=0)
        for each, name in zip(axes, names, strict=True):
            each.set_title(name, fontsize=7)
            each.set_xscale("symlog", linthresh=1)
            each.set_xlabel("strength, 0: none")
        axes[0].legend(fontsize=6)


def strength_of(run: Path, penalty: str) -> float | None:
    """How strong a penalty was in a run with no other penalty; None for other runs."""
    method = run.name.rpartition("-")[0]
    base, _, factor = method.partition("-x")
    if method == "gates":
        return 0.0
    return float(factor or 1) if base == penalty else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--plot", type=Path, help="draw into this file")
    options = parser.parse_args()
    runs = finished(options.runs)
    trends = {penalty: by_strength(runs, penalty) for penalty in PENALTIES}
    if options.plot:
        draw(trends, options.plot)

    print(HEADER)
    print("|---|" + "---|" * (HEADER.count("|") - 2))
    for run in runs:
        print(row(run))
    print("\nMean alpha at the end:\n")
    print("| run | skips | other operations but none | convolutions on the chain | live skips |\n|---|---|---|---|---|")
    print("\n".join(map(preferences, runs)))
    print_trends(trends)


if __name__ == "__main__":
    main()
