"""Print the results of the runs of ``run.py`` in a folder as Markdown.

python experiments/path-regularized/table.py --runs runs/path-regularized
"""

import argparse
import sys
from pathlib import Path
from statistics import median
from typing import Any

import torch

sys.path.insert(1, str(Path(__file__).parents[1]))
from common import finished, trace

from diffnas.components.regularizer import chains
from diffnas.genotype import Genotype, read, to_text
from diffnas.run_folder import RunFolder
from diffnas.space import darts

HEADER = (
    "| cell | skips, normal + reduction | convolutions | depth, normal and reduction | whole chains | "
    "live ops of 224, first and last epoch | s/epoch, median of the first three and the last three | "
    "network parameters | test accuracy |"
)


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
    """Mean alpha at the end, for the operations that the penalties lower or raise, and for the others."""
    last = trace(run)[-1]
    alpha, keep = torch.tensor(last["alpha"]), torch.tensor(last["keep"])
    skip, none = darts.ops.index("skip_connect"), darts.ops.index("none")
    others = [op for op in range(len(darts.ops)) if op not in (skip, none)]
    convs = [column for column, op in enumerate(darts.ops) if "conv" in op]
    chain = [row for rows in chains(darts).values() for row in rows]
    means = alpha[:, skip].mean(), alpha[:, others].mean(), alpha[chain][:, convs].mean()
    return f"| {run.name} | {' | '.join(f'{mean:.2f}' for mean in means)} | {int(keep[:, skip].sum())} of 28 |"


def per_epoch(runs: list[Path], title: str, value: Any) -> None:
    """A table with one column for each epoch."""
    epochs = max(len(trace(run)) for run in runs)
    print(f"\n{title}\n\n| run |" + "".join(f" {epoch} |" for epoch in range(1, epochs + 1)))
    print("|---|" + "---|" * epochs)
    for run in runs:
        print(f"| {run.name} | " + " | ".join(value(line) for line in trace(run)) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True)
    runs = finished(parser.parse_args().runs)

    print(HEADER)
    print("|---|" + "---|" * (HEADER.count("|") - 2))
    for run in runs:
        print(row(run))
    print("\nMean alpha at the end:\n")
    print("| run | skips | other operations but none | convolutions on the chain | live skips |\n|---|---|---|---|---|")
    print("\n".join(map(preferences, runs)))
    per_epoch(runs, "Live operations after each epoch, of 224:", lambda line: str(line["indicators"]["live_ops"]))
    per_epoch(runs, "Seconds an epoch:", lambda line: f"{line['seconds']:.0f}")
    print("\nThe cells:\n")
    for run in runs:
        print(f"- {run.name}: `{to_text(read(run / 'genotype.json'))}`")


if __name__ == "__main__":
    main()
