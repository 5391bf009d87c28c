"""The initial weights of a convolution that is a changed copy of another one, its parent, come from the parent.

Laube & Zell (2019), Prune and Replace NAS. The result differs from the parent's as little as the change allows. With a
larger kernel or a wider layer it is the same; one more layer adds only its ReLU and its batch norm.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffnas.nets.links import Link, links


@torch.no_grad()
def inherit_(child: nn.Module, parent: nn.Module) -> None:
    """Copy the weights of a parent, and the running averages of its batch norms, into a convolution of a supernet.

    A larger kernel has the parent's weights in its middle and zeros around them; a smaller one has only their middle.
    New channels between two layers get drawn weights (Xavier) in the first layer and zeros in the second. A new layer
    is the identity. A dilation leaves the weights as they are.

    Args:
        child: the new convolution, one of ``diffnas.convolutions.CONVOLUTIONS``.
        parent: the convolution that was changed; it has at most as many layers and channels as ``child``.

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
    """``weight`` in the shape of ``like``, which has at least as many channels, and a kernel of any size."""
    (made, read), margin = weight.shape[:2], (like.shape[2] - weight.shape[2]) // 2
    grown = torch.zeros_like(like)
    if len(like) > made:
        nn.init.xavier_normal_(grown[made:])
    grown[:made, :read] = F.pad(weight, [margin] * 4)  # a negative margin crops
    return grown
