"""Look the cells of finished searches up in a table of NAS-Bench-201, and print one Markdown table of all methods.

    python experiments/all-methods/table.py --runs runs/all-methods --table nats-bench-tss-cifar10.csv

The table of the benchmark is read only here, after the searches are done. Each method has one line. If it has several
seeds, a field has all their values, in the order of the seeds. The benchmark contains only nets of one repeated cell,
so methods that find a cell for each place have no accuracy.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

sys.path.insert(1, str(Path(__file__).parents[1]))
from common import finished, short, trace

from diffnas import tables
from diffnas.genotype import read


def measured(run: Path, table: tables.Table) -> dict[str, Any]:
    """The result of a search and its cost, by column."""
    lines, genotype = trace(run), read(run / "genotype.json")
    cost = json.loads((run / "cost.json").read_text())
    method, seed = run.name.rsplit("-", 1)
    connections = [connection for cell in genotype.cells.values() for connection in cell.connections]
    one = "normal" in genotype.cells
    return {
        "method": method,
        "seed": seed,
        "accuracy": table.lookup(genotype, "cifar10_test_200").accuracy if one else None,
        "cell": short(genotype) if one else f"{len(genotype.cells)} of their own",
        "skips": sum(connection.op == "skip_connect" for connection in connections),
        "nones": short(genotype).count("0") if one else "-",
        "epochs": len(lines),
        "first": lines[0]["seconds"],
        "last": lines[-1]["seconds"],
        "core": cost["core_seconds"],
        "live": lines[-1]["indicators"]["live_ops"],
        "memory": cost.get("peak_mib"),
    }


def known(rows: list[dict[str, Any]]) -> list[float]:
    """The accuracies that are not None."""
    return [row["accuracy"] for row in rows if row["accuracy"] is not None]


COLUMNS: dict[str, Callable[[list[dict[str, Any]]], str]] = {
    "method": lambda rows: f"`{rows[0]['method']}`",
    "seeds": lambda rows: ", ".join(row["seed"] for row in rows),
    "mean accuracy": lambda rows: f"{mean(known(rows)):.2f}" if known(rows) else "-",
    "of each seed": lambda rows: ", ".join(f"{accuracy:.2f}" for accuracy in known(rows)) or "-",
    "cells": lambda rows: ", ".join(row["cell"] for row in rows),
    "skips": lambda rows: ", ".join(str(row["skips"]) for row in rows),
    "nones": lambda rows: ", ".join(str(row["nones"]) for row in rows),
    "live ops of 30": lambda rows: ", ".join(str(row["live"]) for row in rows),
    "epochs": lambda rows: ", ".join(str(row["epochs"]) for row in rows),
    "s/epoch, first": lambda rows: f"{mean(row['first'] for row in rows):.1f}",
    "last": lambda rows: f"{mean(row['last'] for row in rows):.1f}",
    "core seconds": lambda rows: f"{mean(row['core'] for row in rows):.0f}",
    "peak MiB": lambda rows: str(max((row["memory"] for row in rows if row["memory"]), default="")),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--table", type=Path, required=True)
    options = parser.parse_args()
    table = tables.load(options.table)

    methods: dict[str, list[dict[str, Any]]] = {}
    for run in finished(options.runs):
        row = measured(run, table)
        methods.setdefault(row["method"], []).append(row)
    print("| " + " | ".join(COLUMNS) + " |")
    print("|---|" + "---|" * (len(COLUMNS) - 1))
    for rows in sorted(methods.values(), key=lambda rows: -mean(known(rows) or [0.0])):
        print("| " + " | ".join(column(rows) for column in COLUMNS.values()) + " |")


if __name__ == "__main__":
    main()
