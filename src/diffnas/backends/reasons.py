"""What the kernels of all backends ask of pictures."""

from __future__ import annotations

import torch
from torch import Tensor


def why_not_on(device: str, x: Tensor) -> str | None:
    """The reason why kernels for float32 on a type of device cannot train on pictures; None if they can."""
    reasons = {
        f"it computes on {device}, not on {x.device.type}": x.device.type != device,
        f"it computes in float32, not in {str(x.dtype).removeprefix('torch.')}": x.dtype != torch.float32,
        f"it computes maps (B, C, H, W), not {tuple(x.shape)}": x.dim() != 4,
        "autocast mixes precisions": torch.is_autocast_enabled(x.device.type),
        "a graph is being compiled": torch.compiler.is_compiling(),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)
