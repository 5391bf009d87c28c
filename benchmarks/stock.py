"""Nets of the official code's structure, out of ours: stock modules with the same weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffnas.nets.ops import Depthwise, FactorizedReduce


class StockFactorizedReduce(nn.Module):
    """Two 1x1 convolutions of stride 2, as DARTS' code has them; even sizes only."""

    def __init__(self, ours: FactorizedReduce) -> None:
        super().__init__()
        self.even, self.odd, self.norm = ours.even, ours.odd, ours.norm

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        even = F.conv2d(x, self.even.weight, stride=2)
        odd = F.conv2d(x[:, :, 1:, 1:], self.odd.weight, stride=2)
        out: Tensor = self.norm(torch.cat([even, odd], dim=1))
        return out


def stock(ours: nn.Module) -> nn.Module:
    """What the official code has in place of a module of ours, with the same weights; the module itself if the same."""
    if isinstance(ours, FactorizedReduce):
        return StockFactorizedReduce(ours)
    if isinstance(ours, Depthwise):
        conv = nn.Conv2d(
            ours.conv.in_channels, ours.conv.in_channels, ours.conv.kernel_size[0],
            stride=ours.stride, padding=ours.padding, dilation=ours.dilation, groups=ours.conv.groups, bias=False,
        )  # fmt: skip
        conv.weight = ours.conv.weight
        return conv
    return ours


def make_stock_(net: nn.Module) -> None:
    """Put stock modules in place of ours, everywhere in a net."""
    for name, module in list(net.named_children()):
        replaced = stock(module)
        setattr(net, name, replaced)
        if replaced is module:
            make_stock_(module)
