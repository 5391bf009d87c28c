"""Recipes for texts and other sequences, of recurrent nets and of transformers."""

from __future__ import annotations

from diffnas.recipes.record import PLAIN, Recipe
from diffnas.recipes.transformers import ADAMW

_PLAIN_TRAINING = {**PLAIN, "weight_decay": 0.0}
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

_OF_BRANCHES = {"alpha_per": "cell", "alpha_init": 3e-4, "alpha_speed": 10, "alpha_warmup": 0.1}
_TOKENS = {**ADAMW, "lr": 5e-3}
_TOKENS_TRAINING = {**_TOKENS, "lr": 1e-2, "warmup": 0.05, "drop_path": 0.0}

RECIPES: dict[str, Recipe] = {
    "text-small": Recipe(
        about=(
            "A text as characters, searched and evaluated in a few minutes on a laptop's CPU. Published sizes take "
            "GPU-days: see ptb."
        ),
        space="recurrent",
        search={**_TEXT, "epochs": 3, "channels": 48, "weight_decay": 0.0, "alpha_warmup": 1},
        # With DARTS_V2 and 128 channels, the rate 2e-3 has 2.50 validation bits on the plays, and 5e-3 has 2.28.
        evaluate={**_TEXT, **_PLAIN_TRAINING, "epochs": 2, "channels": 96, "window": 50},
        train=60_000,
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
        search={**_TOKENS, **_OF_BRANCHES, "epochs": 5, "channels": 48, "depth": 3, "batch": 32, "window": 64},
        # In equal time, a network that was found on the plays has 2.185 validation bits with 96 channels and 8 epochs,
        # and 2.200 with 64 and 14.
        evaluate={**_TOKENS_TRAINING, "epochs": 9, "channels": 96, "depth": 3, "batch": 32, "window": 64},
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
}
