"""Print whether the budget separates cells, and ranks them as a longer training does, and draw all trainings.

    python experiments/worth/budget.py --plot experiments/worth/worth.svg

It reads the trainings that ``keep.py`` kept beside this file. What methods differ in, ``diffnas compare`` says.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean, stdev, variance

sys.path.insert(1, str(Path(__file__).parents[1]))
from common import correlated, tested
from drawing import COLORS, dots, panels
from run import TARGET
from scipy import stats

from diffnas.run_folder import RunFolder

TRAININGS = Path(__file__).with_name("trainings")

SHOWN = {
    "random": "{}",
    "seeds": "{}, other seeds",
    "found": "{}",
    "equal": "{}, equal cost",
    "edges": "{}, equal cost",
    "by-hand": "{}",
}
"""The parts with a short training, in the order of the figure, and what their networks are called there."""

Accuracies = Mapping[str, float]
"""The accuracy of each training of a part, in percent, by its name."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plot", type=Path, help="draw into this file")
    options = parser.parse_args()
    parts = {part: accuracies(part) for part in (*SHOWN, "longer")}
    print(separation(parts["random"], parts["seeds"]))
    print(ranking(parts["random"], parts["longer"]))
    if options.plot:
        draw(parts, options.plot)


def accuracies(part: str) -> Accuracies:
    """The accuracies of a part."""
    return {run.name: 100 * RunFolder(run).result()["test"]["accuracy"] for run in tested(TRAININGS / part)}


def separation(first: Accuracies, more: Accuracies) -> str:
    """The F-test of the variance between cells against that between seeds of one cell."""
    repeated: dict[str, list[float]] = defaultdict(list)
    for name, accuracy in more.items():
        cell = name.partition("-seed")[0]
        repeated[cell] = [*(repeated[cell] or [first[cell]]), accuracy]
    within = fmean(map(variance, repeated.values()))
    ratio = variance(first.values()) / within
    p = stats.f.sf(ratio, len(first) - 1, sum(len(each) - 1 for each in repeated.values()))
    return (
        f"Standard deviation between {len(first)} cells {stdev(first.values()):.2f}, between seeds of one cell "
        f"{within**0.5:.2f} ({len(repeated)} cells): F = {ratio:.1f}, p = {p:.3f}."
    )


def ranking(short: Accuracies, longer: Accuracies) -> str:
    """The rank correlation of the short training and the long one."""
    rank = correlated([(short[name], accuracy) for name, accuracy in longer.items()])
    return f"Spearman's rank correlation over {len(longer)} cells: {rank.statistic:.2f}, p = {rank.pvalue:.3f}."


def draw(parts: Mapping[str, Accuracies], path: Path) -> None:
    """A dot for each training, and the short training against the long one."""
    groups: dict[str, list[float]] = defaultdict(list)
    for part, title in SHOWN.items():
        for name, accuracy in parts[part].items():
            stem = name.partition("-seed")[0] if "-seed" in name else name.rpartition("-")[0]
            groups[title.format(stem)].append(accuracy)
    longer = parts["longer"]
    with panels(path, 2, (8.2, 3.6), width_ratios=(2, 1)) as (left, right):
        dots(left, groups, "accuracy after 15 epochs, %")
        left.set_title(f"equal cost, and chains made by hand: {TARGET}")
        right.plot([parts["random"][name] for name in longer], longer.values(), "o", color=COLORS[0], markersize=4)
        right.set(xlabel="after 15 epochs, %", ylabel="after 60 epochs, %")


if __name__ == "__main__":
    main()
