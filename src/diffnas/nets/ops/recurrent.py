"""Operations of recurrent cells, in a table from their names to their factories: an activation behind a gate.

All operations into one node share one product with a matrix. Its first half opens the gate, and the activation of its
second half goes through: ``x + sigmoid(c) * (f(u) - x)``. DARTS (Liu et al., 2019), appendix A.1.2.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffnas.nets.slot import OpFactory, Slot

MakeActivation = Callable[[int], nn.Module]
"""A function from the number of features to an activation, a module that keeps the shape of its input."""


class Gate(nn.Module):
    """The product that all operations into one node share.

    Attributes:
        mask: what multiplies its input in the window that is read, ``(B, n)``; None for nothing. The frame sets it.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.product = nn.Linear(width, 2 * width, bias=False)
        self.mask: Tensor | None = None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The gate before its sigmoid, and the value before its activation, for ``(B, n)``."""
        return split(self.product(x if self.mask is None else x * self.mask))


class Gated(nn.Module):
    """A mean of the input and of an activation, weighted by a gate (a highway layer)."""

    def __init__(self, gate: Gate, activation: nn.Module) -> None:
        super().__init__()
        self.gate, self.activation = gate, activation

    def forward(self, x: Tensor) -> Tensor:
        """``x`` as far as the gate is shut, and the activation as far as it is open, ``(B, n)``."""
        carry, value = self.gate(x)
        return torch.lerp(x, self.activation(value), carry.sigmoid())


class OverBatch(nn.Module):
    """Zero mean and unit variance of each feature over the batch, in training and in evaluation alike."""

    def forward(self, x: Tensor) -> Tensor:
        """``x``, ``(B, n)``, normalized.

        Raises:
            ValueError: for a batch of one in training.
        """
        if len(x) > 1:
            return F.batch_norm(x, None, None, training=True)
        if self.training:
            raise ValueError(
                "a recurrent supernet is normalized over the batch, and a batch of 1 has no variance. Take --batch 2 "
                "or more."
            )
        return torch.zeros_like(x)


def split(product: Tensor) -> tuple[Tensor, Tensor]:
    """The halves of a product, ``(..., n)`` each: the gate before its sigmoid, the value before its activation."""
    carry, value = product.chunk(2, dim=-1)
    return carry, value


def gated(activation: MakeActivation) -> OpFactory:
    """The factory of an operation with an activation of a user's own.

    >>> gated(lambda width: nn.GELU())(Slot(width=3))(torch.zeros(2, 3)).shape
    torch.Size([2, 3])
    """

    def build(slot: Slot) -> nn.Module:
        gate = slot.share("gate", lambda: Gate(slot.width))
        assert isinstance(gate, Gate)
        return Gated(gate, activation(slot.width))

    return build


RECURRENT: dict[str, OpFactory] = {
    "tanh": gated(lambda width: nn.Tanh()),
    "relu": gated(lambda width: nn.ReLU()),
    "sigmoid": gated(lambda width: nn.Sigmoid()),
    "identity": gated(lambda width: nn.Identity()),
}
"""The operations of recurrent cells."""
