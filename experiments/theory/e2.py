"""E2: is skip on the shared edges and conv on the last node's edges faster than the reverse?

    python experiments/theory/e2.py --data DATA --out runs/theory

In a cell of four nodes, three edges lead into the last node and three connect the nodes before it. So both cells have
the same total weight of each operation. Each half of the edges favors either operation: four cells at each strength.
"""

from cells import alike, dense, raised
from stats import by_seed, differences, picked, spread, verdict
from train import Arm, parser, run

NODES = 4
STRENGTHS = (0.6, 0.8)
LAST = [edge for edge in dense(NODES) if edge[1] == NODES - 1]
SHARED = [edge for edge in dense(NODES) if edge[1] < NODES - 1]


def weights(op: str, strength: float) -> dict[str, float]:
    """The weights of an edge that favors skip or conv."""
    return raised(op, strength)


def arms() -> list[Arm]:
    """The cells: each strength, with each operation on each half of the edges."""
    found = []
    for strength in STRENGTHS:
        for shared in ("skip", "conv"):
            for last in ("skip", "conv"):
                gates = {**alike(SHARED, **weights(shared, strength)), **alike(LAST, **weights(last, strength))}
                about = {"shared": shared, "last": last, "strength": strength}
                found.append(Arm(name=f"{shared}-{last}-{strength}", about=about, gates=gates, nodes=NODES))
    return found


def table(lines: list, setting: str) -> None:
    """Slopes of a setting, and the differences that the seeds share."""
    print(f"\n{setting}: slope of log loss per 100 steps, first two epochs\n")
    print("| strength | shared skip, last conv | shared conv, last skip | both skip | both conv | ", end="")
    print("skip-conv less conv-skip | faster |")
    print("|---|---|---|---|---|---|---|")
    for strength in STRENGTHS:
        mine = picked(lines, setting=setting, strength=strength)
        found = {
            (shared, last): by_seed(picked(mine, shared=shared, last=last))
            for shared, last in (("skip", "conv"), ("conv", "skip"), ("skip", "skip"), ("conv", "conv"))
        }
        gains = differences(found["skip", "conv"], found["conv", "skip"])
        cells = " | ".join(spread(each.values()) for each in found.values())
        print(f"| {strength} | {cells} | {spread(gains)} | {verdict(gains)} |")


def main() -> None:
    lines = run(arms(), parser(__doc__, range(5)).parse_args(), "e2.jsonl")
    for setting in ("analyzed", "practical"):
        table(lines, setting)


if __name__ == "__main__":
    main()
