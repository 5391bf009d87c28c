"""Search NAS-Bench-201 by recipes for the sparse method, and judge each cell with the weights that its supernet has.

    python experiments/sparse-recipe/run.py --data-dir DATA --out runs/choose
    python experiments/sparse-recipe/run.py --data-dir DATA --out runs/judge --recipes NAME single-level darts \
        --seeds 30 31 32 33 34 35 36 37 38 39

A tenth of the training pictures is held out, and a search sees 10,000 of the others. After a search, the loss of its
cell on the held-out pictures is written to ``held-out.json`` in the run's folder. No table is read here: ``table.py``
looks the cells up. An interrupted search continues, and a finished one is not run again.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

sys.path.insert(1, str(Path(__file__).parents[1]))
from common import SMALL, searched, short, spent, trace

from diffnas.components import schedule, update, weighting
from diffnas.data import DataSet, Pictures, load, set_aside, subsample
from diffnas.data.augment import normalize
from diffnas.engine import checkpoint
from diffnas.engine.search_state import SearchState, begin
from diffnas.engine.settings import SearchSettings, merge_settings
from diffnas.genotype import Genotype
from diffnas.method import METHODS, Method
from diffnas.space import NAS_BENCH_201_OPS, SPACES

EVERY = 500
"""How many held-out pictures go through the supernet at once; batch norms take their statistics from these."""


@dataclass(frozen=True)
class Recipe:
    """A method with settings of its own.

    Attributes:
        method: what searches.
        faster: alpha's learning rate, as a factor of that of ``nas-bench-201-small``.
        settings: other settings that differ from it.
    """

    method: Method
    faster: float = 1.0
    settings: Mapping[str, Any] = field(default_factory=dict)


sparse = METHODS["sparse"]
RECIPES_OF_SPARSE = {
    "rate-1": Recipe(sparse),
    "rate-3": Recipe(sparse, 3),
    "rate-10": Recipe(sparse, 10),
    "rate-10-late-pruning": Recipe(sparse, 10, {"prune_warmup": 6}),
    "rate-10-rising-order": Recipe(
        replace(sparse, weighting=partial(weighting.entmax, order=partial(schedule.linear, start=1.0, stop=3.0))), 10
    ),
    "rate-10-learned-order": Recipe(replace(sparse, weighting=weighting.LearnedEntmax(order=3.0)), 10),
    "rate-10-no-decay": Recipe(replace(sparse, update=partial(update.adam, weight_decay=0.0)), 10),
    "rate-10-smooth": Recipe(replace(sparse, update=partial(update.adam, betas=(0.9, 0.999))), 10),
}
ALL = {**RECIPES_OF_SPARSE, "single-level": Recipe(METHODS["single-level"]), "darts": Recipe(METHODS["darts"])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=["cifar10", "cifar100"], default="cifar10")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recipes", nargs="+", choices=ALL, default=list(RECIPES_OF_SPARSE))
    parser.add_argument("--seeds", nargs="+", type=int, default=[20, 21, 22])
    options = parser.parse_args()

    # One thread: the last digits depend on it, and two searches side by side use two cores better.
    torch.set_num_threads(1)
    rest, held_out = set_aside(load(options.data, data_dir=options.data_dir), 0.1)
    data = subsample(rest, SMALL.train, None)
    for seed in options.seeds:
        for name in options.recipes:
            out = options.out / f"{name}-{seed}"
            method, settings = of(ALL[name], name, seed)
            cell = searched(data, space=SPACES[SMALL.space], method=method, settings=settings, out=out)
            if not (out / "held-out.json").exists():
                state = begin(data, SPACES[SMALL.space], method, settings, torch.device("cpu"))
                state.load_state_dict(checkpoint.load(out / "checkpoint" / "last.pt"))
                mix = torch.tensor(trace(out)[-1]["mix"])
                (out / "held-out.json").write_text(json.dumps(judged(state, cell, mix, data, held_out)) + "\n")
            print(f"{out.name}: {spent(out)}, {(out / 'held-out.json').read_text()}", end="", flush=True)


def of(recipe: Recipe, name: str, seed: int) -> tuple[Method, SearchSettings]:
    """The method and the settings of a search; the method has the recipe's name, so that comparisons show it."""
    method = replace(recipe.method, name=name)
    speed = {"alpha_speed": SMALL.search["alpha_speed"] * recipe.faster}
    # The published sparse method has 200 epochs in its settings; all searches here have those of the base.
    return method, merge_settings(
        SearchSettings, method.settings, SMALL.search, speed, dict(recipe.settings), {"seed": seed}
    )


@torch.no_grad()
def judged(state: SearchState, cell: Genotype, mix: Tensor, data: DataSet, pictures: Pictures) -> dict[str, float]:
    """Loss and accuracy of a cell, and the loss of the whole supernet mixed by ``mix``, all with the same weights.

    All batch norms take their statistics from the pictures at hand, because the supernet has none for a cell alone.
    """
    own = F.one_hot(torch.tensor([int(op) for op in short(cell)]), len(NAS_BENCH_201_OPS)).to(mix)
    state.supernet.train()
    sums = torch.zeros(3)
    for first in range(0, len(pictures), EVERY):
        some = slice(first, first + EVERY)
        x, labels = normalize(pictures.images[some], data.mean, data.std), pictures.labels[some]
        logits = state.supernet(x, own)
        mixed = state.supernet(x, mix)
        sums += torch.stack(
            [
                F.cross_entropy(logits, labels, reduction="sum"),
                (logits.argmax(1) == labels).sum(),
                F.cross_entropy(mixed, labels, reduction="sum"),
            ]
        )
    loss, right, mixture_loss = (float(value) / len(pictures) for value in sums)
    return {"held_out_loss": loss, "held_out_accuracy": right, "mixture_loss": mixture_loss}


if __name__ == "__main__":
    main()
