"""How the cells of a net are stacked, as plain data. No torch."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, NamedTuple, get_args

from diffnas.lookup import lookup

StemKind = Literal["cifar", "cifar-half", "imagenet", "resnet", "patch"]
"""What stands before the cells."""
Join = Literal["concat", "mean"]
"""How the output of a cell joins its nodes: along channels, or by their mean."""
Shortcut = Literal["pool", "conv", "patch", "none"]
"""What stands beside a layer of a chain that changes width or resolution: 2x2 means before a 1x1 convolution, one of
stride 2, a 2x2 one of stride 2, or nothing."""


class Place(NamedTuple):
    """A cell's place in the net: its kind, and whether it halves the resolution and doubles the channels.

    ``kind`` is None where the net has a fixed residual block instead of a searched cell; ``width`` counts its channels
    in those of the first cell.
    """

    kind: str | None
    reduces: bool
    width: int = 1


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
        residual: whether a shortcut stands beside every cell, so that an absent cell is no gap.
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
    residual: bool = False
    published: Mapping[str, tuple[int, int]] = field(default_factory=lambda: {"cifar": (16, 8)})

    @property
    def frame(self) -> str:
        """The name of the frame that builds it."""
        return self.name.partition(":")[0]

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
        return tuple(
            Place(
                self.reduction if i in reductions else normal, i in reductions, 2 ** sum(at <= i for at in reductions)
            )
            for i in range(depth)
        )

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


class Stage(NamedTuple):
    """Layers of a chain that have one width, which the first of them brings about.

    Attributes:
        width: channels, in those of the net.
        stride: of the first layer.
        layers: how many there are.
    """

    width: int
    stride: int
    layers: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Chain(Skeleton):
    """Residual layers in a row, each a cell of its own: ``x <- shortcut(x) + cell(x)``. ``chain`` makes one.

    Attributes:
        stages: its layers.
        shortcut: what stands beside the layers that change width or resolution; beside the others it is the identity.
        head: channels of a 1x1 convolution before the head, as in MobileNetV2; 0 for none.
    """

    stages: tuple[Stage, ...]
    shortcut: Shortcut = "pool"
    head: int = 0

    @property
    def layers(self) -> tuple[Stage, ...]:
        """Every layer as a stage of one."""
        return tuple(
            Stage(stage.width, 1 if layer else stage.stride, 1)
            for stage in self.stages
            for layer in range(stage.layers)
        )

    def places(self, depth: int) -> tuple[Place, ...]:
        """The layers, each of a kind of its own.

        Raises:
            ValueError: for another depth than it has layers.

        >>> [place.width for place in chain((1, 2, 1)).places(4)]
        [1, 2, 2, 4]
        """
        if depth != len(self.kinds):
            raise ValueError(
                f"the skeleton {self.name!r} has {len(self.kinds)} layers, and no net of {depth} cells. Leave the "
                "depth out, or take another chain."
            )
        return tuple(
            Place(kind, layer.stride > 1, layer.width) for kind, layer in zip(self.kinds, self.layers, strict=True)
        )

    def own_depth(self, names: Sequence[str]) -> int:
        """How many layers it has.

        Raises:
            ValueError: if the names are not those of its layers.
        """
        if tuple(names) != self.kinds:
            raise ValueError(
                f"the skeleton {self.name!r} has the cells cell0 to {self.kinds[-1]}, each once and in this order; got "
                f"{', '.join(names)[:80]}."
            )
        return len(names)


def chain(
    layers: Sequence[int | Stage] = (2, 3, 3),
    *,
    shortcut: Shortcut = "pool",
    normed_head: bool = True,
    head: int = 0,
    stem: int = 1,
    width: int = 24,
) -> Chain:
    """A chain of residual layers. Its name says all of it, so that a genotype holds it.

    Args:
        layers: how many layers each stage has, each stage twice as wide as the one before at half the resolution; or
            the stages.
        shortcut: what stands beside the layers that change width or resolution.
        normed_head: whether batch norm and ReLU stand before the head.
        head: channels of a 1x1 convolution before the head; 0 for none.
        stem: channels of the stem's output, in those of the net.
        width: channels of the net unless somebody says otherwise.

    >>> chain().name, chain((3, 3, 3), shortcut="conv", normed_head=False, width=16).name
    ('chain', 'chain:3-3-3:conv:plain:width=16')
    >>> chain([Stage(1, 1, 1), Stage(3, 2, 2)], stem=2).name
    'chain:1-3s2x2:stem=2'
    """
    stages = [each if isinstance(each, Stage) else _doubled(number, each) for number, each in enumerate(layers)]
    usual = [_doubled(number, stage.layers) for number, stage in enumerate(stages)]
    written = "-".join(
        f"{stage.layers}" if stage == same else f"{stage.width}s{stage.stride}x{stage.layers}"
        for stage, same in zip(stages, usual, strict=True)
    )
    words = [written] if written != "2-3-3" else []
    words += [shortcut] if shortcut != "pool" else []
    words += [] if normed_head else ["plain"]
    numbers = {"head": (head, 0), "stem": (stem, 1), "width": (width, 24)}
    words += [f"{name}={number}" for name, (number, unsaid) in numbers.items() if number != unsaid]
    kinds = tuple(f"cell{number}" for number in range(sum(stage.layers for stage in stages)))
    return Chain(
        name=":".join(["chain", *words]),
        kinds=kinds,
        single_path=True,
        drops_dead_nodes=False,
        normed_head=normed_head,
        stem_width=dict.fromkeys(get_args(StemKind), stem),
        residual=True,
        published={"cifar": (width, len(kinds))},
        stages=tuple(stages),
        shortcut=shortcut,
        head=head,
    )


def _doubled(number: int, layers: int) -> Stage:
    """The stage of a number, each twice as wide as the one before at half the resolution."""
    return Stage(2**number, 2 if number else 1, layers)


SKELETONS = {skeleton.name: skeleton for skeleton in (DARTS, NAS_BENCH_201, chain())}

_STAGE = re.compile(r"(?:([1-9]\d{0,2})s([12])x)?([1-9]\d?)")
_NUMBERED = re.compile(r"(head|stem|width)=([1-9]\d{0,3})")
_MOST_STAGES = 16


@cache
def skeleton_of(name: str) -> Skeleton:
    """The skeleton of a name.

    Raises:
        ValueError: if there is none.

    >>> skeleton_of("chain:1-1-1:conv").own_depth(["cell0", "cell1", "cell2"])
    3
    """
    return _chain_of(name) if name.startswith("chain:") else lookup("skeleton", name, SKELETONS)


def _chain_of(name: str) -> Chain:
    """The chain of a name that ``chain`` gave."""
    stages: list[Stage] = [Stage(1, 1, 2), Stage(2, 2, 3), Stage(4, 2, 3)]
    options: dict[str, Any] = {}
    for word in name.split(":")[1:]:
        parts = [_STAGE.fullmatch(part) for part in word.split("-")]
        numbered = _NUMBERED.fullmatch(word)
        if word in get_args(Shortcut):
            options["shortcut"] = word
        elif word == "plain":
            options["normed_head"] = False
        elif numbered:
            options[numbered[1]] = int(numbered[2])
        elif all(parts) and len(parts) <= _MOST_STAGES:
            stages = [_stage(number, *part.groups()) for number, part in enumerate(parts) if part]
        else:
            raise ValueError(
                f"{word[:40]!r} says nothing of a chain. A skeleton is written chain:2-3-3 (layers of each stage) or "
                "chain:1s1x2-3s2x3 (width, stride, layers), then, each behind a colon, pool, conv, patch or none (the "
                "shortcut), plain, head=1280, stem=2, width=24."
            )
    return chain(stages, **options)


def _stage(number: int, width: str | None, stride: str | None, layers: str) -> Stage:
    if width is None or stride is None:
        return _doubled(number, int(layers))
    return Stage(int(width), int(stride), int(layers))
