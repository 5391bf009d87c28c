"""The weights of a supernet's edges: those of operations, auxiliary skips, and channels that bypass operations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from diffnas.components.schedule import Moment, value
from diffnas.components.supernet_options import SupernetOptions


class EdgeWeights(NamedTuple):
    """The weights of the edges of a supernet, or of one of its cells.

    Attributes:
        ops: weights of the operations, ``(edges, ops)``.
        auxiliary: weights of the auxiliary skips, ``(edges,)``; None without such skips.
        passing: weights of the channels that bypass the operations, ``(edges,)``; None if no channels do.
        runs: for each edge, whether each column of ``table`` runs; None if all do.
    """

    ops: Tensor
    auxiliary: Tensor | None = None
    passing: Tensor | None = None
    runs: Sequence[Sequence[bool]] | None = None

    @property
    def table(self) -> Tensor:
        """The weights of all modules of each edge, ``(edges, columns)``: the operations, then an auxiliary skip.

        >>> EdgeWeights(torch.tensor([[0.4, 0.6]]), auxiliary=torch.tensor([0.5])).table
        tensor([[0.4000, 0.6000, 0.5000]])
        """
        return self.ops if self.auxiliary is None else torch.cat([self.ops, self.auxiliary.unsqueeze(1)], dim=1)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors that are not None: ``ops``, ``auxiliary``, ``passing``."""
        return tuple(each for each in (self.ops, self.auxiliary, self.passing) if each is not None)

    def map(self, change: Callable[[Tensor], Tensor]) -> EdgeWeights:
        """New weights, with ``change(tensor)`` in place of each tensor."""
        auxiliary, passing = (None if each is None else change(each) for each in (self.auxiliary, self.passing))
        return self._replace(ops=change(self.ops), auxiliary=auxiliary, passing=passing)

    def of(self, rows: slice) -> EdgeWeights:
        """The weights of some edges."""
        return self.map(lambda each: each[rows])._replace(runs=None if self.runs is None else self.runs[rows])

    def rows(self) -> list[tuple[Tensor, Sequence[bool] | None]]:
        """For each edge, its row of ``table``, ``(columns,)``, and which of its columns run, None if all do."""
        runs: Sequence[Sequence[bool] | None] = self.runs or [None] * len(self.ops)
        return list(zip(self.table.unbind(), runs, strict=True))


def edge_weights(mix: Tensor, options: SupernetOptions, moment: Moment, strengths: Tensor | None = None) -> EdgeWeights:
    """All weights of a supernet's edges.

    Args:
        mix: the mixing weights of the operations, ``(edges, ops)``.
        options: the options of the supernet.
        moment: where the run stands.
        strengths: a factor for each edge, which multiplies all of the edge's weights, ``(edges,)``; None for 1.

    >>> start = Moment(epoch=0, step=0, epochs=1, steps=1)
    >>> options = SupernetOptions(one_in=4, auxiliary=0.5)
    >>> found = edge_weights(torch.tensor([[0.4, 0.6]]), options, start, torch.tensor([0.5]))
    >>> found.ops, found.auxiliary, found.passing
    (tensor([[0.2000, 0.3000]]), tensor([0.2500]), tensor([0.5000]))
    """
    count = len(mix)
    auxiliary = None if options.auxiliary is None else mix.new_full((count,), value(options.auxiliary, moment))
    passing = mix.new_ones(count) if options.one_in > 1 else None
    if strengths is None:
        return EdgeWeights(mix, auxiliary, passing)
    # All weights are multiplied at once, so that the gradient of a strength is one sum.
    beside = [each for each in (auxiliary, passing) if each is not None]
    scaled = torch.cat([mix, *(each.unsqueeze(1) for each in beside)], dim=1) * strengths.unsqueeze(1)
    left = iter(scaled.unbind(1)[mix.shape[1] :])
    auxiliary, passing = (None if each is None else next(left) for each in (auxiliary, passing))
    return EdgeWeights(scaled[:, : mix.shape[1]], auxiliary, passing)
