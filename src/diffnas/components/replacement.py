"""Replacement: weak operations leave an edge, and slightly changed forms of strong ones enter.

Prune and Replace NAS (Laube & Zell, 2019) searches in cycles over a family of convolutions that is too large for one
supernet. An edge has a pool of only a few operations at a time. ``diffnas.convolutions`` defines the changes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from diffnas.components.stages import Pause, Stage, strongest
from diffnas.convolutions import changed
from diffnas.space import WEIGHTLESS_OPS, SearchSpace


class Cycle(NamedTuple):
    """A cycle of training, and the change of each edge's pool after it.

    Attributes:
        epochs: how many epochs the cycle has.
        grace: in how many of its first epochs alpha stands still.
        survivors: how many operations an edge keeps at most.
        added: how many new operations an edge gets at most.
    """

    epochs: int
    grace: int
    survivors: int
    added: int


CYCLES = (
    *[Cycle(15, 5, 3, 3)] * 2,
    *[Cycle(10, 3, 3, 3)] * 3,
    *(Cycle(10, 3, left, 0) for left in (4, 3, 2, 1)),
)
"""The cycles of the paper's code. Its last step, to leave one operation on each edge, is done by reading off."""

START = ("max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3_layers1")
"""The first pool."""

TRIES, TRIES_FOR_NEW = 250, 201
"""How many draws a new operation may take. The first ``TRIES_FOR_NEW`` draws skip operations that were in the pool."""


def replacement(space: SearchSpace, epochs: int) -> tuple[Stage, ...]:
    """Nine cycles. Each trains a pool; then operations with the least weight leave, and changed survivors enter.

    Laube & Zell (2019). Network weights are kept from cycle to cycle, and a new operation inherits its parent's. Alpha,
    the optimizers of alpha and of the weights, and the learning rate of the weights begin anew. If all edges offer the
    operations of ``START``, the first pool is ``START``. Else it is all that an edge offers, without ``none`` where
    nodes choose their inputs. An operation that left may enter again, as the change of another.

    Args:
        space: the space, whose edges offer the family.
        epochs: the epochs of all cycles together, divided in proportion to the paper's 100. If there are fewer epochs
            than cycles, the first cycles are left out.

    Raises:
        ValueError: if no edge of the space offers both an operation and a change of it.

    >>> from diffnas.space import prune_and_replace_dl
    >>> [stage.epochs for stage in replacement(prune_and_replace_dl, 100)]
    [15, 15, 10, 10, 10, 10, 10, 10, 10]
    >>> [stage.epochs for stage in replacement(prune_and_replace_dl, 12)]
    [2, 2, 2, 1, 1, 1, 1, 1, 1]
    >>> len(replacement(prune_and_replace_dl, 6))
    6
    """
    offered = [names for cell in space.cells.values() for names in cell.ops]
    if not any(set(changed(op)) & set(names) for names in offered for op in names):
        raise ValueError(
            f"in space {space.name!r} no edge offers an operation and a small change of it, so nothing could be "
            "replaced. Take --space prune-and-replace-dl, or --stages one."
        )
    cycles = CYCLES[-epochs:]
    enters = [None, *(partial(_replace, survivors=past.survivors, added=past.added) for past in cycles[:-1])]
    return tuple(
        Stage(
            name=f"cycle {n} of {len(cycles)}",
            epochs=length,
            settings={"alpha_warmup": length * cycle.grace // cycle.epochs},
            ops=_first_pool(space, offered),
            enter=enter,
        )
        for n, (cycle, length, enter) in enumerate(zip(cycles, _lengths(cycles, epochs), enters, strict=True), 1)
    )


def _lengths(cycles: Sequence[Cycle], epochs: int) -> list[int]:
    """The epochs of each cycle: at least one, and else in proportion to the paper's.

    Proportions are rounded down. The epochs that are left go to the cycles that lost most by rounding.
    """
    whole = sum(cycle.epochs for cycle in cycles)
    lengths = [max(1, epochs * cycle.epochs // whole) for cycle in cycles]
    missing = [epochs * cycle.epochs - length * whole for cycle, length in zip(cycles, lengths, strict=True)]
    for n in sorted(range(len(cycles)), key=lambda n: -missing[n])[: epochs - sum(lengths)]:
        lengths[n] += 1
    return lengths


def _first_pool(space: SearchSpace, offered: Sequence[Sequence[str]]) -> tuple[str, ...]:
    if all(set(START) <= set(names) for names in offered):
        return START
    return tuple(op for op in space.ops if op != "none" or space.in_degree is None)


def _replace(pause: Pause, *, survivors: int, added: int) -> None:
    """End one cycle and begin the next: change the pools, and begin alpha and the optimizers anew."""
    at, space = pause.at_rest(), pause.space
    learn = torch.tensor([op not in WEIGHTLESS_OPS for op in space.ops])
    keep = surviving(at.open, at.keep, survivors, learn)
    tried = torch.stack([at.keep, *(torch.tensor(line["keep"]) for line in at.history)]).any(dim=0)
    parents: dict[tuple[int, int], int] = {}
    for row, offered in enumerate(space.offered):
        pool = Pool(space.ops, offered, keep[row].tolist(), at.open[row].tolist(), tried[row].tolist())
        generator = pause.generator(f"edge {row}")
        made = {} if pool.empty else pool.grow(added, generator)
        gone = at.keep[row] & ~keep[row]
        keep[row, list(made)] = True
        parents |= {(row, column): parent for column, parent in made.items()}
        _note(pause, row, gone.nonzero().flatten().tolist(), made)
    pause.replace(keep, parents)
    pause.renew_alpha()
    pause.renew_weight_optimizer()


def _note(pause: Pause, row: int, gone: Collection[int], made: dict[int, int]) -> None:
    (kind, edge), ops = pause.space.edges[row], pause.space.ops
    came = {ops[column]: ops[parent] for column, parent in made.items()}
    pause.note(what="replaced", kind=kind, edge=list(edge), gone=[ops[column] for column in gone], came=came)


def surviving(scores: Tensor, keep: Tensor, count: int, learn: Tensor) -> Tensor:
    """The ``count`` operations that each edge keeps of its pool: the best one with weights, then the highest scores.

    Args:
        scores: ``(edges, ops)``.
        keep: the pools, ``(edges, ops)``, bool.
        count: how many operations an edge keeps.
        learn: which operations have network weights, ``(ops,)``, bool.

    Returns:
        Which operations stay, ``(edges, ops)``, bool.

    >>> scores = torch.tensor([[0.5, 0.3, 0.1, 0.1]])
    >>> surviving(scores, scores > 0, 2, torch.tensor([False, False, True, True]))
    tensor([[ True, False,  True, False]])
    """
    protected = strongest(scores, keep & learn, 1)
    return strongest(scores.masked_fill(protected, torch.inf), keep, count)


class Pool:
    """The survivors of an edge, and the operations that can be made from them.

    Args:
        ops: the names of the columns.
        offered: which columns the edge offers.
        kept: which columns survived.
        weights: one for each column; a parent is drawn with a probability in proportion to its weight.
        tried: which columns were ever in the pool.
    """

    def __init__(
        self,
        ops: Sequence[str],
        offered: Sequence[bool],
        kept: Sequence[bool],
        weights: Sequence[float],
        tried: Sequence[bool],
    ) -> None:
        known = {op: column for column, op in enumerate(ops) if offered[column]}
        self.live = {column for column, stays in enumerate(kept) if stays}
        self.tried = {column for column, was in enumerate(tried) if was}
        self.parents = [column for column in sorted(self.live) if weights[column] > 0]
        self.weights = torch.tensor([weights[column] for column in self.parents], dtype=torch.float64)
        self.changes = {
            column: [known[name] for name in changed(ops[column]) if name in known] for column in self.parents
        }

    @property
    def empty(self) -> bool:
        """Whether no operation can be made from the survivors."""
        return not any(self.changes.values())

    def grow(self, count: int, generator: torch.Generator) -> dict[int, int]:
        """At most ``count`` new operations, drawn at random: from their columns to those of their parents."""
        made: dict[int, int] = {}
        for _ in range(count):
            found = self._draw(generator)
            if found is not None:
                parent, column = found
                made[column] = parent
                self.live.add(column)
                self.tried.add(column)
        return made

    def _draw(self, generator: torch.Generator) -> tuple[int, int] | None:
        """A parent and a change of it that is not in the pool; None if none is found in ``TRIES`` draws.

        A parent is drawn with a probability in proportion to its weight; its changes are equally likely.
        """
        drawn = torch.multinomial(self.weights, TRIES, replacement=True, generator=generator).tolist()
        which = torch.rand(TRIES, generator=generator, dtype=torch.float64).tolist()
        for attempt, (place, uniform) in enumerate(zip(drawn, which, strict=True)):
            parent = self.parents[place]
            changes = self.changes[parent]
            if not changes:
                continue
            column = changes[int(uniform * len(changes))]
            if column not in self.live and (column not in self.tried or attempt >= TRIES_FOR_NEW):
                return parent, column
        return None
