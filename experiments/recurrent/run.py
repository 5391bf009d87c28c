"""Search recurrent cells on the embedded plays, and train them beside cells and modules that nobody had to search.

    python experiments/recurrent/run.py --out runs/recurrent

Each network has the training of the recipe ``text-small``, with 96 features. ``lstm`` and ``gru`` get the width at
which they have as many parameters as a cell of eight nodes. A finished run is not made again, and one that was
interrupted goes on. ``table.py`` reads what this leaves.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import diffnas
from diffnas.run_folder import RunFolder

SEARCHED = ("sparse", "darts", "single-level")
PUBLISHED = "DARTS_V2_RNN"
MODULES = ("lstm", "gru")
CHARACTERS = 100_000
"""Of a search."""
FEATURES = 96
PARAMETERS = 190_625
"""Those of a network with eight nodes and so many features, for 65 characters."""


def searched(method: str, seed: int, out: Path) -> None:
    """One search by a method, and the training of what it found."""
    if RunFolder(out).begun:
        diffnas.run(out=out, resume=True)
    else:
        own = {"train": CHARACTERS, "evaluate_settings": {"channels": FEATURES}}
        diffnas.run("text", space="recurrent", method=method, seed=seed, out=out, threads=1, **own)


def trained(what: str, seed: int, out: Path, **options: Any) -> None:
    """One training of a network that was not searched."""
    if RunFolder(out).begun:
        diffnas.evaluate(out=out, resume=True)
    else:
        named = {"recipe": "text-small", "seed": seed, "out": out, "threads": 1}
        diffnas.evaluate(what, "text", **named, **(options or {"channels": FEATURES}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--random", type=int, default=2, help="random cells for each seed")
    options = parser.parse_args()
    # The seeds are outermost, so that a round that was cut short has the same seeds of all networks.
    for seed in options.seeds:
        jobs: dict[str, Callable[[Path], None]] = {name: partial(searched, name, seed) for name in SEARCHED}
        for number in range(options.random):
            jobs[f"random{number}"] = partial(trained, "random", seed + 100 * number)
        jobs[PUBLISHED] = partial(trained, PUBLISHED, seed)
        for name in MODULES:
            jobs[name] = partial(trained, name, seed, target=f"params={PARAMETERS}")
        for name, job in jobs.items():
            out = options.out / f"{name}-{seed}"
            if not list(out.rglob("result.json")):
                begun = time.perf_counter()
                job(out)
                print(f"{out.name}: {time.perf_counter() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    main()
