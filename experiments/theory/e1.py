"""E1: does a larger skip weight make a cell converge faster?

    python experiments/theory/e1.py --data DATA --out runs/theory

The weight of one operation (skip, conv, none, or average pooling in place of skip) is varied, and the others share the
rest. This is done on the first chain edge alone, and on all six edges of a cell of four nodes.
"""

from collections.abc import Iterable

from cells import alike, dense, raised
from stats import Line, by_seed, differences, picked, slope, spread, verdict
from train import Arm, parser, run

NODES = 4
WEIGHTS = (0.1, 1 / 3, 0.6, 0.85)
OPS = ("skip", "conv", "pool", "none")
PLACES = ("one", "all")
THIRD = alike(dense(NODES), skip=1 / 3, conv=1 / 3)


def arms() -> list[Arm]:
    """Every place, operation and weight; where skip, conv and none have a third each, it is one cell."""
    found = [Arm(name="third", about={"place": None, "op": None, "weight": 0.333}, gates=THIRD, nodes=NODES)]
    for place in PLACES:
        edges = [(0, 1)] if place == "one" else dense(NODES)
        for op in OPS:
            for weight in WEIGHTS if op == "pool" else (0.1, 0.6, 0.85):
                about = {"place": place, "op": op, "weight": round(weight, 3)}
                gates = {**THIRD, **alike(edges, **raised(op, weight))}
                found.append(Arm(name=f"{place}-{op}-{weight:.2f}", about=about, gates=gates, nodes=NODES))
    return found


def group(lines: Iterable[Line], place: str, op: str, weight: float) -> list[Line]:
    """The lines of the trace for one place, operation and weight, one for each seed."""
    if weight == 1 / 3 and op != "pool":
        return picked(lines, arm="third")
    return picked(lines, place=place, op=op, weight=round(weight, 3))


def table(lines: list, setting: str) -> None:
    """Slopes of a setting by place, operation and weight, and what the seeds agree on."""
    mine = picked(lines, setting=setting)
    print(f"\n{setting}: slope of log loss per 100 steps, first two epochs\n")
    print("| swept on | operation |" + "".join(f" {weight:.2f} |" for weight in WEIGHTS) + " last - first | rises |")
    print("|---|---|" + "---|" * (len(WEIGHTS) + 2))
    for place in PLACES:
        gains = {}
        for op in OPS:
            swept = [by_seed(group(mine, place, op, weight)) for weight in WEIGHTS]
            gains[op] = differences(swept[-1], swept[0])
            means = [sum(each.values()) / len(each) for each in swept]
            rises = verdict(gains[op]) + (" (steadily)" if means == sorted(means) else "")
            cells = "".join(f" {spread(each.values())} |" for each in swept)
            print(f"| {place} | {op} |{cells} {spread(gains[op])} | {rises} |")
        for other in ("conv", "pool"):
            more = [a - b for a, b in zip(gains["skip"], gains[other], strict=True)]
            print(
                f"| {place} | skip more than {other} |" + " |" * len(WEIGHTS) + f" {spread(more)} | {verdict(more)} |"
            )


def main() -> None:
    given = parser(__doc__, range(4)).parse_args()
    lines = run(arms(), given, "e1.jsonl")
    for setting in ("analyzed", "practical"):
        table(lines, setting)
    print(f"\ncurves that left the numbers: {sum(slope(line) != slope(line) for line in lines)} of {len(lines)}")


if __name__ == "__main__":
    main()
