"""Recipes for pictures, except those of transformers."""

from __future__ import annotations

from diffnas.recipes.record import PLAIN, Recipe

_CHAIN_SEARCH = {"batch": 64, "lr": 0.05, "lr_min": 0.0, "clip": 0.0, "alpha_warmup": 1, "prune_warmup": 3}

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
            **PLAIN,
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
            **PLAIN,
        },
        train=5_000,
        threads=1,
    ),
    "digits": Recipe(
        about="The embedded digits, searched and evaluated in about two minutes on a laptop's CPU.",
        aimed="chain",
        # How much is pruned depends on alpha's learning rate times the number of steps. A search of 264 steps prunes
        # only with ten times the usual rate.
        search={"epochs": 12, "batch": 64, "channels": 4, "depth": 3, "lr": 0.05, "alpha_speed": 10},
        evaluate={
            "epochs": 24,
            "batch": 64,
            "lr": 0.05,
            "channels": 16,
            "depth": 3,
            **PLAIN,
            "label_smoothing": 0.1,
        },
        threads=1,
    ),
    "quick": Recipe(
        about=(
            "Your own pictures on a laptop's CPU, for a first look: half resolution, small nets, and at most 4,000 "
            "pictures in the search. On a GPU, or with more time, take more epochs and channels."
        ),
        aimed="chain",  # measured for 1, 3 and 11 million multiply-adds: better, or as good
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
            **PLAIN,
            "label_smoothing": 0.1,
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
            **PLAIN,
            "label_smoothing": 0.1,
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
            **PLAIN,
            "cutout": 16,
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
            **PLAIN,
        },
        train=10_000,
        threads=1,
    ),
}
