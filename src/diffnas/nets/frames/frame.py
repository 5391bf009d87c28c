"""What stands around the cells of a net, and the order in which they are computed."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from diffnas.nets.auxiliary import Output
from diffnas.nets.cell import Place
from diffnas.skeleton import Skeleton, StemKind

MakeCell = Callable[[Place], nn.Module]
"""What makes the cell for a place: mixed in a supernet, fixed in a network."""

Run = Callable[[nn.Module, Sequence[Tensor]], Tensor]
"""What computes a cell, or a block that stands in place of one, from its inputs.

A net computes it with the weights of its edges, by a backend if there is one, and throws away its inside if that is to
be computed again. A block is called as ``block(*inputs, backend)``."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What a frame must know to be built.

    Attributes:
        skeleton: how the cells are stacked.
        inputs: channels of the pictures, or how many tokens there are.
        outputs: how many numbers the head gives.
        channels: channels, or features, of the nodes of the first cell.
        depth: number of cells.
        joined: for every kind of cell, how many times as wide as a node its output is.
        reads: for every kind of cell, how many inputs it has.
        affine: whether what prepares the inputs of cells has batch norms with a weight and a bias.
        stem: what stands before the cells.
        auxiliary: whether there is an auxiliary head.
        frame: the user's own frame; None for the skeleton's.
    """

    skeleton: Skeleton
    inputs: int
    outputs: int
    channels: int
    depth: int
    joined: Mapping[str, int]
    reads: Mapping[str, int]
    affine: bool
    stem: StemKind = "cifar"
    auxiliary: bool = False
    frame: FrameFactory | None = None


class Frame(nn.Module):
    """A stem, cells in an order, and a head."""

    @abstractmethod
    def forward(self, x: Tensor, run: Run) -> Output:
        """What the head says of a batch; ``run`` computes each of the cells, and blocks in place of cells."""


FrameFactory = Callable[["Sizes", MakeCell], Frame]
"""What builds the frame of a net with its cells."""
