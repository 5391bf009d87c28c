"""Print when the cell that the theory favors leads: paired differences of E1 to E3 over shorter and longer windows.

    python experiments/theory/windows.py --runs experiments/theory/traces

Not part of the design: it was asked after the results were seen.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import e1
from stats import Line, by_seed, differences, picked, slope, spread, verdict
from train import read

WINDOWS = (10, 20, 40, 80, 200)
Traces = Mapping[str, Sequence[Line]]


def duels(traces: Traces, setting: str) -> dict[str, tuple[list[Line], list[Line]]]:
    """By name: the lines of the cell that the theory calls faster, and those of the other."""
    one, two, three = (picked(traces[name], setting=setting) for name in ("e1", "e2", "e3"))
    found = {
        f"E1, {place}: {op} 0.85 against 0.10": (e1.group(one, place, op, 0.85), e1.group(one, place, op, 0.1))
        for place in e1.PLACES
        for op in ("skip", "conv")
    }
    strong = picked(two, strength=0.8)
    found["E2, 0.8: shared skip, last conv against the reverse"] = (
        picked(strong, shared="skip", last="conv"),
        picked(strong, shared="conv", last="skip"),
    )
    for kind in ("conv", "half"):
        mine = picked(three, kind=kind, factor=1.0)
        found[f"E3, {kind}: depth 1 against 4"] = (picked(mine, depth=1), picked(mine, depth=4))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True, help="the folder of the traces")
    runs = parser.parse_args().runs
    traces = {name: read(runs / f"{name}.jsonl") for name in ("e1", "e2", "e3")}
    for setting in ("analyzed", "practical"):
        print(f"\n{setting}: difference of slopes per 100 steps, over the first so many steps\n")
        print("| favored against the other |" + "".join(f" {window} |" for window in WINDOWS))
        print("|---|" + "---|" * len(WINDOWS))
        for name, (favored, other) in duels(traces, setting).items():
            row = []
            for window in WINDOWS:
                slopes = [by_seed(lines, lambda line, until=window: slope(line, until)) for lines in (favored, other)]
                gains = differences(*slopes)
                row.append(f"{spread(gains)}: {verdict(gains)}")
            print(f"| {name} | " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
