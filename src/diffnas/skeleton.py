"""How the cells of a net are stacked, as plain data. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from diffnas.lookup import lookup

StemKind = Literal["cifar", "cifar-half", "imagenet"]
"""What stands before the cells."""
Join = Literal["concat", "mean"]
"""How the output of a cell joins its nodes: along channels, or by their mean."""


class Place(NamedTuple):
    """A cell's place in the net: its kind, and whether it halves the resolution and doubles the channels.

    ``kind`` is None where the net has a fixed residual block instead of a searched cell.
    """

    kind: str | None
    reduces: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class Skeleton:
    """What stands around the cells of a net, and what cells it takes.

    Attributes:
        name: what genotypes, spaces and run folders call it.
        kinds: the kinds of cell that it repeats.
        reduction: the kind of the cells that halve the resolution; None if fixed residual blocks do.
        single_path: whether a cell has one input, which it reads as it is, and its last node as output. If not, it
            reads the outputs of one or two cells before it, each brought to its own channels and resolution first.
        drops_dead_nodes: whether a node that nothing feeds is left out of a network with all that reads it. If not, it
            is zeros.
        normed_pools: whether batch norm follows the pools of a supernet.
        normed_head: whether batch norm and ReLU stand before the head.
        auxiliary: whether a network may have an auxiliary head.
        stem_width: channels of a stem's output, in channels of the first cell, by stem; 1 for the others.
        join: how the output of a cell joins its nodes.
        published: channels and depth that published numbers stand for, by stem; "cifar" stands for the others.
    """

    name: str
    kinds: tuple[str, ...]
    reduction: str | None = None
    single_path: bool = False
    drops_dead_nodes: bool = True
    normed_pools: bool = False
    normed_head: bool = False
    auxiliary: bool = False
    stem_width: Mapping[str, int] = field(default_factory=dict)
    join: Join = "concat"
    published: Mapping[str, tuple[int, int]] = field(default_factory=lambda: {"cifar": (16, 8)})

    def widths(self, nodes: int) -> int:
        """How many times as wide as a node the output is that joins so many nodes."""
        return nodes if self.join == "concat" else 1

    def places(self, depth: int) -> tuple[Place, ...]:
        """The kind of every cell of a net of ``depth`` cells: reductions stand at a third and at two thirds.

        DARTS (Liu et al., 2019), section 3.1; with 17 cells this is the skeleton of NAS-Bench-201
        (Dong & Yang, 2020), five cells a stage, its residual blocks at 5 and 11.

        >>> [place.reduces for place in DARTS.places(5)]
        [False, True, False, True, False]
        """
        if depth < 3:
            raise ValueError(f"a net needs at least 3 cells, so that it can reduce twice; got {depth}.")
        reductions = {depth // 3, 2 * depth // 3}
        normal = self.kinds[0]
        return tuple(Place(self.reduction if i in reductions else normal, i in reductions) for i in range(depth))

    def own_cells(self, depth: int) -> dict[str, Place]:
        """The names of cells that are each of a kind of their own, in a net of ``depth`` cells, and their places.

        >>> list(DARTS.own_cells(3)), list(NAS_BENCH_201.own_cells(5))
        (['cell0', 'cell1', 'cell2'], ['cell0', 'cell2', 'cell4'])
        """
        return {f"cell{i}": place for i, place in enumerate(self.places(depth)) if place.kind is not None}

    def own_depth(self, names: Sequence[str]) -> int | None:
        """The depth of the net in which each of these cells has its one place; None if they are kinds that repeat.

        Raises:
            ValueError: if they are neither.
        """
        if set(names) == set(self.kinds):
            return None
        depth = len(names) + (2 if self.reduction is None else 0)
        if depth < 3 or list(names) != list(self.own_cells(depth)):
            raise ValueError(
                f"the {self.name!r} skeleton takes cells of the kinds {sorted(self.kinds)}, or cell0, cell1, ... for "
                f"each of its places; got {sorted(names)}."
            )
        return depth

    def normal_cells(self, names: Sequence[str]) -> list[str]:
        """Those cells, of a space or a genotype, that keep the resolution.

        >>> DARTS.normal_cells(["normal", "reduce"]), DARTS.normal_cells(["cell0", "cell1", "cell2"])
        (['normal'], ['cell0'])
        """
        depth = self.own_depth(names)
        if depth is None:
            return [self.kinds[0]]
        return [name for name, place in self.own_cells(depth).items() if not place.reduces]

    def check_cell(self, inputs: int, nodes: int, output: tuple[int, ...]) -> None:
        """Refuse a cell that cannot stand in it.

        Raises:
            ValueError: for a cell of other inputs or outputs.
        """
        if self.single_path and (inputs != 1 or output != (nodes - 1,)):
            raise ValueError(f"a {self.name!r} cell has one input, and its last node alone is its output.")


DARTS = Skeleton(
    name="darts",
    kinds=("normal", "reduce"),
    reduction="reduce",
    single_path=False,
    drops_dead_nodes=True,
    normed_pools=True,
    normed_head=False,
    auxiliary=True,
    stem_width={"cifar": 3, "cifar-half": 3},
    published={"cifar": (36, 20), "imagenet": (48, 14)},
)
"""DARTS (Liu et al., 2019): cells that read the two cells before them, reduction cells of a kind of their own. A node
that nothing feeds is left out, with what reads it (FairDARTS, Chu et al., 2020)."""

NAS_BENCH_201 = Skeleton(
    name="nas-bench-201",
    kinds=("normal",),
    reduction=None,
    single_path=True,
    drops_dead_nodes=False,
    normed_pools=False,
    normed_head=True,
    auxiliary=False,
    stem_width={},
    published={"cifar": (16, 17)},
)
"""NAS-Bench-201 (Dong & Yang, 2020): cells that keep the channels, fixed residual blocks for the reductions. A node
that nothing feeds is zeros, and what reads it stays: its batch norm can still add a constant, and the benchmark counts
its weights."""

SKELETONS = {skeleton.name: skeleton for skeleton in (DARTS, NAS_BENCH_201)}


def skeleton_of(name: str) -> Skeleton:
    """The skeleton of a name.

    Raises:
        ValueError: if there is none.
    """
    return lookup("skeleton", name, SKELETONS)
