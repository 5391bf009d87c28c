"""Print whether the level of a search or its number of steps makes the difference, by a table of cells.

    python experiments/nas-bench-201/steps.py --table nats-bench-tss-cifar10.csv

Compares searches on one level and on two that make about as many steps of alpha. The tests were chosen before the
searches of ``steps`` were made; see the README beside this file.
"""

import argparse
import sys
from pathlib import Path
from statistics import fmean, stdev

sys.path.insert(1, str(Path(__file__).parents[1]))
from common import welch

from diffnas import tables
from diffnas.api.compare import compared

HERE = Path(__file__).parent
# Method and epochs, with the folder of the runs.
SEARCHES = {
    ("single-level", 15): HERE / "steps" / "15",
    ("single-level", 30): HERE / "traces",
    ("darts", 30): HERE / "traces",
    ("darts", 60): HERE / "steps" / "60",
}
TESTS = [(("single-level", 15), ("darts", 30)), (("single-level", 30), ("darts", 60))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, required=True)
    options = parser.parse_args()
    table = tables.load(options.table)
    found = {search: accuracies(folder, search[0], table) for search, folder in SEARCHES.items()}
    print("| method | epochs | in the table, seeds 10 to 14 | mean ± std |\n|---|--:|---|---|")
    for (method, epochs), values in found.items():
        each = ", ".join(f"{value:.2f}" for value in values)
        print(f"| {method} | {epochs} | {each} | {fmean(values):.2f} ± {stdev(values):.2f} |")
    differences = welch([(found[one], found[other]) for one, other in TESTS])
    print("\n| searches | difference | 95% interval | p by Holm |\n|---|--:|---|--:|")
    for pair, (mean, low, high, p) in zip(TESTS, differences, strict=True):
        names = " - ".join(f"{method}, {epochs} epochs" for method, epochs in pair)
        print(f"| {names} | {mean:+.2f} | {low:+.2f} to {high:+.2f} | {p:.3f} |")


def accuracies(folder: Path, method: str, table: tables.Table) -> list[float]:
    """What the table says of the cells of a method, by seed."""
    groups = compared([folder], table, "cifar10_test_200")
    runs = [run for group in groups for run in group.runs if run.method == method]
    return [run.benchmark.accuracy for run in runs if run.benchmark]


if __name__ == "__main__":
    main()
