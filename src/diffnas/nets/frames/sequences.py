"""What the frames for sequences share: the embedding of a step, and the head."""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffnas.nets.auxiliary import Output
from diffnas.nets.frames.frame import Frame, Run, Sizes
from diffnas.nets.masks import Masks


class Hidden(NamedTuple):
    """What the head of a net read in its last window, which penalties read too. A copied net has none.

    Attributes:
        dropped: the states, with the mask of the head, ``(B, T, n)``.
        whole: the states, ``(B, T, n)``.
    """

    dropped: Tensor
    whole: Tensor

    def __deepcopy__(self, memo: object) -> None:
        return None


class Sequences(Frame):
    """An embedding, layers that read a sequence, and a head.

    The head of tokens is the matrix of the embedding, transposed, and a bias. The head of vectors is a linear layer. It
    reads the mean of the states, or each state for a forecast.

    Attributes:
        dropouts: what is dropped in training; it may be set anytime.
        hidden: what the head read last; None before the first window.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.forecast, self.width = sizes.forecast, sizes.channels
        self.dropouts = sizes.dropouts
        self.embedding = nn.Embedding(sizes.inputs, self.width) if sizes.tokens else nn.Linear(sizes.inputs, self.width)
        self.head = Tied(sizes.outputs) if sizes.tokens else nn.Linear(self.width, sizes.outputs)
        self.masks = Masks()
        self.hidden: Hidden | None = None

    @abstractmethod
    def read(self, x: Tensor, real: Tensor | None, run: Run) -> Tensor:
        """What the layers make of each step, ``(B, T, n)``.

        Args:
            x: embedded inputs, ``(B, T, n)``.
            real: which steps are real, ``(B, T, 1)``, bool; None if all are. The others come after the end of a
                sequence.
            run: computes the cells.
        """

    def forward(self, x: Tensor, run: Run) -> Output:
        """The outputs for a window.

        Args:
            x: ids of tokens, ``(B, T)``; or vectors, ``(B, T, d)``, in which the steps after the end of a shorter
                sequence are NaN.
            run: computes the cells.

        Returns:
            For tokens, the logits of each next token, ``(B, T, vocabulary)``. For vectors, logits ``(B, classes)``, or
            a forecast after each step, ``(B, T, d)``.
        """
        predicts = self.forecast or isinstance(self.embedding, nn.Embedding)
        real = None if predicts else ~x.isnan().any(dim=2, keepdim=True)
        whole = self.read(self.embedded(x), real, run)
        mask = self.masks.draw((x.shape[0], 1, self.width), self.dropouts.dropout, whole)
        dropped = whole if mask is None else whole * mask
        self.hidden = Hidden(dropped, whole)
        return Output(self.headed(dropped, real), None)

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

    def headed(self, states: Tensor, real: Tensor | None = None) -> Tensor:
        """What the head makes of the outputs ``(B, T, n)``; ``real`` says which steps count, ``(B, T, 1)``, bool."""
        if isinstance(self.head, Tied):
            assert isinstance(self.embedding, nn.Embedding)
            logits: Tensor = self.head(states, self.embedding.weight)
            return logits
        if self.forecast:
            each: Tensor = self.head(states.flatten(0, 1)).unflatten(0, states.shape[:2])
            return each
        assert real is not None
        share = real.to(states.dtype)
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
