"""The conditions for pictures that the kernels of all backends share."""

from __future__ import annotations

import torch
from torch import Tensor


def why_not_on(device: str, x: Tensor) -> str | None:
    """The reason why float32 kernels on ``device``, a type such as cuda, cannot train on ``x``; None if they can."""
    reasons = {
        f"it computes on {device}, not on {x.device.type}": x.device.type != device,
        f"it computes in float32, not in {str(x.dtype).removeprefix('torch.')}": x.dtype != torch.float32,
        f"it computes maps (B, C, H, W), not {tuple(x.shape)}": x.dim() != 4,
        "autocast mixes precisions": torch.is_autocast_enabled(x.device.type),
        "a graph is being compiled": torch.compiler.is_compiling(),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)
