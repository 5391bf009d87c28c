"""Transformers on CIFAR-10: found, hand-made and random ones of equal cost, trained in the same way.

    python experiments/transformer/cifar.py --data-dir DATA --out runs/transformer

The search is that of the recipe ``vit-small``. Each network is trained on 10,000 pictures, less a tenth that is set
aside to choose among them. A finished run is not made again, and one that was interrupted goes on.
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(1, str(Path(__file__).parents[1]))

from common import continued

import diffnas
from diffnas.data import load, subsample

AGAINST = "deit-like,poolformer-like,convformer-like,random:1"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--train", type=int, default=10_000, help="pictures for training")
    parser.add_argument("--epochs", type=int, default=25, help="of each training")
    options = parser.parse_args()
    data = subsample(load("cifar10", data_dir=options.data_dir), options.train, None)
    own = {"epochs": options.epochs}
    for seed in options.seeds:
        out = options.out / f"seed{seed}"
        begun = time.perf_counter()
        named = {"space": "transformer", "recipe": "vit-small", "against": AGAINST, "flip": True, "threads": 1}
        result = continued(diffnas.run, data, out=out, seed=seed, evaluate_settings=own, **named)
        print(f"{out.name}: {time.perf_counter() - begun:.0f} s; {' '.join(result.verdict.sentences)}", flush=True)


if __name__ == "__main__":
    main()
