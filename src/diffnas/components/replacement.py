"""Replacement: what is weak on an edge leaves, and what is made from the strong by a small change comes in.

Prune and Replace NAS (Laube & Zell, 2019): a search in cycles over a family of convolutions that is too large for one
supernet. An edge has a pool of a few operations at a time; the changes are those of ``diffnas.convolutions``.
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
    """A cycle of training, and what becomes of the pool of an edge after it.

    Attributes:
        epochs: how many.
        grace: in how many of them, the first ones, alpha stands still.
        survivors: how many operations an edge keeps at most.
        added: how many new ones it gets at most.
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
"""Those of the paper's code. That one operation is left after the last is what reading off does."""

START = ("max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3_layers1")
"""The first pool."""

TRIES, TRIES_FOR_NEW = 250, 201
"""How often a change is drawn until one is found that will do, and how long it has to be one that never was tried."""


def replacement(space: SearchSpace, epochs: int) -> tuple[Stage, ...]:
    """Nine cycles: each trains a pool, then the weakest leave by their weight and changed survivors come in.

    Laube & Zell (2019). Weights go on from cycle to cycle, and a new operation inherits its parent's; alpha, its
    optimizer, that of the weights and their learning rate begin anew. The pool of an edge is first ``START``; on edges
    that do not all offer that, it is all they offer (but ``none``, where nodes choose their inputs), and what leaves
    may come back changed from another.

    Args:
        space: the space: what its edges offer is the family.
        epochs: of all cycles together, shared out as the paper's 100. Fewer epochs than cycles leave out the first.

    Raises:
        ValueError: if no edge of the space offers an operation and a change of it.

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
    """The epochs of each cycle: at least one, and what cannot be shared out goes to those that miss most of it."""
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
    """The end of one cycle and the beginning of the next."""
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
    """What each edge keeps of its pool: ``count`` operations, the best that learns and then those that score highest.

    Args:
        scores: ``(edges, ops)``.
        keep: the pools, ``(edges, ops)``, bool.
        count: how many.
        learn: which operations have weights, ``(ops,)``, bool.

    Returns:
        ``(edges, ops)``, bool.

    >>> scores = torch.tensor([[0.5, 0.3, 0.1, 0.1]])
    >>> surviving(scores, scores > 0, 2, torch.tensor([False, False, True, True]))
    tensor([[ True, False,  True, False]])
    """
    protected = strongest(scores, keep & learn, 1)
    return strongest(scores.masked_fill(protected, torch.inf), keep, count)


class Pool:
    """The survivors of an edge, and what can be made of them.

    Args:
        ops: the names of the columns.
        offered: which of them the edge offers.
        kept: which of them are the survivors.
        weights: of all columns.
        tried: which were in the pool at some time.
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
        """Whether nothing can be made of it."""
        return not any(self.changes.values())

    def grow(self, count: int, generator: torch.Generator) -> dict[int, int]:
        """Draw new operations, at most ``count``: their columns, and those of the survivors they are made from."""
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
        """A parent, as likely as its weight says, and one of its changes, all equally likely, that is not in play."""
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
