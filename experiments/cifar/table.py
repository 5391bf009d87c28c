"""Print, as Markdown, what the runs of ``run.py`` in a folder found.

python experiments/cifar/table.py --runs runs/cifar10
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(1, str(Path(__file__).parents[1]))
from common import finished, trace

from diffnas.genotype import Genotype, read, to_text


def counts(genotype: Genotype) -> str:
    """Connections, skips and convolutions of both cells."""
    listed = [connection.op for cell in genotype.cells.values() for connection in cell.connections]
    return f"{len(listed)} | {listed.count('skip_connect')} | {sum('conv' in op for op in listed)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True)
    runs = finished(parser.parse_args().runs)

    print(
        "| cell | connections | skips | convolutions | edges left empty | live ops at the end | s/epoch first, last ",
        end="",
    )
    print("| supernet MACs first, last | network parameters | test accuracy |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    texts, live = [], []
    for run in runs:
        genotype, lines = read(run / "genotype.json"), trace(run)
        empty = 28 - len({(k, c.source, c.target) for k, cell in genotype.cells.items() for c in cell.connections})
        row = f"| {run.name} | {counts(genotype)} | {empty} "
        if lines:
            first, last = lines[0], lines[-1]
            row += f"| {last['indicators']['live_ops']} of 224 | {first['seconds']:.0f}, {last['seconds']:.0f} "
            row += f"| {first['macs'] / 1e6:.1f} M, {last['macs'] / 1e6:.1f} M "
            live.append(f"| {run.name} | " + " | ".join(str(line["indicators"]["live_ops"]) for line in lines) + " |")
        else:
            row += "| | | "
        result = run / "evaluation" / "result.json"
        if result.exists():
            measured = json.loads(result.read_text())
            row += f"| {measured['parameters'] / 1e3:.0f} k | {measured['accuracy']:.2%} |"
        print(row)
        texts.append(f"- {run.name}: `{to_text(genotype)}`")
    print("\nLive operations after each epoch, of 224:\n")
    if live:
        print("| run |" + "".join(f" {epoch} |" for epoch in range(1, live[0].count("|") - 1)))
        print("|---|" + "---|" * (live[0].count("|") - 2))
        print("\n".join(live))
    print("\nThe cells:\n")
    print("\n".join(texts))


if __name__ == "__main__":
    main()
