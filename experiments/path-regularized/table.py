"""Print the results of the runs of ``run.py`` in a folder as Markdown.

python experiments/path-regularized/table.py --runs runs/path-regularized
"""

import argparse
import sys
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch

sys.path.insert(1, str(Path(__file__).parents[1]))
from common import finished, trace
from drawing import COLORS, panels

from diffnas.components.regularizer import chains
from diffnas.genotype import Genotype, read
from diffnas.run_folder import RunFolder
from diffnas.space import darts

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


def draw(runs: list[Path], out: Path) -> None:
    """What each penalty changes, against its strength: the published one is 1."""
    with panels(out, 2, (7.2, 2.2)) as axes:
        for penalty, color in zip(("gates-group", "gates-path"), COLORS, strict=False):
            found = [(strength_of(run, penalty), means(run)) for run in runs]
            known = sorted((strength, each) for strength, each in found if strength is not None)
            strengths = [strength for strength, _ in known]
            axes[0].plot(strengths, [each.skips - each.others for _, each in known], "o", color=color, label=penalty)
            axes[1].plot(strengths, [each.chain for _, each in known], "o", color=color)
        axes[0].set_ylabel("alpha of skips less that of others")
        axes[1].set_ylabel("alpha of convolutions on the chain")
        for each in axes:
            each.set_xscale("symlog", linthresh=1)
            each.set_xlabel("strength of the penalty; 0: none")
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
    if options.plot:
        draw(runs, options.plot)

    print(HEADER)
    print("|---|" + "---|" * (HEADER.count("|") - 2))
    for run in runs:
        print(row(run))
    print("\nMean alpha at the end:\n")
    print("| run | skips | other operations but none | convolutions on the chain | live skips |\n|---|---|---|---|---|")
    print("\n".join(map(preferences, runs)))


if __name__ == "__main__":
    main()
