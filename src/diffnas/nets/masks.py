"""Dropout masks that hold for a whole window of a sequence."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Masks(nn.Module):
    """Draws dropout masks from ``generator``, or from torch's global random numbers if that is None."""

    def __init__(self) -> None:
        super().__init__()
        self.generator: torch.Generator | None = None

    def draw(self, shape: Sequence[int], share: float, like: Tensor) -> Tensor | None:
        """A mask with 0 for the dropped share and ``1 / (1 - share)`` for the rest; None if nothing is dropped."""
        if not share or not self.training:
            return None
        kept = torch.empty(*shape, dtype=like.dtype, device=like.device)
        return kept.bernoulli_(1 - share, generator=self.generator) / (1 - share)
