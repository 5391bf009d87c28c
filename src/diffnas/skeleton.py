"""How the cells of a net are stacked, as plain data. No torch."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Literal, NamedTuple, get_args

from diffnas.lookup import lookup

StemKind = Literal["cifar", "cifar-half", "imagenet", "resnet", "patch"]
"""The layers before the cells."""
Join = Literal["concat", "mean"]
"""How the output of a cell joins its nodes: along channels, or by their mean."""
Shortcut = Literal["pool", "conv", "patch", "none"]
"""The shortcut of a layer in a chain that changes width or resolution.

"pool" is the mean of 2x2 pixels and a 1x1 convolution, "conv" a 1x1 convolution with the layer's stride, "patch" a
convolution of 2x2 patches, and "none" is no shortcut."""


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
        gated: whether a gate carries values past every operation, so that no operation is a skip connection.
        averages: whether a node of a network is the mean of what its connections give, not their sum.
        normed_nodes: whether a supernet normalizes each node over the batch, with the statistics of the batch alone.
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
    gated: bool = False
    averages: bool = False
    normed_nodes: bool = False
    published: Mapping[str, tuple[int, int]] = field(default_factory=lambda: {"cifar": (16, 8)})

    @property
    def frame(self) -> str:
        """The name of the frame that builds it."""
        return self.name.partition(":")[0]

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


class Stage(NamedTuple):
    """Successive layers of a chain with the same width. Its first layer changes width and resolution.

    Attributes:
        width: its channels, divided by those of the net.
        stride: the stride of its first layer.
        layers: how many layers it has.
    """

    width: int
    stride: int
    layers: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Chain(Skeleton):
    """Residual layers in sequence, each with its own kind of cell: ``x <- shortcut(x) + cell(x)``. ``chain`` makes one.

    Attributes:
        stages: the stages of its layers.
        shortcut: the shortcut of layers that change width or resolution; that of all others is the identity.
        head: channels of a 1x1 convolution before the head, as in MobileNetV2; 0 for none.
    """

    stages: tuple[Stage, ...]
    shortcut: Shortcut = "pool"
    head: int = 0

    @property
    def layers(self) -> tuple[Stage, ...]:
        """Every layer, as a stage with one layer."""
        return tuple(
            Stage(stage.width, 1 if layer else stage.stride, 1)
            for stage in self.stages
            for layer in range(stage.layers)
        )

    def places(self, depth: int) -> tuple[Place, ...]:
        """The places of its layers, each with its own kind of cell.

        Raises:
            ValueError: if ``depth`` is not the number of its layers.

        >>> [place.width for place in chain((1, 2, 1)).places(4)]
        [1, 2, 2, 4]
        """
        if depth != len(self.kinds):
            raise ValueError(
                f"the skeleton {self.name!r} has {len(self.kinds)} layers, so its net cannot have {depth} cells. Leave "
                "the depth out, or take another chain."
            )
        return tuple(
            Place(kind, layer.stride > 1, layer.width) for kind, layer in zip(self.kinds, self.layers, strict=True)
        )

    def own_depth(self, names: Sequence[str]) -> int:
        """The number of its layers.

        Raises:
            ValueError: if ``names`` are not the names of its layers.
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
    """A chain of residual layers. Its name has all of its options, so that a genotype needs only the name.

    Args:
        layers: for each stage, how many layers it has; each stage is twice as wide as the one before, at half the
            resolution. Or the stages themselves.
        shortcut: the shortcut of layers that change width or resolution.
        normed_head: whether the head begins with a batch norm and a ReLU.
        head: channels of a 1x1 convolution before the head; 0 for none.
        stem: channels of the stem's output, divided by those of the net.
        width: the default number of channels of the net.

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
    """The stage with this number, if each is twice as wide as the one before, at half the resolution."""
    return Stage(2**number, 2 if number else 1, layers)


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


@dataclass(frozen=True, kw_only=True, eq=False)
class Recurrent(Skeleton):
    """A recurrent net for sequences: one cell that is computed at each step, or a layer of PyTorch in its place.

    Attributes:
        layer: what is computed at each step.
    """

    layer: Literal["cell", "lstm", "gru"] = "cell"

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

SKELETONS = {skeleton.name: skeleton for skeleton in (DARTS, NAS_BENCH_201, chain(), RECURRENT, LSTM, GRU)}

_STAGE = re.compile(r"(?:([1-9]\d{0,2})s([12])x)?([1-9]\d?)")
_NUMBERED = re.compile(r"(head|stem|width)=([1-9]\d{0,3})")
_MOST_STAGES = 16
_OWN = re.compile(r"own:[\w.-]{1,40}(?::(concat|mean))?")


@cache
def skeleton_of(name: str) -> Skeleton:
    """The skeleton with this name.

    Raises:
        ValueError: if there is none.

    >>> skeleton_of("chain:1-1-1:conv").own_depth(["cell0", "cell1", "cell2"])
    3
    >>> skeleton_of("own:unrolled:mean").join
    'mean'
    """
    if name.startswith("own:"):
        return _own_of(name)
    return _chain_of(name) if name.startswith("chain:") else lookup("skeleton", name, SKELETONS)


def _own_of(name: str) -> Own:
    found = _OWN.fullmatch(name)
    if found is None:
        raise ValueError(
            f"{name[:60]!r} is no skeleton: that of a frame of your own is written own:NAME, or own:NAME:mean if the "
            "output of a cell is the mean of its nodes. A name is made of letters, digits, '_', '.' and '-'."
        )
    return Own(name=name, kinds=(), join="mean" if found[1] == "mean" else "concat")


def _chain_of(name: str) -> Chain:
    """The chain with a name that ``chain`` made."""
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
                f"{word[:40]!r} is no part of a chain's name. Write chain:2-3-3 (layers of each stage) or "
                "chain:1s1x2-3s2x3 (width, stride, layers). Options follow, each after a colon: pool, conv, patch or "
                "none (the shortcut), plain, head=1280, stem=2, width=24."
            )
    return chain(stages, **options)


def _stage(number: int, width: str | None, stride: str | None, layers: str) -> Stage:
    if width is None or stride is None:
        return _doubled(number, int(layers))
    return Stage(int(width), int(stride), int(layers))
