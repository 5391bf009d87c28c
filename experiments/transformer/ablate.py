"""What the norm after each operation, the constant factor of branches and the reward for depth do, on the digits.

    python ablate.py --seeds 2 --epochs 8

Each variant searches 80 % of the training pictures. Its network is trained on them and asked for the others. The test
pictures are not read.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from torch import Tensor

import diffnas
from diffnas.data import set_aside
from diffnas.nets.frames.chain import Chain
from diffnas.nets.ops.transformer import Leveled

LOG_PATH = "path-log:0.05"


@contextmanager
def as_it_is() -> Iterator[None]:
    """A context in which nothing is changed."""
    yield


@contextmanager
def without_norm() -> Iterator[None]:
    """A context in which a supernet has no norm after its operations."""

    def alone(self: Leveled, x: Tensor) -> Tensor:
        out: Tensor = self.op(x)
        return out

    with patch.object(Leveled, "forward", alone):
        yield


@contextmanager
def without_factor() -> Iterator[None]:
    """A context in which the branches of a supernet are added without their constant factor."""
    made = Chain.__init__

    def plain(self: Chain, *parts: Any, share: float = 1.0, **named: Any) -> None:
        made(self, *parts, **named)

    with patch.object(Chain, "__init__", plain):
        yield


VARIANTS: dict[str, tuple[Callable[[], Any], dict[str, str]]] = {
    "as it is": (as_it_is, {}),
    "no norm after operations": (without_norm, {}),
    "no constant factor": (without_factor, {}),
    "reward for depth, logarithms": (as_it_is, {"regularizers": LOG_PATH}),
}


def tried(change: Callable[[], Any], components: dict[str, str], data: Any, seed: int, epochs: int) -> dict[str, Any]:
    """What one variant found with one seed."""
    begun = time.process_time()
    with change():
        named = {"space": "transformer", "components": components or None}
        found = diffnas.search(data, **named, epochs=epochs, seed=seed, threads=1)
    searched = time.process_time() - begun
    trained = diffnas.evaluate(found, data, recipe="vit-small", epochs=30, seed=seed, threads=1)
    last = found.trace[-1]
    return {
        "seed": seed,
        "found": diffnas.genotype.to_text(found.genotype),
        "supernet": last["train"]["accuracy"],
        "live": sum(map(sum, last["keep"])),
        "held_out": trained.test["accuracy"],
        "parameters": trained.parameters,
        "seconds": round(searched, 1),
    }


def main() -> None:
    """Print a line of JSON for each variant and seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=8)
    asked = parser.parse_args()
    less, aside = set_aside(diffnas.load_data("digits"), 0.2)
    data = replace(less, test=aside)
    for seed in range(asked.seeds):
        for name, (change, components) in VARIANTS.items():
            print(json.dumps({"variant": name, **tried(change, components, data, seed, asked.epochs)}), flush=True)


if __name__ == "__main__":
    main()
