"""The frame of a net: the parts around its cells, and the order in which the cells are computed."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypedDict

from torch import Tensor, nn

from diffnas.nets.auxiliary import Output
from diffnas.nets.cell import Place
from diffnas.skeleton import Skeleton, StemKind

MakeCell = Callable[[Place], nn.Module]
"""A function that makes the cell of a place: with mixed edges in a supernet, with fixed ones in a network."""

Run = Callable[[nn.Module, Sequence[Tensor]], Tensor]
"""A function that computes a cell, or a block in place of a cell, from its inputs.

The net gives it to the frame. It adds the weights of the cell's edges and the backend. If the net recomputes cells, it
arranges that too. A block is called as ``block(*inputs, backend)``."""


class Dropouts(NamedTuple):
    """The shares that a net of sequences drops in training. All masks but the first hold for a whole window.

    Attributes:
        dropoute: of the tokens: all features of a dropped one are zeros.
        dropouti: of the features that the embedding gives.
        dropoutx: of what the first product of a recurrent net reads of the input.
        dropouth: of what its products read of the state and of the nodes; one mask for all of them.
        dropout: of the features that the head reads.
    """

    dropoute: float = 0.0
    dropouti: float = 0.0
    dropoutx: float = 0.0
    dropouth: float = 0.0
    dropout: float = 0.0


NO_DROPOUTS = Dropouts()


class Reading(TypedDict, total=False):
    """How a net reads sequences. Each key gives the attribute of ``Sizes`` with the same name."""

    tokens: bool
    forecast: bool
    dropouts: Dropouts
    start: float | None


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The sizes from which a frame is built.

    Attributes:
        skeleton: how the cells are stacked.
        inputs: channels of the pictures, or the size of the vocabulary.
        outputs: number of outputs of the head.
        channels: channels, or features, of the nodes of the first cell.
        depth: number of cells.
        joined: for every kind of cell, the width of its output divided by that of a node.
        reads: for every kind of cell, how many inputs it has.
        affine: whether the layers that prepare the inputs of cells have batch norms with a weight and a bias.
        stem: the layers before the cells.
        auxiliary: whether there is an auxiliary head.
        tokens: whether inputs are ids of tokens, which are embedded; the outputs are then those of each next token.
        forecast: whether the outputs are the next vector of each step of a sequence of vectors, not one for all steps.
        dropouts: what a net of sequences drops in training.
        start: the initial weights of a recurrent net are drawn evenly from ``-start`` to ``start``; None for
            ``1 / sqrt(channels)``.
        frame: the user's own frame; None for the skeleton's.
        picture: height and width of the pictures, for frames with tables of positions; or the steps of a sequence that
            such a frame reads at once, ``(steps,)``.
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
    tokens: bool = False
    forecast: bool = False
    dropouts: Dropouts = NO_DROPOUTS
    start: float | None = None
    frame: FrameFactory | None = None
    picture: tuple[int, ...] = (32, 32)


class Frame(nn.Module):
    """A stem, cells in an order, and a head.

    Attributes:
        window: the most steps of a sequence that can be read at once; None if there is no limit.
    """

    window: int | None = None

    @abstractmethod
    def forward(self, x: Tensor, run: Run) -> Output:
        """The output of the head for a batch; ``run`` computes the cells, and the blocks in place of cells."""


FrameFactory = Callable[[Sizes, MakeCell], Frame]
"""A function that builds the frame of a net, with its cells."""
