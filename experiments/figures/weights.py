"""The weights of every edge of a cell over the epochs of a search (the sparse-connections paper's figures 2 and 6).

python experiments/figures/weights.py experiments/cifar/traces/cifar10/darts-0 --out experiments/figures/plots/darts
python experiments/figures/weights.py experiments/cifar/traces/cifar10/sparse-0 --out experiments/figures/plots/sparse
"""

import argparse
from pathlib import Path

from diffnas.report.plots import drawing, save, weights
from diffnas.report.reading import read_run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the folder of a search")
    parser.add_argument("--kind", default="normal", help="the kind of cell")
    parser.add_argument("--out", type=Path, default=Path("weights"), help="the figure's name without an ending")
    asked = parser.parse_args()
    search = read_run(asked.run).search
    kinds = {kind.name: kind for kind in search.kinds} if search else {}
    if search is None or asked.kind not in kinds:
        parser.error(f"{asked.run} has no search of a {asked.kind} cell; it has: {', '.join(kinds) or 'no search'}")
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    with drawing():
        for path in save(weights(search, kinds[asked.kind]), asked.out):
            print(path)


if __name__ == "__main__":
    main()
