"""Writing a trained network: weights as safetensors, everything else as JSON. ``nets.trained`` reads it."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save

from diffnas.files import write_checked
from diffnas.nets.trained import Trained, stored
from diffnas.run_files import NETWORK, WEIGHTS
from diffnas.run_folder import as_json


def save_trained(folder: Path, trained: Trained) -> None:
    """Write a network into ``folder``, without its auxiliary head, which only training uses."""
    weights = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in stored(trained.network).items()
        if not name.startswith("auxiliary.")
    }
    write_checked(folder / WEIGHTS, save(weights))
    write_checked(folder / NETWORK, as_json(trained.record))
