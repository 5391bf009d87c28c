"""E5: does the speed of convergence mispredict which cell will be the best?

    python experiments/theory/e5.py --data DATA --out runs/theory [--table nats-bench-tss-cifar10.csv]

Twenty-four random cells of NAS-Bench-201 are trained from several seeds by a short evaluation of diffnas. Speed is the
slope of the log of the training loss over the first two epochs. It is compared with the test accuracy after the last
epoch, and with the accuracy in the benchmark's table, after 200 epochs on all pictures. The table is any CSV with the
columns ``arch,cifar10_test_200``. It is read only after the trainings, and its accuracies are kept beside the trace.
"""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stats import correlated, picked, slope, spearman
from train import each, parser

from diffnas.data import DataSet, load, subsample
from diffnas.engine import seeds
from diffnas.engine.evaluate import evaluate
from diffnas.engine.listen import Silent
from diffnas.engine.settings import EvaluateSettings, merge_settings
from diffnas.genotype import parse
from diffnas.genotype.nas_bench_201 import canonical
from diffnas.recipes import RECIPES
from diffnas.space import NAS_BENCH_201_OPS

CELLS, TRAIN, TEST, BATCH, EPOCHS, EVERY = 24, 2560, 2000, 64, 12, 10
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
SETTINGS = {"channels": 8, "batch": BATCH}


class StepLosses(Silent):
    """A listener that records the loss of every step.

    The engine reports the mean loss of the epoch so far. All batches have one size, so two such means give the loss of
    the step between them.
    """

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.sum, self.steps = 0.0, 0

    def step(self, loss: float, accuracy: float) -> None:
        """Record this step's loss: the mean so far times the steps, minus the sum of the earlier losses."""
        self.steps += 1
        self.losses.append(loss * self.steps - self.sum)
        self.sum += self.losses[-1]

    def epoch(self, line: Any) -> None:
        """Start a new mean for the next epoch."""
        self.sum, self.steps = 0.0, 0


def cells() -> list[str]:
    """Random cells as architecture strings: all different, and with a path from the input to the output."""
    found: dict[str, str] = {}
    for text in _random_cells():
        genotype = parse(text)
        if genotype.cells["normal"].joined:
            found.setdefault(canonical(genotype), text)
        if len(found) == CELLS:
            break
    return list(found.values())


def _random_cells() -> Iterator[str]:
    generator = seeds.generator(0, "cells")
    while True:
        drawn = torch.randint(len(NAS_BENCH_201_OPS), (len(EDGES),), generator=generator).tolist()
        ops = {edge: NAS_BENCH_201_OPS[number] for edge, number in zip(EDGES, drawn, strict=True)}
        yield "+".join("|" + "|".join(f"{ops[s, t]}~{s}" for s in range(t)) + "|" for t in (1, 2, 3))


def pictures(data_dir: Path, seed: int) -> DataSet:
    """Training and test pictures of CIFAR-10, the same number of each class; every seed has other pictures."""
    return subsample(load("cifar10", data_dir=data_dir), TRAIN, TEST, seed=seed)


def trained(text: str, data: DataSet, seed: int, epochs: int) -> dict[str, Any]:
    """Train one cell; a line of the trace. A point of the curve is the mean of ten steps."""
    recipe = RECIPES["nas-bench-201-small"]
    settings = merge_settings(EvaluateSettings, recipe.evaluate, SETTINGS, {"epochs": epochs, "seed": seed})
    heard = StepLosses()
    result = evaluate(parse(text), data, settings=settings, listener=heard, device="cpu")
    losses = np.array(heard.losses[: len(heard.losses) // EVERY * EVERY]).reshape(-1, EVERY).mean(1)
    used = [connection.op for connection in parse(text).cells["normal"].used]
    return {
        "arm": text,
        "setting": "network",
        "seed": seed,
        "skips": sum(op == "skip_connect" for op in used),
        "convs": sum("conv" in op for op in used),
        "depth": conv_depth(text),
        "parameters": result.parameters,
        "steps": [EVERY * at + EVERY // 2 for at in range(len(losses))],
        "loss": losses.round(5).tolist(),
        "diverged": False,
        "test_accuracy": result.test["accuracy"],
        "seconds": round(result.seconds, 2),
    }


def conv_depth(text: str) -> int:
    """The most convolutions on a path from the input to the output."""
    depth = {0: 0}
    for op, source, target in parse(text).cells["normal"].used:
        depth[target] = max(depth.get(target, 0), depth[source] + ("conv" in op))
    return depth[3]


def from_table(table: Path | None, out: Path) -> dict[str, float]:
    """The benchmark's accuracies of the cells, from its table or a file beside the trace; empty without either."""
    kept = out / "e5-table.json"
    if table:
        with table.open() as file:
            accuracy = {arch: float(value) for arch, value in list(csv.reader(file))[1:]}
        kept.write_text(json.dumps({text: accuracy[text] for text in cells()}, indent=0) + "\n")
    known: dict[str, float] = json.loads(kept.read_text()) if kept.exists() else {}
    return known


def summary(lines: list, benchmark: dict[str, float]) -> dict[str, np.ndarray]:
    """By name, a measurement of every cell, in the order of ``cells()``; means over seeds."""
    groups = [picked(lines, arm=text) for text in cells()]
    groups = [group for group in groups if group]

    def mean(measure: Any) -> np.ndarray:
        return np.array([np.mean([measure(line) for line in group]) for group in groups])

    found = {
        "speed, first two epochs": mean(slope),
        "speed, first half epoch": mean(lambda line: slope(line, 20)),
        "- log training loss at the end": mean(lambda line: -np.log(np.mean(line["loss"][-4:]))),
        "skips": mean(lambda line: line["skips"]),
        "convolutions": mean(lambda line: line["convs"]),
        "depth in convolutions": mean(lambda line: line["depth"]),
        "test accuracy": mean(lambda line: line["test_accuracy"]),
    }
    if benchmark:
        found["benchmark"] = np.array([benchmark[group[0]["arm"]] for group in groups])
    return found


def table(lines: list, benchmark: dict[str, float]) -> None:
    """The table of correlations of speed with accuracy, and with properties of the cells."""
    found = summary(lines, benchmark)
    targets = [name for name in ("test accuracy", "benchmark", "speed, first two epochs") if name in found]
    print(f"\nSpearman's correlation over {len(found['skips'])} cells (95% interval over cells)\n")
    print("| of a cell | with its " + " | with its ".join(targets) + " |")
    print("|---|" + "---|" * len(targets))
    for name, values in found.items():
        agreed = [" " if name == target else correlated(values, found[target]) for target in targets]
        print(f"| {name} | " + " | ".join(agreed) + " |")
    per_seed = {line["seed"] for line in lines}
    for measure, name in ((slope, "speed"), (lambda line: line["test_accuracy"], "test accuracy")):
        each_seed = [[measure(line) for text in cells() for line in picked(lines, arm=text, seed=s)] for s in per_seed]
        pairs = [spearman(a, b) for i, a in enumerate(each_seed) for b in each_seed[:i] if len(a) == len(b)]
        if pairs:
            print(f"\none seed's {name} with another's: {min(pairs):+.2f} to {max(pairs):+.2f}")
    fastest = int(found["speed, first two epochs"].argmax())
    for target in targets[:-1]:
        values = found[target]
        place = int((values > values[fastest]).sum()) + 1
        print(f"\nthe fastest cell: {values[fastest]:.4g} in {target}, place {place}; the best {values.max():.4g}")


def main() -> None:
    options = parser(__doc__, range(2))
    options.add_argument("--table", type=Path, default=None, help="the benchmark's accuracies, a CSV")
    given = options.parse_args()
    jobs = {
        (text, "network"): lambda data, seed, text=text: trained(text, data, seed, given.epochs or EPOCHS)
        for text in cells()
    }
    lines = each(given, "e5.jsonl", jobs, pictures)
    table(lines, from_table(given.table, given.out))


if __name__ == "__main__":
    main()
