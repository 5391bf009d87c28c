"""The skeletons of recurrent nets: one cell that is computed at each step of a sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from diffnas.skeleton.record import Place, Skeleton


@dataclass(frozen=True, kw_only=True, eq=False)
class Recurrent(Skeleton):
    """A recurrent net for sequences: one cell that is computed at each step, or a layer of PyTorch in its place.

    Attributes:
        layer: what is computed at each step.
    """

    layer: Literal["cell", "lstm", "gru"] = "cell"
    skip: str = "identity"  # the only linear operation

    def places(self, depth: int) -> tuple[Place, ...]:
        """The place of the cell.

        Raises:
            ValueError: for another depth than 1.

        >>> RECURRENT.places(1)
        (Place(kind='recurrent', reduces=False, width=1),)
        """
        if depth != 1:
            raise ValueError(f"a recurrent net has one cell, not {depth}. Leave the depth out.")
        return tuple(Place(kind, False) for kind in self.kinds)

    def own_depth(self, names: Sequence[str]) -> int:
        """1, the depth of every recurrent net.

        Raises:
            ValueError: for other kinds of cell.
        """
        if tuple(names) != self.kinds:
            wanted = f"one cell, 'recurrent', in the skeleton {self.name!r}" if self.kinds else "no cells of its own"
            raise ValueError(f"a {self.name} net has {wanted}; got {', '.join(names)[:80] or 'none'}.")
        return 1

    def normal_cells(self, names: Sequence[str]) -> list[str]:
        """All of the named cells."""
        return list(names)

    def check_cell(self, inputs: int, nodes: int, output: tuple[int, ...]) -> None:
        """Refuse a cell that does not fit the skeleton.

        Raises:
            ValueError: for a cell with two inputs.
        """
        if inputs != 1:
            raise ValueError(f"a recurrent cell has one input, made of the step and the state, not {inputs}.")


RECURRENT = Recurrent(
    name="recurrent",
    kinds=("recurrent",),
    join="mean",
    gated=True,
    averages=True,
    normed_nodes=True,
    published={"cifar": (850, 1)},
)
"""The recurrent cell of DARTS (Liu et al., 2019), appendix A.1.2: its output is the mean of its nodes."""

LSTM = replace(RECURRENT, name="lstm", kinds=(), layer="lstm")
"""A long short-term memory (Hochreiter & Schmidhuber, 1997) in place of the cell."""

GRU = replace(RECURRENT, name="gru", kinds=(), layer="gru")
"""Gated recurrent units (Cho et al., 2014) in place of the cell."""
