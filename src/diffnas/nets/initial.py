"""Initializers that know how a net of cells is built: those of its operations' last layers."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from diffnas.components.initial import Layer
from diffnas.components.level import Batch
from diffnas.nets.supernet import MixedEdge


@torch.no_grad()
def zero_residual(net: nn.Module, batch: Batch, generator: torch.Generator) -> None:
    """The last layer of every operation gives zeros at first (Goyal et al., 2017), by its weight or that of its norm.

    Raises:
        ValueError: if an operation ends in a norm without weights, as in most supernets. Such a norm would divide zeros
            by the root of its epsilon, and so multiply gradients by 316.
    """
    ends = [_end(operation) for operation in operations(net)]
    if any(end.weight is None for end in ends):
        raise ValueError(
            "zero-residual needs norms with weights behind the operations, and those of this supernet have none: a "
            "layer of zeros would get gradients 316 times too large. Use it for networks, or alpha_init=0 for an even "
            "mix."
        )
    for end in ends:
        nn.init.zeros_(end.weight)
        if isinstance(end, _BatchNorm) and end.bias is not None:
            nn.init.zeros_(end.bias)


@torch.no_grad()
def fixup(net: nn.Module, batch: Batch, generator: torch.Generator) -> None:
    """The last convolution of every operation, as PyTorch draws it, divided by the root of the number of cells.

    As in Fixup (Zhang et al., 2019), the sum over the depth then does not grow. A batch norm behind the layer cancels
    this.
    """
    scale = len(list(_cells(net))) ** -0.5
    for operation in operations(net):
        own = [each for each in operation.modules() if isinstance(each, Layer)]
        if own:
            own[-1].weight.mul_(scale)


def operations(net: nn.Module) -> Iterator[nn.Module]:
    """The operations with layers or norms, on all edges of all cells of a supernet or a network."""
    for cell in _cells(net):
        for edge in cell.edges:  # type: ignore[union-attr]
            of_edge = edge.ops.values() if isinstance(edge, MixedEdge) else [edge]
            yield from (each for each in of_edge if any(isinstance(part, Layer) for part in each.modules()))


def _cells(net: nn.Module) -> list[nn.Module]:
    found: list[nn.Module] = net.cells  # type: ignore[assignment]
    return found


def _end(operation: nn.Module) -> Layer | _BatchNorm:
    return [each for each in operation.modules() if isinstance(each, Layer | _BatchNorm)][-1]
