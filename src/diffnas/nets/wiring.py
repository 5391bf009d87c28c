"""Which nodes of a cell read which, and which pixels an edge reads."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffnas.space import Edge


def every(x: Tensor, stride: int) -> Tensor:
    """Every ``stride``-th pixel of a map ``(B, C, H, W)``: ``(B, C, ceil(H / stride), ceil(W / stride))``."""
    return x if stride == 1 else x[:, :, ::stride, ::stride]


def nothing(x: Tensor, stride: int, out: int) -> Tensor:
    """The zeros that stand for an absent operation with this stride, ``(B, out, ceil(H / stride), ceil(W / stride))``.

    >>> nothing(torch.ones(2, 3, 5, 4), 2, 6).shape
    torch.Size([2, 6, 3, 2])
    """
    like = every(x, stride)
    return torch.zeros_like(like) if like.shape[1] == out else like.new_zeros(len(like), out, *like.shape[2:])


@dataclass(frozen=True, kw_only=True)
class Wiring:
    """Which nodes of a cell read which.

    Attributes:
        inputs: how many input nodes there are: nodes 0 to ``inputs - 1``.
        nodes: how many nodes there are, inputs included.
        edges: the edges, sorted by target; two nodes may have several edges between them.
        output: the nodes that the output joins.
    """

    inputs: int
    nodes: int
    edges: tuple[Edge, ...]
    output: tuple[int, ...]

    def incoming(self, target: int) -> list[int]:
        """The numbers of the edges that lead into ``target``."""
        return [row for row, edge in enumerate(self.edges) if edge.target == target]
