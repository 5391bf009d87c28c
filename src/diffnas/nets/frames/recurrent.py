"""The frames of recurrent nets: they read a sequence step by step, and carry a state.

The cell is that of DARTS (Liu et al., 2019), appendix A.1.2, in the language model of Merity et al. (2018). LSTM and
GRU stand in the same model, in place of the cell.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffnas.nets.auxiliary import Output
from diffnas.nets.carried import Carried
from diffnas.nets.cell import Place
from diffnas.nets.frames.frame import Frame, MakeCell, Run, Sizes
from diffnas.nets.masks import Masks
from diffnas.nets.ops.recurrent import Gate, OverBatch, split
from diffnas.skeleton import Recurrent as RecurrentSkeleton


class Hidden(NamedTuple):
    """What the head of a recurrent net read in its last window, which penalties read too. A copied net has none.

    Attributes:
        dropped: the states, with the mask of the head, ``(B, T, n)``.
        whole: the states, ``(B, T, n)``.
    """

    dropped: Tensor
    whole: Tensor

    def __deepcopy__(self, memo: object) -> None:
        return None


class Sequences(Frame):
    """An embedding, a recurrent layer, and a head.

    The head of tokens is the matrix of the embedding, transposed, and a bias. The head of vectors is a linear layer. It
    reads the mean of the states, or each state for a forecast.

    Attributes:
        parts: how many tensors ``(B, n)`` a state has.
        dropouts: what is dropped in training; it may be set anytime.
        carried: the state that goes from window to window.
        hidden: what the head read last; None before the first window.
    """

    parts = 1

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.forecast, self.width = sizes.forecast, sizes.channels
        self.dropouts = sizes.dropouts
        self.embedding = nn.Embedding(sizes.inputs, self.width) if sizes.tokens else nn.Linear(sizes.inputs, self.width)
        self.head = Tied(sizes.outputs) if sizes.tokens else nn.Linear(self.width, sizes.outputs)
        self.masks, self.carried = Masks(), Carried()
        self.hidden: Hidden | None = None

    @abstractmethod
    def states(self, x: Tensor, before: Tensor, run: Run) -> tuple[Tensor, Tensor]:
        """The output of each step, ``(B, T, n)``, and the state after the last one, ``(parts, B, n)``.

        Args:
            x: embedded inputs, ``(B, T, n)``.
            before: the state before the first step, ``(parts, B, n)``.
            run: computes the cell.
        """

    def forward(self, x: Tensor, run: Run) -> Output:
        """The outputs for a window.

        Args:
            x: ids of tokens, ``(B, T)``; or vectors, ``(B, T, d)``, in which the steps after the end of a shorter
                sequence are NaN.
            run: computes the cell.

        Returns:
            For tokens, the logits of each next token, ``(B, T, vocabulary)``. For vectors, logits ``(B, classes)``, or
            a forecast after each step, ``(B, T, d)``.
        """
        there = None if isinstance(self.embedding, nn.Embedding) else ~x.isnan().any(dim=2, keepdim=True)
        embedded = self.embedded(x)
        before = self.carried.read(embedded.new_zeros(self.parts, x.shape[0], self.width))
        whole, after = self.states(embedded, before, run)
        self.carried.write(after)
        mask = self.masks.draw((x.shape[0], 1, self.width), self.dropouts.dropout, whole)
        dropped = whole if mask is None else whole * mask
        self.hidden = Hidden(dropped, whole)
        return Output(self.read(dropped, there), None)

    def embedded(self, x: Tensor) -> Tensor:
        """The features of tokens ``(B, T)`` or vectors ``(B, T, d)``: ``(B, T, n)``."""
        weight, dropouts = self.embedding.weight, self.dropouts
        assert isinstance(weight, Tensor)
        if isinstance(self.embedding, nn.Embedding):
            mask = self.masks.draw((len(weight), 1), dropouts.dropoute, weight)
            # Sizes are counted with zeros that are no integers.
            embedded = F.embedding(x.long(), weight if mask is None else weight * mask)
        else:
            embedded = self.embedding(x.nan_to_num().to(weight.dtype).flatten(0, 1)).unflatten(0, x.shape[:2])
        mask = self.masks.draw((x.shape[0], 1, self.width), dropouts.dropouti, weight)
        return embedded if mask is None else embedded * mask

    def read(self, states: Tensor, there: Tensor | None = None) -> Tensor:
        """What the head makes of the outputs ``(B, T, n)``; ``there`` says which steps count, ``(B, T, 1)``, bool."""
        if isinstance(self.head, Tied):
            assert isinstance(self.embedding, nn.Embedding)
            logits: Tensor = self.head(states, self.embedding.weight)
            return logits
        if self.forecast:
            each: Tensor = self.head(states.flatten(0, 1)).unflatten(0, states.shape[:2])
            return each
        assert there is not None
        share = there.to(states.dtype)
        read: Tensor = self.head((states * share).sum(1) / share.sum(1).clamp_min(1))
        return read


class Tied(nn.Module):
    """The head of tokens, whose matrix is that of the embedding (Press & Wolf, 2017)."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    def forward(self, x: Tensor, matrix: Tensor) -> Tensor:
        """Logits, ``(B, T, vocabulary)``, for states ``(B, T, n)`` and the embeddings, ``(vocabulary, n)``."""
        return F.linear(x, matrix, self.bias)


class Recurrent(Sequences):
    """A recurrent net with a searched cell.

    The input node of the cell is the state, moved towards the input by a gate. In a supernet, that node and all
    computed ones are normalized over the batch, so that raising all weights into a node changes nothing.
    """

    def __init__(self, sizes: Sizes, cell: MakeCell) -> None:
        super().__init__(sizes)
        n, normed = self.width, not sizes.affine and sizes.skeleton.normed_nodes
        self.from_input, self.from_state = (nn.Linear(n, 2 * n, bias=False) for _ in range(2))
        kind = sizes.skeleton.kinds[0]
        place = Place(kind=kind, width=n, gated=True, prepare=[OverBatch() if normed else nn.Identity()])
        self.cells = nn.ModuleList([cell(place)])
        products = [module.product for module in self.cells.modules() if isinstance(module, Gate)]
        matrices = [self.from_input, self.from_state, *products]
        _start(self, [*matrices, *([self.embedding] if sizes.tokens else [])], sizes.start)

    def states(self, x: Tensor, before: Tensor, run: Run) -> tuple[Tensor, Tensor]:
        """The output of the cell at each step; it is the state too."""
        # Not len(x), which torch.export takes for a constant; the same everywhere in this file.
        shape, dropouts = (x.shape[0], self.width), self.dropouts
        mask_x, mask_h = (self.masks.draw(shape, share, x) for share in (dropouts.dropoutx, dropouts.dropouth))
        for gate in self.cells.modules():
            if isinstance(gate, Gate):
                gate.mask = mask_h
        # The input's part of the first product, for all steps at once.
        read = self.from_input((x if mask_x is None else x * mask_x.unsqueeze(1)).flatten(0, 1))
        state, states = before[0], []
        for step in read.unflatten(0, x.shape[:2]).unbind(1):
            closed, value = split(step + self.from_state(state if mask_h is None else state * mask_h))
            state = run(self.cells[0], (torch.lerp(state, value.tanh(), closed.sigmoid()),))
            states.append(state)
        return torch.stack(states, dim=1), state.unsqueeze(0)


class Layer(Sequences):
    """A recurrent net with PyTorch's LSTM or GRU in place of a searched cell. It has no ``dropouth``."""

    def __init__(self, sizes: Sizes, cell: MakeCell) -> None:
        super().__init__(sizes)
        skeleton = sizes.skeleton
        assert isinstance(skeleton, RecurrentSkeleton)
        made = {"lstm": nn.LSTM, "gru": nn.GRU}[skeleton.layer]
        self.layer = made(self.width, self.width, batch_first=True)
        self.parts = 2 if made is nn.LSTM else 1
        _start(self, [self.embedding] if sizes.tokens else [], sizes.start)

    def states(self, x: Tensor, before: Tensor, run: Run) -> tuple[Tensor, Tensor]:
        """The output of the layer at each step, and its state."""
        mask = self.masks.draw((x.shape[0], 1, self.width), self.dropouts.dropoutx, x)
        begun = before if self.parts == 1 else before.chunk(2)
        states, after = self.layer(x if mask is None else x * mask, begun)
        return states, after if self.parts == 1 else torch.cat(after)


def _start(frame: Sequences, modules: Sequence[nn.Module], start: float | None) -> None:
    """Draw the initial matrices of some modules."""
    bound = frame.width**-0.5 if start is None else start
    for module in modules:
        assert isinstance(module.weight, Tensor)
        nn.init.uniform_(module.weight, -bound, bound)
