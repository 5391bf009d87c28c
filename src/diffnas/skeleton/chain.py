"""Skeletons of residual chains, with all of their options in their names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

from diffnas.skeleton.record import Place, Skeleton, StemKind

Shortcut = Literal["pool", "conv", "patch", "none"]
"""The shortcut of a layer in a chain that changes width or resolution.

"pool" is the mean of 2x2 pixels and a 1x1 convolution, "conv" a 1x1 convolution with the layer's stride, "patch" a
convolution of 2x2 patches, and "none" is no shortcut."""


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
    skip: str = "none"  # the shortcut bypasses every layer
    # Searches for less end with few layers. Searches for more have no reason to drop dear operations.
    target_between: tuple[float, float] = (0.2, 0.4)

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


_STAGE = re.compile(r"(?:([1-9]\d{0,2})s([12])x)?([1-9]\d?)")
_NUMBERED = re.compile(r"(head|stem|width)=([1-9]\d{0,3})")
_MOST_STAGES = 16


def chain_of(name: str) -> Chain:
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
