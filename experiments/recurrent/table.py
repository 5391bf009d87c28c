"""Print what the trainings of ``run.py`` reached, in Markdown, and keep them as JSON.

    python experiments/recurrent/table.py --runs runs/recurrent --out results.json

Differences are paired by seed, with a 95 % interval of Student's t. A positive one means that more bits are needed.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

sys.path.insert(1, str(Path(__file__).parents[1]))
from common import keep
from scipy import stats

REFERENCES = ("DARTS_V2_RNN", "lstm")


def summary(result: Path, runs: Path) -> dict[str, Any]:
    """A network in a few numbers."""
    folder = runs / result.relative_to(runs).parts[0]
    name, _, seed = folder.name.rpartition("-")
    read = json.loads(result.read_text())
    genotype = folder / "genotype.json"
    trace = folder / "trace.jsonl"
    lines = [json.loads(line) for line in trace.read_text().splitlines()] if genotype.exists() else []
    cells = json.loads(genotype.read_text())["cells"]["recurrent"]["connections"] if lines else []
    return {
        "name": name.rstrip("0123456789") if name.startswith("random") else name,
        "run": folder.name,
        "seed": int(seed),
        "bits": round(read["test"]["bits"], 4),
        "parameters": read["parameters"],
        "search_seconds": round(sum(line["seconds"] for line in lines)),
        "training_seconds": round(read["seconds"]),
        "connections": [" ".join([each["op"], str(each["source"]), str(each["target"])]) for each in cells],
    }


def against(bits: Mapping[int, float], others: Mapping[int, float]) -> str:
    """The mean difference over the seeds of both, with its interval."""
    gaps = [bits[seed] - others[seed] for seed in sorted(bits.keys() & others.keys())]
    if len(gaps) < 2:
        return ""
    low, high = stats.t.interval(0.95, len(gaps) - 1, loc=mean(gaps), scale=stats.sem(gaps))
    return f"{mean(gaps):+.3f} ({low:+.3f} to {high:+.3f})"


def row(name: str, bits: Mapping[int, float], runs: Sequence[Mapping[str, Any]], others: Mapping[str, Any]) -> str:
    """The line of a network in the table."""
    each = ", ".join(f"{bits[seed]:.3f}" for seed in sorted(bits))
    spread = f"{mean(bits.values()):.3f}" + (f" ± {stdev(bits.values()):.3f}" if len(bits) > 1 else "")
    gaps = ["" if name == to else against(bits, others.get(to, {})) for to in REFERENCES]
    sizes = "/".join(f"{size:,}" for size in sorted({run["parameters"] for run in runs}))
    seconds = f"{mean(run['search_seconds'] + run['training_seconds'] for run in runs):.0f}"
    return f"| {' | '.join([name, each, spread, *gaps, sizes, seconds])} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = [summary(path, options.runs) for path in sorted(options.runs.rglob("result.json"))]
    by_name: dict[str, dict[int, float]] = {}
    for name in sorted({run["name"] for run in rows}):
        mine = [run for run in rows if run["name"] == name]
        by_name[name] = {seed: mean(r["bits"] for r in mine if r["seed"] == seed) for seed in {r["seed"] for r in mine}}
    print("| network | bits by seed | mean, deviation | more than DARTS_V2_RNN | more than lstm | parameters | s |")
    print("|---|---|---|---|---|---|---|")
    for name, bits in sorted(by_name.items(), key=lambda item: mean(item[1].values())):
        print(row(name, bits, [run for run in rows if run["name"] == name], by_name))
    if options.out:
        keep(options.out, rows)


if __name__ == "__main__":
    main()
