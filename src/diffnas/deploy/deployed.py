"""The module that is exported: a trained network from bytes to probabilities."""

from __future__ import annotations

import copy
import json
from typing import Any

import torch
from torch import Tensor, nn

from diffnas.deploy.preprocessing import PREPROCESSING
from diffnas.genotype import to_text
from diffnas.nets.ops import Noise
from diffnas.nets.trained import Trained
from diffnas.task import probabilities


class Deployed(nn.Module):
    """A trained network that takes uint8 pictures and normalizes them itself.

    It is a copy of the network on the CPU, in evaluation mode and in float32, which every runtime supports.

    Raises:
        ValueError: for a network that draws random numbers, because no copy of it can be checked.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, trained: Trained) -> None:
        super().__init__()
        if any(isinstance(part, Noise) for part in trained.network.modules()):
            raise ValueError("its cells have 'noise' operations, which give another output every time.")
        self.several = trained.several
        self.network = copy.deepcopy(trained.network).cpu().float().eval()
        self.network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        mean, std = (
            torch.tensor(values, dtype=torch.float64).view(1, -1, 1, 1) for values in (trained.mean, trained.std)
        )
        self.register_buffer("scale", (1 / (255 * std)).float())
        self.register_buffer("shift", (-mean / std).float())

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and probabilities ``(B, classes)`` of uint8 pictures ``(B, channels, H, W)``."""
        logits: Tensor = self.network(pictures.to(torch.float32) * self.scale + self.shift).logits
        return logits, probabilities(logits, several=self.several)


def about(trained: Trained) -> dict[str, str]:
    """Metadata of an exported network, as JSON texts by name: how to make its input, and what its outputs mean."""
    told: dict[str, Any] = {
        "classes": trained.classes,
        "channels": trained.channels,
        "size": trained.size,
        "mean": trained.mean,
        "std": trained.std,
        "levels": trained.levels,
        "preprocessing": PREPROCESSING,
        "genotype": to_text(trained.genotype),
    }
    return {name: json.dumps(value, ensure_ascii=False) for name, value in told.items()}
