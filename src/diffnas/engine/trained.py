"""Leaving a trained network on disk: weights as safetensors, everything else as JSON; ``nets.trained`` reads it."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import save

from diffnas.engine.run import write_atomically, write_bytes_atomically
from diffnas.nets.trained import RECORD, WEIGHTS, Trained


def save_trained(folder: Path, trained: Trained) -> None:
    """Leave a network in ``folder``, without its auxiliary head, which only training uses."""
    weights = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in trained.network.state_dict().items()
        if not name.startswith("auxiliary.")
    }
    write_bytes_atomically(folder / WEIGHTS, save(weights))
    write_atomically(folder / RECORD, json.dumps(trained.record, indent=2) + "\n")
