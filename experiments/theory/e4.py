"""E4: does the rate of the formula tell which of some random cells converges faster?

    python experiments/theory/e4.py --data DATA --out runs/theory

There are twenty-four cells of four nodes. The weights of an edge, for none, skip and conv, are the softmax of three
normal numbers of standard deviation two. The other predictors are the total weight of skip and of conv, the squared
norm of the gradient at the start divided by the loss, which is how fast log loss falls at first, and the size of the
readout's inputs at the start.
"""

from collections.abc import Mapping

import numpy as np
import torch
from cells import dense
from stats import correlated, picked, slope, spearman
from train import Arm, parser, run

from diffnas.engine import seeds

NODES, CELLS = 4, 24


def arms() -> list[Arm]:
    """The random cells, the same for all seeds."""
    found = []
    for cell in range(CELLS):
        logits = 2 * torch.randn(len(dense(NODES)), 3, generator=seeds.generator(0, "cell", cell))
        rows = logits.softmax(1).tolist()
        gates = {edge: {"skip": row[1], "conv": row[2]} for edge, row in zip(dense(NODES), rows, strict=True)}
        found.append(Arm(name=f"cell-{cell:02d}", about={"cell": cell}, gates=gates, nodes=NODES))
    return found


def total(line: Mapping, op: str) -> float:
    """The weight of an operation, summed over the edges."""
    return sum(weights[op] for weights in line["gates"].values())


PREDICTORS = {
    "log rate, to the letter": lambda line: np.log(line["rate_inputs"]),
    "log rate, skips of the chain": lambda line: np.log(line["rate_chain"]),
    "skip in all": lambda line: total(line, "skip"),
    "conv in all": lambda line: total(line, "conv"),
    "size of the signal": lambda line: line["signal"],
    "gradient at the start": lambda line: line["gradient"],
}


def columns(lines: list, setting: str, measure=slope) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Means over seeds of every predictor and of the slope, ``(cells,)``, and the slopes, ``(seeds, cells)``."""
    found = [picked(lines, setting=setting, cell=cell) for cell in range(CELLS)]
    predicted = {
        name: np.array([np.mean([predict(line) for line in cell]) for cell in found])
        for name, predict in PREDICTORS.items()
    }
    each = np.array([[measure(line) for line in sorted(cell, key=lambda line: line["seed"])] for cell in found]).T
    return predicted, each.mean(0), each


def table(lines: list, setting: str) -> None:
    """How each predictor's ranks agree with the ranks of the slopes."""
    print(f"\n{setting}: Spearman's correlation over {CELLS} cells with the slope (95% interval over cells)\n")
    print("| predictor | first two epochs | all epochs |")
    print("|---|---|---|")
    predicted, first, each = columns(lines, setting)
    _, whole, _ = columns(lines, setting, lambda line: slope(line, None))
    for name, values in predicted.items():
        print(f"| {name} | {correlated(values, first)} | {correlated(values, whole)} |")
    pairs = [spearman(each[a], each[b]) for a in range(len(each)) for b in range(a)]
    if pairs:
        print(f"| one seed's slopes with another's | {min(pairs):+.2f} to {max(pairs):+.2f} | |")


def main() -> None:
    lines = run(arms(), parser(__doc__, range(2)).parse_args(), "e4.jsonl")
    for setting in ("analyzed", "practical"):
        table(lines, setting)


if __name__ == "__main__":
    main()
