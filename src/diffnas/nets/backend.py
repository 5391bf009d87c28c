"""The only interface between what a network is and how it is computed fast.

A net is plain PyTorch. In training mode it gives its cells to its backend, if it has one. Nothing in ``nets`` knows a
backend by name. The engine chooses one by :func:`diffnas.backends.choose.choose`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from torch import Tensor, nn

if TYPE_CHECKING:
    from diffnas.components.edge_weights import EdgeWeights
    from diffnas.nets.cell import Cell, Factors

Run = Callable[[Sequence[Tensor], "EdgeWeights | Factors"], Tensor]
"""A compiled cell: a function from its inputs, and the weights or factors of its edges, to its output."""


class Backend(Protocol):
    """A way to compute the cells of a net fast, for the same values and gradients up to rounding.

    Its gradients need not be differentiable. A compiled cell can be copied, together with its cell.
    """

    @property
    def name(self) -> str:
        """The name by which a user asks for the backend: ``cpu``, ``gpu``, ..."""

    def why_not(self, x: Tensor) -> str | None:
        """The reason why this backend cannot train on pictures like ``x``; None if it can."""

    def compile(self, cell: Cell) -> Run | None:
        """A function that computes a cell in training mode, with the operations that it has now.

        None if the backend computes the operations of such a cell one after the other, by ``apply``.
        """

    def why_slower(self, cell: Cell) -> str | None:
        """The reason why PyTorch computes a part of a cell; None if this backend's kernels compute all of it."""

    def computing(self, threads: int) -> AbstractContextManager[None]:
        """A context in which the backend computes with this many CPU threads."""

    def apply(self, op: nn.Module, x: Tensor) -> Tensor:
        """``op(x)`` in training mode, for an operation of a network."""


def usable(backend: Backend | None, x: Tensor) -> Backend | None:
    """The backend, if it can train on pictures like ``x``; None if it cannot, or if there is none."""
    return None if backend is None or x.dim() != 4 or backend.why_not(x) else backend


def applied(op: nn.Module, x: Tensor, backend: Backend | None) -> Tensor:
    """``op(x)``, computed by the backend if there is one."""
    out: Tensor = op(x) if backend is None else backend.apply(op, x)
    return out
