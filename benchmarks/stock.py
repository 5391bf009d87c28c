"""Nets with the structure of the official code, made from ours: stock modules with the same weights."""

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
    """The official code's module in place of one of ours, with the same weights; or our module if both are equal."""
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
    """Replace our modules by stock modules everywhere in a net."""
    for name, module in list(net.named_children()):
        replaced = stock(module)
        setattr(net, name, replaced)
        if replaced is module:
            make_stock_(module)
