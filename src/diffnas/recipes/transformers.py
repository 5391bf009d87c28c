"""Recipes for transformers on pictures."""

from __future__ import annotations

from diffnas.recipes.record import Recipe

ADAMW = {
    "optimizer": "adamw",
    "nesterov": False,
    "weight_decay": 0.02,
    "decay": "matrices",
    "lr_min": 1e-5,
    "clip": 1.0,
    "auxiliary": 0.0,
    "cutout": 0,
}
"""The optimizer of transformers."""

_VIT_SMALL_SEARCH = {
    **ADAMW,
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
    **ADAMW,
    "epochs": 80,
    "batch": 64,
    "channels": 48,
    "depth": 4,
    "lr": 1e-2,
    "warmup": 0.05,
    "drop_path": 0.0,
    "label_smoothing": 0.1,
}

RECIPES: dict[str, Recipe] = {
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
            **ADAMW,
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
            **ADAMW,
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
}
