"""Search NAS-Bench-201 with one seed, and again with one thing changed: the seed of one purpose, or the kernels.

    python experiments/variance/run.py --data-dir DATA --out runs/variance
    diffnas compare runs/variance/sparse-* --changes-from sparse-nothing

Every search uses the recipe ``nas-bench-201-small``. An interrupted search continues, and a finished one is not run
again.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import torch

sys.path.insert(1, str(Path(__file__).parents[1]))
from common import searched_small, small_pictures

METHODS = ("darts", "sparse")
SEED = 40
OTHERS = (41, 42, 43)
CHANGES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "rounding": {"backend": "plain"},
    **{
        f"{name}-{other}": {setting: other}
        for name, setting in (
            ("weights", "weights_seed"),
            ("order", "order_seed"),
            ("alpha", "alpha_seed"),
            ("all", "seed"),
        )
        for other in OTHERS
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--changes", nargs="+", choices=CHANGES, default=list(CHANGES))
    options = parser.parse_args()

    # One thread: the last digits depend on it, and two searches side by side use two cores better.
    torch.set_num_threads(1)
    data = small_pictures(options.data_dir)
    for change in options.changes:
        for name in options.methods:
            searched_small(data, name, options.out / f"{name}-{change}", **{"seed": SEED, **CHANGES[change]})


if __name__ == "__main__":
    main()
