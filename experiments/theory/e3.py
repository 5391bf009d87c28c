"""E3: does a shallow cell converge faster than a chain of the same operations?

    python experiments/theory/e3.py --data DATA --out runs/theory

Each cell has four computed nodes with one incoming edge each, so all cells have the same operations. Starting from the
chain, the last nodes are attached to the stem one after the other, until all nodes read the stem. The edges are
convolutions, or half skip and half convolution. Two learning rates, which differ by a factor of four, are tried, since
the best rate of a shallow cell need not be that of the chain.
"""

from cells import alike
from stats import by_seed, differences, picked, slope, spread, verdict
from train import Arm, parser, run

NODES = 5
PARENTS = {4: (0, 1, 2, 3), 3: (0, 1, 2, 0), 2: (0, 1, 0, 0), 1: (0, 0, 0, 0)}
"""By depth: the node that feeds each computed node."""
KINDS = {"conv": {"conv": 1.0}, "half": {"skip": 0.5, "conv": 0.5}}
FACTORS = (1.0, 0.25)


def arms() -> list[Arm]:
    """The cells: each kind of edge, depth and learning rate."""
    found = []
    for factor in FACTORS:
        for kind, weights in KINDS.items():
            for depth, parents in PARENTS.items():
                gates = alike([(parent, node) for node, parent in enumerate(parents, start=1)], **weights)
                about = {"kind": kind, "depth": depth, "factor": factor}
                found.append(Arm(name=f"{kind}-{depth}-x{factor:g}", about=about, gates=gates, nodes=NODES, lr=factor))
    return found


def table(lines: list, setting: str) -> None:
    """Slopes of a setting by depth, and the difference between the shallowest cell and the chain."""
    print(f"\n{setting}: slope of log loss per 100 steps, first two epochs; then over all epochs\n")
    print("| edges | learning rate |" + "".join(f" depth {depth} |" for depth in PARENTS) + " 1 less 4 | ", end="")
    print("shallow faster | so over all epochs |")
    print("|---|---|" + "---|" * (len(PARENTS) + 3))
    for kind in KINDS:
        for factor in FACTORS:
            mine = picked(lines, setting=setting, kind=kind, factor=factor)
            found = {depth: by_seed(picked(mine, depth=depth)) for depth in PARENTS}
            gains = differences(found[1], found[4])
            whole = {d: by_seed(picked(mine, depth=d), lambda line: slope(line, None)) for d in (1, 4)}
            later = differences(whole[1], whole[4])
            cells = " | ".join(spread(each.values()) for each in found.values())
            answer = f"{spread(gains)} | {verdict(gains)} | {spread(later)}: {verdict(later)}"
            print(f"| {kind} | x{factor:g} | {cells} | {answer} |")


def main() -> None:
    lines = run(arms(), parser(__doc__, range(4)).parse_args(), "e3.jsonl")
    for setting in ("analyzed", "practical"):
        table(lines, setting)


if __name__ == "__main__":
    main()
