"""Recipes: named settings for a search and the evaluation after it, sized for a purpose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from diffnas.skeleton import TRANSFORMER, TRANSFORMER_GRAPH, skeleton_of
from diffnas.space import SPACES, SearchSpace


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A recipe. It overrides the method's own defaults, and the user's settings override it.

    Attributes:
        about: what it is made for, in words.
        space: the search space for which it is made.
        search: settings of the search (``SearchSettings``).
        evaluate: settings of the evaluation (``EvaluateSettings``).
        train: how many training pictures the search sees; None for all.
        threads: how many CPU threads compute; None for torch's own choice. For the smallest nets, one thread is faster
            than two.
    """

    about: str
    space: str = "darts"
    search: Mapping[str, Any] = field(default_factory=dict)
    evaluate: Mapping[str, Any] = field(default_factory=dict)
    train: int | None = None
    threads: int | None = None

    def without_depth(self, places: int | None) -> Recipe:
        """The recipe without ``depth``, for a space whose cells have their own places in the net and so fix the depth.

        ``places`` is the number of these cells; if it is None, the recipe itself is returned.
        """
        if places is None:
            return self
        search, evaluate = (
            {name: value for name, value in part.items() if name != "depth"} for part in (self.search, self.evaluate)
        )
        return replace(self, search=search, evaluate=evaluate)


_CHAIN_SEARCH = {"batch": 64, "lr": 0.05, "lr_min": 0.0, "clip": 0.0, "alpha_warmup": 1, "prune_warmup": 3}

_PLAIN_TRAINING = {"weight_decay": 0.0, "drop_path": 0.0, "auxiliary": 0.0, "cutout": 0}
_TEXT = {"optimizer": "adam", "nesterov": False, "lr": 5e-3, "lr_min": 2e-4, "clip": 1.0, "batch": 32}

_PTB = {
    "lr": 20.0,
    "lr_min": 20.0,
    "momentum": 0.0,
    "clip": 0.25,
    "start": 0.04,
    "temporal": 1e-3,
    "dropouti": 0.2,
    "dropoutx": 0.75,
    "dropouth": 0.25,
    "dropout": 0.75,
}

_ADAMW = {
    "optimizer": "adamw",
    "nesterov": False,
    "weight_decay": 0.02,
    "decay": "matrices",
    "lr_min": 1e-5,
    "clip": 1.0,
    "auxiliary": 0.0,
    "cutout": 0,
}

_VIT_SMALL_SEARCH = {
    **_ADAMW,
    "epochs": 20,
    "batch": 64,
    "channels": 48,
    "depth": 4,
    "lr": 2e-3,
    "alpha_per": "cell",
    "alpha_speed": 10,
    "alpha_warmup": 0.1,
}
# Of the rates 0.002, 0.005, 0.01 and 0.02, compared on held-out training pictures of the digits, the last two were the
# best by 4 points: with few steps, the first weights of 0.02 are small for a width of 48.
_VIT_SMALL_TRAINING = {
    **_ADAMW,
    "epochs": 80,
    "batch": 64,
    "channels": 48,
    "depth": 4,
    "lr": 1e-2,
    "warmup": 0.05,
    "drop_path": 0.0,
    "label_smoothing": 0.1,
}

_OF_BRANCHES = {"alpha_per": "cell", "alpha_init": 3e-4, "alpha_speed": 10, "alpha_warmup": 0.1}
_TOKENS = {**_ADAMW, "lr": 5e-3}
_TOKENS_TRAINING = {**_TOKENS, "warmup": 0.05, "drop_path": 0.0}

RECIPES: dict[str, Recipe] = {
    "published": Recipe(about="The sizes and schedules of published results: GPU-days on CIFAR."),
    "nas-bench-201": Recipe(
        about=(
            "NAS-Bench-201 (Dong & Yang, 2020): training as the benchmark prescribes, and a search with the "
            "benchmark's optimizer of the weights. GPU-hours."
        ),
        space="nas-bench-201",
        search={"nesterov": True, "weight_decay": 5e-4},
        evaluate={
            "epochs": 200,
            "batch": 256,
            "lr": 0.1,
            "nesterov": True,
            "weight_decay": 5e-4,
            "clip": 0.0,
            "drop_path": 0.0,
            "auxiliary": 0.0,
            "cutout": 0,
        },
    ),
    "path-regularized-cifar10": Recipe(
        about=(
            "The final training of Path-regularized DARTS (Zhou et al., 2020) on CIFAR-10. The search has the "
            "method's defaults. Their code picks the best epoch by test accuracy; here the last one counts. GPU-days."
        ),
        evaluate={"batch": 128, "drop_path": 0.3},
    ),
    "path-regularized-cifar100": Recipe(
        about="As path-regularized-cifar10, but for CIFAR-100, with more drop-path.",
        evaluate={"batch": 128, "drop_path": 0.4},
    ),
    "path-regularized-imagenet": Recipe(
        about=(
            "The final training of Path-regularized DARTS on ImageNet, without the color jitter that the authors use. "
            "GPU-weeks."
        ),
        evaluate={
            "epochs": 250,
            "batch": 256,
            "lr": 0.1,
            "lr_fall": "line",
            "weight_decay": 3e-5,
            "label_smoothing": 0.2,
            "drop_path": 0.0,
            "cutout": 0,
            "stem": "imagenet",
        },
    ),
    "darts-small": Recipe(
        about=(
            "The DARTS space in minutes on a laptop: 5,000 pictures, 8 channels, 5 cells, half resolution. There are a "
            "twentieth of the published steps, so alpha's learning rate is ten times the published one."
        ),
        search={"epochs": 10, "batch": 64, "channels": 8, "depth": 5, "stem": "cifar-half", "alpha_speed": 10},
        evaluate={
            "epochs": 15,
            "batch": 64,
            "channels": 16,
            "depth": 5,
            "stem": "cifar-half",
            "drop_path": 0.0,
            "auxiliary": 0.0,
            "cutout": 0,
        },
        train=5_000,
        threads=1,
    ),
    "digits": Recipe(
        about="The embedded digits, searched and evaluated in about two minutes on a laptop's CPU.",
        # How much is pruned depends on alpha's learning rate times the number of steps. A search of 264 steps prunes
        # only with ten times the usual rate.
        search={"epochs": 12, "batch": 64, "channels": 4, "depth": 3, "lr": 0.05, "alpha_speed": 10},
        evaluate={
            "epochs": 24,
            "batch": 64,
            "lr": 0.05,
            "channels": 16,
            "depth": 3,
            "drop_path": 0.0,
            "auxiliary": 0.0,
            "label_smoothing": 0.1,
            "cutout": 0,
        },
        threads=1,
    ),
    "quick": Recipe(
        about=(
            "Your own pictures on a laptop's CPU, for a first look: half resolution, small nets, and at most 4,000 "
            "pictures in the search. On a GPU, or with more time, take more epochs and channels."
        ),
        search={
            "epochs": 20,
            "batch": 64,
            "channels": 8,
            "depth": 5,
            "stem": "cifar-half",
            "lr": 0.05,
            "alpha_speed": 10 / 3,
        },
        # We compared these settings with lr 0.05, weight decay 3e-4 of all weights, and drop-path 0.1. On 4,000
        # pictures of vehicles, they gain 2.4 points for a ResNet-style network, and 3.3 for a MobileNet-style one.
        evaluate={
            "epochs": 40,
            "batch": 64,
            "lr": 0.1,
            "nesterov": True,
            "weight_decay": 1.5e-3,
            "decay": "matrices",
            "warmup": 0.05,
            "channels": 16,
            "depth": 5,
            "stem": "cifar-half",
            "drop_path": 0.0,
            "auxiliary": 0.0,
            "label_smoothing": 0.1,
            "cutout": 0,
        },
        train=4000,
    ),
    "chain-short": Recipe(
        about=(
            "A residual chain on small pictures, in minutes to an hour on a CPU: half resolution, 12 epochs of search, "
            "and 40 epochs of training without drop-path and cutout. Alpha stands still in the first epoch."
        ),
        space="chain",
        search={**_CHAIN_SEARCH, "epochs": 12, "stem": "cifar-half", "alpha_speed": 10},
        evaluate={
            "epochs": 40,
            "batch": 64,
            "stem": "cifar-half",
            "lr": 0.05,
            "clip": 0.0,
            "drop_path": 0.0,
            "auxiliary": 0.0,
            "label_smoothing": 0.1,
            "cutout": 0,
        },
    ),
    "chain-cifar": Recipe(
        about="A residual chain on CIFAR: 30 epochs of search at full resolution, then 200 of training. GPU-hours.",
        space="chain",
        search={**_CHAIN_SEARCH, "epochs": 30, "alpha_speed": 10 / 3},
        evaluate={
            "epochs": 200,
            "batch": 128,
            "lr": 0.1,
            "nesterov": True,
            "weight_decay": 5e-4,
            "clip": 0.0,
            "drop_path": 0.0,
            "auxiliary": 0.0,
            "cutout": 16,
        },
    ),
    "text-small": Recipe(
        about=(
            "A text as characters, searched and evaluated in a few minutes on a laptop's CPU. Published sizes take "
            "GPU-days: see ptb."
        ),
        space="recurrent",
        search={**_TEXT, "epochs": 3, "channels": 48, "weight_decay": 0.0, "alpha_warmup": 1},
        # With DARTS_V2 and 128 channels, the rate 2e-3 has 2.50 validation bits on the plays, and 5e-3 has 2.28.
        evaluate={**_TEXT, **_PLAIN_TRAINING, "epochs": 2, "channels": 96, "window": 50},
        train=100_000,
        threads=1,
    ),
    "text-words": Recipe(
        about="A text as words, in minutes on a laptop's CPU, with dropout because the vocabulary is large.",
        space="recurrent",
        search={**_TEXT, "epochs": 4, "channels": 64, "weight_decay": 0.0, "alpha_warmup": 1, "dropout": 0.4},
        evaluate={**_TEXT, **_PLAIN_TRAINING, "epochs": 8, "channels": 128, "dropout": 0.4, "dropouth": 0.1},
        threads=1,
    ),
    "ptb": Recipe(
        about=(
            "The Penn Treebank as DARTS searches and trains on it (Liu et al., 2019), appendices A.1.2 and A.2.2. "
            "The search takes a GPU-day, and the training of the network three."
        ),
        space="recurrent",
        search={**_PTB, "epochs": 50, "batch": 256, "channels": 300, "weight_decay": 5e-7, "windows": "halved"},
        evaluate={
            **_PTB,
            **_PLAIN_TRAINING,
            "epochs": 3600,
            "batch": 64,
            "channels": 850,
            "weight_decay": 8e-7,
            "windows": "varied",
            "dropoute": 0.1,
            "averaging": True,
        },
    ),
    "sequences-small": Recipe(
        about="Sequences with a label each, in minutes on a laptop's CPU.",
        space="recurrent",
        search={**_TEXT, "epochs": 10, "channels": 32, "weight_decay": 0.0, "alpha_warmup": 1, "alpha_speed": 3},
        evaluate={**_TEXT, **_PLAIN_TRAINING, "epochs": 20, "channels": 64},
    ),
    "forecast-small": Recipe(
        about="The next row of a table, in minutes on a laptop's CPU.",
        space="recurrent",
        search={**_TEXT, "batch": 8, "epochs": 10, "channels": 32, "weight_decay": 0.0, "alpha_warmup": 1},
        evaluate={**_TEXT, **_PLAIN_TRAINING, "batch": 8, "epochs": 20, "channels": 64},
    ),
    "text-transformer": Recipe(
        about=(
            "A text through transformers that read windows of 64 tokens, in minutes on a laptop's CPU. Each branch "
            "has its own alpha."
        ),
        space="transformer",
        search={**_TOKENS, **_OF_BRANCHES, "epochs": 3, "channels": 48, "depth": 3, "batch": 32, "window": 64},
        evaluate={**_TOKENS_TRAINING, "epochs": 2, "channels": 64, "depth": 3, "batch": 32, "window": 64},
        train=100_000,
        threads=1,
    ),
    "sequences-transformer": Recipe(
        about="Sequences with a label each, through transformers that read them whole, in minutes on a laptop's CPU.",
        space="transformer",
        search={**_TOKENS, **_OF_BRANCHES, "epochs": 10, "channels": 32, "depth": 2, "batch": 32},
        evaluate={**_TOKENS_TRAINING, "epochs": 20, "channels": 48, "depth": 2, "batch": 32},
        threads=1,
    ),
    "forecast-transformer": Recipe(
        about="The next row of a table, from the last 35 rows at most, in minutes on a laptop's CPU.",
        space="transformer",
        search={**_TOKENS, **_OF_BRANCHES, "epochs": 10, "channels": 32, "depth": 2, "batch": 8},
        evaluate={**_TOKENS_TRAINING, "epochs": 20, "channels": 48, "depth": 2, "batch": 8},
        threads=1,
    ),
    "vit-small": Recipe(
        about=(
            "A transformer on small pictures, in minutes on a CPU: width 48, 4 layers, at most 5,000 pictures in the "
            "search, 20 epochs of search and 80 of training with AdamW. Each branch has its own alpha."
        ),
        space="transformer",
        search=_VIT_SMALL_SEARCH,
        evaluate=_VIT_SMALL_TRAINING,
        train=5_000,
    ),
    "vit-graph": Recipe(
        about="As vit-small, for layers that are graphs. All layers share one alpha, and it begins nearer to even.",
        space="transformer-graph",
        search={**_VIT_SMALL_SEARCH, "alpha_per": "kind", "alpha_init": 3e-4},
        evaluate=_VIT_SMALL_TRAINING,
        train=5_000,
    ),
    "vit-cifar": Recipe(
        about=(
            "A transformer on CIFAR: width 128, 8 layers, 30 epochs of search, then 300 of training with AdamW and "
            "drop path. The literature also uses RandAugment, mixup and CutMix, which are not here. GPU-hours."
        ),
        space="transformer",
        search={
            **_ADAMW,
            "epochs": 30,
            "batch": 64,
            "channels": 128,
            "depth": 8,
            "lr": 1e-3,
            "weight_decay": 0.06,
            "alpha_per": "cell",
            "alpha_speed": 10 / 3,
            "alpha_warmup": 0.1,
        },
        evaluate={
            **_ADAMW,
            "epochs": 300,
            "batch": 128,
            "channels": 128,
            "depth": 8,
            "lr": 1e-3,
            "weight_decay": 0.06,
            "warmup": 10,
            "drop_path": 0.1,
            "label_smoothing": 0.1,
        },
    ),
    "nas-bench-201-small": Recipe(
        about="NAS-Bench-201 in minutes on a core: 10,000 pictures, 8 channels, one cell per stage, half resolution.",
        space="nas-bench-201",
        search={"epochs": 30, "batch": 64, "channels": 8, "depth": 5, "stem": "cifar-half", "alpha_speed": 10 / 3},
        evaluate={
            "epochs": 30,
            "batch": 128,
            "lr": 0.1,
            "nesterov": True,
            "weight_decay": 5e-4,
            "channels": 16,
            "depth": 5,
            "stem": "cifar-half",
            "drop_path": 0.0,
            "auxiliary": 0.0,
            "cutout": 0,
        },
        train=10_000,
        threads=1,
    ),
}

_OF_FRAMES = {TRANSFORMER.name: "vit-small", TRANSFORMER_GRAPH.name: "vit-graph"}
_OF_TRANSFORMERS = {
    "text-small": "text-transformer",
    "text-words": "text-transformer",
    "sequences-small": "sequences-transformer",
    "forecast-small": "forecast-transformer",
}


def recipe_of(space: str | SearchSpace | None, usual: str | None = None) -> str | None:
    """The recipe that a space has by default; None for a space that has none, or that is unknown.

    Args:
        space: the space, or its name.
        usual: the default recipe of the data, which sequences have.

    >>> recipe_of("transformer"), recipe_of("transformer", "text-small"), recipe_of("darts")
    ('vit-small', 'text-transformer', None)
    """
    known = SPACES.get(space) if isinstance(space, str) else space
    return usual if known is None else recipe_of_skeleton(known.skeleton, usual)


def recipe_of_skeleton(skeleton: str, usual: str | None = None) -> str | None:
    """The recipe that the spaces with a skeleton have by default, as ``recipe_of``."""
    if usual is None:
        return _OF_FRAMES.get(skeleton_of(skeleton).frame)
    return _OF_TRANSFORMERS.get(usual, usual) if skeleton_of(skeleton).tokens else usual
