"""The first weights of a convolution that was made from another one by a change: those of the other.

Laube & Zell (2019), Prune and Replace NAS. What such a convolution computes differs from what its parent did as little
as the change allows: a larger kernel or a wider layer, not at all; one more layer, by its ReLU and its batch norm.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffnas.nets.links import Link, links


@torch.no_grad()
def inherit_(child: nn.Module, parent: nn.Module) -> None:
    """Give a convolution of a supernet the weights of the one it was made from, batch norms' averages included.

    A larger kernel has them in its middle, with zeros around; a smaller one, their middle. New channels between two
    layers are drawn (Xavier) where they are made and weigh nothing where they are read. A new layer passes on what it
    is given. A dilation leaves the weights as they are.

    Args:
        child: the new convolution, of one of ``diffnas.convolutions.CONVOLUTIONS``.
        parent: the other, which has as many layers and channels, or fewer.

    >>> from diffnas.nets.ops import build
    >>> from diffnas.nets.slot import Slot
    >>> parent, child = (build(f"nor_conv_{k}x{k}", Slot(width=4)) for k in (1, 3))
    >>> inherit_(child, parent)
    >>> torch.equal(child[1](torch.ones(1, 4, 5, 5)), parent[1](torch.ones(1, 4, 5, 5)))
    True
    """
    layers, before = links(child), links(parent)
    assert layers is not None
    assert before is not None
    for layer, known in zip(layers, before, strict=False):
        _take_over(layer, known)
    for layer in layers[len(before) :]:
        for conv in layer.modules:
            nn.init.dirac_(conv.weight, groups=conv.groups)


def _take_over(layer: Link, known: Link) -> None:
    for conv, other in zip(layer.modules, known.modules, strict=True):
        conv.weight.copy_(_grown(other.weight, conv.weight))
        if conv.bias is not None and other.bias is not None:
            conv.bias.copy_(other.bias)
    for name, values in known.norm.named_buffers():
        buffer = layer.norm.get_buffer(name)
        buffer[: len(values)].copy_(values) if values.dim() else buffer.copy_(values)


def _grown(weight: Tensor, like: Tensor) -> Tensor:
    """A weight in the shape of another with as many channels or more, and a kernel of any size."""
    (made, read), margin = weight.shape[:2], (like.shape[2] - weight.shape[2]) // 2
    grown = torch.zeros_like(like)
    if len(like) > made:
        nn.init.xavier_normal_(grown[made:])
    grown[:made, :read] = F.pad(weight, [margin] * 4)  # a negative margin cuts off
    return grown
