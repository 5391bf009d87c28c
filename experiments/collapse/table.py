"""Print searches in deep supernets by epoch, as Markdown: skips, the cell's accuracy in a table, the eigenvalue.

    python experiments/collapse/table.py --runs runs/collapse/nas-bench-201 --table nats-bench-tss-cifar10.csv

The table is any that ``diffnas lookup`` takes, with the column ``cifar10_test_200``. It is read here, after the
searches, and nowhere else.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch

sys.path.insert(1, str(Path(__file__).parents[1]))
from common import finished, short, trace

from diffnas import tables
from diffnas.components.discretize import winners
from diffnas.genotype import from_json
from diffnas.report.compare.grids import Grid, to_markdown
from diffnas.space import nas_bench_201

EVERY = 5


def row(line: dict[str, Any], table: tables.Table) -> list[str]:
    """The line of the table for an epoch of a search."""
    cell = from_json(json.dumps(line["genotype"]))
    without = winners(torch.tensor(line["mix"]), torch.tensor(line["keep"]), nas_bench_201, none=False)
    digits, height = short(cell), line["eigenvalue"]
    accuracies = [f"{table.lookup(each, 'cifar10_test_200').accuracy:.2f}" for each in (cell, without)]
    counts = [str(digits.count("1")), str(digits.count("0"))]
    live = str(int(line["indicators"]["live_ops"]))
    return [str(line["epoch"]), digits, *counts, *accuracies, live, "" if height is None else f"{height:.2f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--table", type=Path, required=True)
    options = parser.parse_args()
    table = tables.load(options.table)
    header = ("epoch", "cell", "skips", "none", "in the table", "without none", "live ops", "eigenvalue")
    for run in finished(options.runs):
        lines = trace(run)
        shown = [line for line in lines if line["epoch"] % EVERY == 0 or line is lines[-1]]
        rows = tuple(tuple(row(line, table)) for line in shown)
        print(f"**{run.name}**\n\n{to_markdown(Grid(title=run.name, header=header, rows=rows))}\n")


if __name__ == "__main__":
    main()
