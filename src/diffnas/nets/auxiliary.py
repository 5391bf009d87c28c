"""The auxiliary head, and the output of a net."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F


class Output(NamedTuple):
    """The output of a network: logits ``(B, classes)``, and those of the auxiliary head, None if it did not run."""

    logits: Tensor
    auxiliary: Tensor | None


class AuxiliaryHead(nn.Module):
    """A second classifier at two thirds of the depth, which helps to train the cells before it.

    DARTS (Liu et al., 2019): pooling to 2x2, a 1x1 and a 2x2 convolution, a linear layer. As published, the ImageNet
    head pools with stride 2 and has no second batch norm. The published 5x5 pooling makes 2x2 of maps of 8x8 to
    10x10 (7x7 and 8x8 on ImageNet). Maps of other sizes are pooled to 2x2 adaptively, which uses all pixels.
    """

    def __init__(self, channels: int, classes: int, *, imagenet: bool = False) -> None:
        super().__init__()
        self.stride = 2 if imagenet else 3
        self.features = nn.Sequential(
            nn.Conv2d(channels, 128, 1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.Conv2d(128, 768, 2, bias=False),
            nn.Identity() if imagenet else nn.BatchNorm2d(768),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(768, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(B, classes)`` of a map ``(B, channels, H, W)`` of any size."""
        x = F.relu(x)
        if all((size - 5) // self.stride == 1 for size in x.shape[2:]):
            x = F.avg_pool2d(x, 5, self.stride)
        else:
            x = F.adaptive_avg_pool2d(x, 2)
        logits: Tensor = self.features(x)
        return logits
