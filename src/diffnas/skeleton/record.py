"""What a skeleton is, those of cells that are stacked, and those of users' frames."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

StemKind = Literal["cifar", "cifar-half", "imagenet", "resnet", "patch"]
"""The layers before the cells."""
Join = Literal["concat", "mean"]
"""How the output of a cell joins its nodes: along channels, or by their mean."""


class Place(NamedTuple):
    """A cell's place in the net: its kind, and whether it halves the resolution and doubles the channels.

    ``kind`` is None where the net has a fixed residual block instead of a searched cell. ``width`` is the number of its
    channels divided by those of the first cell.
    """

    kind: str | None
    reduces: bool
    width: int = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Skeleton:
    """How the cells of a net are stacked, and which cells fit.

    Attributes:
        name: its name in genotypes, spaces and run folders.
        kinds: the kinds of cell that it repeats.
        reduction: the kind of the cells that halve the resolution; None if fixed residual blocks do.
        single_path: whether a cell has one input, which is the previous cell's output itself, and its last node as
            output. If not, it reads the outputs of one or two previous cells, brought to its channels and resolution.
        drops_dead_nodes: whether a network leaves out a node that nothing feeds, and all operations that read it. If
            not, the node is zeros.
        normed_pools: whether batch norm follows the pools of a supernet.
        normed_head: whether the head begins with a batch norm and a ReLU.
        auxiliary: whether a network may have an auxiliary head.
        stem_width: by stem, channels of its output divided by those of the first cell; 1 for stems that are not named.
        join: how the output of a cell joins its nodes.
        residual: whether every cell has a shortcut, so that an absent cell does not interrupt the net.
        skip: the operation that plays the part of a skip connection where a space has none by that name.
        gated: whether a gate carries values past every operation, so that no operation is a skip connection. Such a net
            reads a sequence step by step, and carries a state.
        tokens: whether each cell is a branch of a stream of tokens, which may be patches of a picture or steps of a
            sequence.
        averages: whether a node of a network is the mean of what its connections give, not their sum.
        normed_nodes: whether a supernet normalizes each node over the batch, with the statistics of the batch alone.
        target_between: where a target should be between the least cost, 0, and the largest, 1, when a search begins.
        published: by stem, channels and depth of the networks with published results; other stems have those of
            "cifar".
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
    residual: bool = False
    skip: str = "skip_connect"
    gated: bool = False
    tokens: bool = False
    averages: bool = False
    normed_nodes: bool = False
    target_between: tuple[float, float] = (0.25, 0.75)
    published: Mapping[str, tuple[int, int]] = field(default_factory=lambda: {"cifar": (16, 8)})

    @property
    def frame(self) -> str:
        """The name of the frame that builds it."""
        return self.name.partition(":")[0]

    @property
    def reads(self) -> tuple[Literal["pictures", "sequences"], ...]:
        """What its nets can read."""
        return ("sequences",) if self.gated else ("pictures", "sequences") if self.tokens else ("pictures",)

    def widths(self, nodes: int) -> int:
        """The width of an output that joins ``nodes`` nodes, divided by the width of a node."""
        return nodes if self.join == "concat" else 1

    def places(self, depth: int) -> tuple[Place, ...]:
        """The places of a net of ``depth`` cells. Those at one third and at two thirds of the depth reduce.

        This is DARTS (Liu et al., 2019), section 3.1. With 17 cells it is the skeleton of NAS-Bench-201 (Dong & Yang,
        2020): five cells in each stage, and residual blocks at 5 and 11.

        >>> [place.reduces for place in DARTS.places(5)]
        [False, True, False, True, False]
        """
        if depth < 3:
            raise ValueError(f"a net needs at least 3 cells, so that it can reduce twice; got {depth}.")
        reductions = {depth // 3, 2 * depth // 3}
        normal = self.kinds[0]
        return tuple(
            Place(
                self.reduction if i in reductions else normal, i in reductions, 2 ** sum(at <= i for at in reductions)
            )
            for i in range(depth)
        )

    def own_cells(self, depth: int) -> dict[str, Place]:
        """The places of a net of ``depth`` cells in which each cell has its own kind, by the name of that kind.

        >>> list(DARTS.own_cells(3)), list(NAS_BENCH_201.own_cells(5))
        (['cell0', 'cell1', 'cell2'], ['cell0', 'cell2', 'cell4'])
        """
        return {f"cell{i}": place for i, place in enumerate(self.places(depth)) if place.kind is not None}

    def own_depth(self, names: Sequence[str]) -> int | None:
        """The depth of the net in which each of the named cells has one place; None if they are kinds that repeat.

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
        """Those of the named cells that keep the resolution.

        >>> DARTS.normal_cells(["normal", "reduce"]), DARTS.normal_cells(["cell0", "cell1", "cell2"])
        (['normal'], ['cell0'])
        """
        depth = self.own_depth(names)
        if depth is None:
            return [self.kinds[0]]
        return [name for name, place in self.own_cells(depth).items() if not place.reduces]

    def width_step(self, ops: Iterable[str]) -> int:
        """The number that must divide the width of a net with these operations."""
        return 1

    def check_cell(self, inputs: int, nodes: int, output: tuple[int, ...]) -> None:
        """Refuse a cell that does not fit the skeleton.

        Raises:
            ValueError: for a cell with other inputs or another output than the skeleton needs.
        """
        if self.single_path and (inputs != 1 or output != (nodes - 1,)):
            raise ValueError(f"a {self.name!r} cell must have one input, and only its last node as output.")


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
"""DARTS (Liu et al., 2019): cells that read the two previous cells, and a separate kind for reductions. A network
leaves out a node that nothing feeds, and the operations that read it (FairDARTS, Chu et al., 2020)."""

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
"""NAS-Bench-201 (Dong & Yang, 2020): cells that keep the channels, and fixed residual blocks for the reductions. A node
that nothing feeds is zeros, and the operations that read it stay: their batch norms can still add a constant, and the
benchmark counts their weights."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Own(Skeleton):
    """The skeleton of a user's own frame, as far as a genotype needs it. The frame itself has the rest.

    Its name is written ``own:NAME``, or ``own:NAME:mean`` if the output of a cell is the mean of its nodes. The kinds
    of cell are those of the space or the genotype; the first kind keeps the resolution.
    """

    def places(self, depth: int) -> tuple[Place, ...]:
        """Refused, because only the frame knows the places.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            f"only the frame of {self.name!r} knows the places of its cells, so places cannot have cells of their own. "
            "Take --set alpha_per=kind."
        )

    def own_depth(self, names: Sequence[str]) -> None:
        """None, because all cells are kinds that repeat."""

    def normal_cells(self, names: Sequence[str]) -> list[str]:
        """The first of the named cells."""
        return list(names[:1])


_OWN = re.compile(r"own:[\w.-]{1,40}(?::(concat|mean))?")


def own_of(name: str) -> Own:
    """The skeleton of a user's frame with this name; a ValueError for a name that is none."""
    found = _OWN.fullmatch(name)
    if found is None:
        raise ValueError(
            f"{name[:60]!r} is no skeleton: that of a frame of your own is written own:NAME, or own:NAME:mean if the "
            "output of a cell is the mean of its nodes. A name is made of letters, digits, '_', '.' and '-'."
        )
    return Own(name=name, kinds=(), join="mean" if found[1] == "mean" else "concat")
