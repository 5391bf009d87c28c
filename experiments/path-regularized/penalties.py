"""Print what each penalty does to alpha and to the cells, by its strength, in Markdown, and draw it.

python experiments/path-regularized/penalties.py experiments/path-regularized/strength --plot penalties.svg
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(1, str(Path(__file__).parents[1]))
from common import correlated
from drawing import COLORS, panels

from diffnas.api.compare import compared
from diffnas.components.regularizer import chains
from diffnas.report.compare import Column, Found, Group, group_grid, run_grid, to_markdown
from diffnas.report.compare.columns import COLUMNS
from diffnas.report.compare.differences import holm
from diffnas.space import darts

SKIP, NONE = darts.ops.index("skip_connect"), darts.ops.index("none")
OTHERS = [op for op in range(len(darts.ops)) if op not in (SKIP, NONE)]
CONVS = [column for column, op in enumerate(darts.ops) if "conv" in op]
CHAIN = [row for rows in chains(darts).values() for row in rows]


def alpha(mean: Callable[[Tensor], Tensor]) -> Callable[[Found], float]:
    """A function of a run: a mean of its alpha at the end."""
    return lambda run: float(mean(torch.tensor(run.lines[-1]["alpha"])))


def whole(run: Found) -> int:
    """In how many of its two cells a convolution joins every node to the one before it."""
    cells = [run.genotype.cells[kind] for kind in ("normal", "reduce")]
    joined = [{(c.source, c.target) for c in cell.connections if "conv" in c.op} for cell in cells]
    return sum({(1, 2), (2, 3), (3, 4), (4, 5)} <= each for each in joined)


def live_skips(run: Found) -> int:
    """How many skips are in play at the end."""
    return int(torch.tensor(run.lines[-1]["keep"])[:, SKIP].sum())


SHOWN = (
    Column("alpha of skips", alpha(lambda a: a[:, SKIP].mean()), "{:.2f}".format),
    Column("of others but none", alpha(lambda a: a[:, OTHERS].mean()), "{:.2f}".format),
    Column("live skips of 28", live_skips, "{:.0f}".format),
    Column("whole chains", whole, "{:.0f}".format),
)
EFFECTS = (
    Column(
        "alpha of skips less that of others", alpha(lambda a: a[:, SKIP].mean() - a[:, OTHERS].mean()), "{:.2f}".format
    ),
    Column("alpha of convolutions on the chain", alpha(lambda a: a[CHAIN][:, CONVS].mean()), "{:.2f}".format),
    COLUMNS["skips"],
    COLUMNS["depth"],
)
PENALTIES = {"gates-group": EFFECTS[0], "gates-path": EFFECTS[1]}
"""The penalties, and the effect of each by which it is judged."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--plot", type=Path, help="draw into this file")
    options = parser.parse_args()
    groups = compared([options.runs])
    print(to_markdown(group_grid(groups, EFFECTS)), to_markdown(run_grid(groups, SHOWN + EFFECTS[:2])), sep="\n\n")
    print_correlations(groups)
    if options.plot:
        draw(groups, options.plot)


def print_correlations(groups: Sequence[Group]) -> None:
    """Whether the strength of each penalty and the effect that judges it are correlated."""
    found = {penalty: by_strength(groups, penalty, effect) for penalty, effect in PENALTIES.items()}
    judged = {penalty: points for penalty, points in found.items() if len({strength for strength, _ in points}) > 2}
    if not judged:
        return
    tests = [correlated(points) for points in judged.values()]
    print("\n| penalty | runs | correlation of strength and effect | p |\n|---|---|---|---|")
    for (penalty, points), test, p in zip(judged.items(), tests, holm([test.pvalue for test in tests]), strict=True):
        print(f"| {penalty} | {len(points)} | {test.statistic:+.2f} | {p:.3f} |")


def by_strength(groups: Sequence[Group], penalty: str, effect: Column) -> list[tuple[float, float]]:
    """The strength of a penalty without the other, and the effect at it, of each run."""
    runs = [run for group in groups for run in group.runs]
    known = [(strength, effect.value(run)) for run in runs if (strength := strength_of(run, penalty)) is not None]
    return sorted(known)


def strength_of(run: Found, penalty: str) -> float | None:
    """How strong a penalty was in a run with no other penalty: 0 for none, 1 as published; None for other runs."""
    method = run.name.rpartition("-")[0]
    base, _, factor = method.partition("-x")
    if method == "gates":
        return 0.0
    return float(factor or 1) if base == penalty else None


def draw(groups: Sequence[Group], out: Path) -> None:
    """What each penalty changes, against its strength."""
    with panels(out, len(EFFECTS), (9.6, 2.2)) as axes:
        for each, effect in zip(axes, EFFECTS, strict=True):
            for penalty, color in zip(PENALTIES, COLORS, strict=False):
                points = by_strength(groups, penalty, effect)
                each.plot(*zip(*points, strict=True), "o", color=color, label=penalty, alpha=0.6, markeredgewidth=0)
            each.set_title(effect.title, fontsize=7)
            each.set_xscale("symlog", linthresh=1)
            each.set_xlabel("strength, 0: none")
        axes[0].legend(fontsize=6)


if __name__ == "__main__":
    main()
