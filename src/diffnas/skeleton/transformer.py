"""Skeletons of transformers: branches that are added to a stream of tokens, with all options in the name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import lcm
from typing import Any, Literal, get_args

from diffnas.skeleton.record import Place, Skeleton

Norm = Literal["layer", "rms"]
"""The norm before each branch and before the head: LayerNorm, or RMSNorm, which has no mean and no bias."""
Pool = Literal["mean", "attend"]
"""How the head joins the tokens: by their mean, or by a mean with learned weights."""

_HEADS = re.compile(r"attn_(\d+)")


@dataclass(frozen=True, kw_only=True, eq=False)
class Transformer(Skeleton):
    """Layers on a stream of tokens, each with one branch of every kind in turn: ``x <- x + branch(norm(x))``.

    Its depth is the number of layers. A space or a genotype has a cell for each kind, which all layers share; or one
    for each branch: ``mixer0``, ``channel0``, ``mixer1``, ...

    Attributes:
        norm: the norm before each branch and before the head.
        pool: how the head joins the tokens.
    """

    norm: Norm = "layer"
    pool: Pool = "mean"
    skip: str = "none"  # the stream bypasses every branch

    def places(self, depth: int) -> tuple[Place, ...]:
        """The branches of a net of ``depth`` layers.

        >>> [place.kind for place in TRANSFORMER.places(2)]
        ['mixer', 'channel', 'mixer', 'channel']
        """
        if depth < 1:
            raise ValueError(f"a transformer needs at least 1 layer; got a depth of {depth}.")
        return tuple(Place(kind, False) for _ in range(depth) for kind in self.kinds)

    def own_cells(self, depth: int) -> dict[str, Place]:
        """The branches of a net of ``depth`` layers, each with a cell of its own, by the name of that cell."""
        names = [f"{kind}{layer}" for layer in range(depth) for kind in self.kinds]
        return dict(zip(names, self.places(depth), strict=True))

    def own_depth(self, names: Sequence[str]) -> int | None:
        """The number of layers in which each of the named cells has one place; None if they are kinds that repeat.

        Raises:
            ValueError: if they are neither.
        """
        if set(names) == set(self.kinds):
            return None
        depth = len(names) // len(self.kinds)
        if not depth or list(names) != list(self.own_cells(depth)):
            own = ", ".join(f"{kind}{layer}" for layer in (0, 1) for kind in self.kinds)
            raise ValueError(
                f"the {self.name!r} skeleton takes cells of the kinds {', '.join(self.kinds)}, or {own}, ... for each "
                f"branch of each layer; got {', '.join(names)[:80]}."
            )
        return depth

    def kinds_at(self, depth: int, names: Iterable[str]) -> list[str]:
        """The cell at each place of a net of ``depth`` layers, among the named ones.

        >>> TRANSFORMER.kinds_at(1, ["mixer", "channel"]), TRANSFORMER.kinds_at(1, ["mixer0", "channel0"])
        (['mixer', 'channel'], ['mixer0', 'channel0'])
        """
        known = set(names)
        return [own if own in known else str(place.kind) for own, place in self.own_cells(depth).items()]

    def normal_cells(self, names: Sequence[str]) -> list[str]:
        """All of the named cells, because none changes the resolution."""
        return list(names)

    def width_step(self, ops: Iterable[str]) -> int:
        """The number that must divide the width: the heads of each attention; twice the heads at half the width.

        >>> TRANSFORMER.width_step(["attn_2", "attn_half", "mlp_4"])
        4
        """
        return lcm(*map(_step, ops))


def _step(op: str) -> int:
    found = _HEADS.fullmatch(op)
    return int(found[1]) if found else 4 if op == "attn_half" or op.startswith("window_") else 1


def transformer(family: str = "transformer", *, norm: Norm = "layer", pool: Pool = "mean") -> Transformer:
    """A skeleton of transformers. Its name has all of its options, so that a genotype needs only the name.

    Args:
        family: "transformer", with a mixer of tokens and then a mixer of channels in each layer; or
            "transformer-graph", with one branch in each layer, which is a graph of operations.
        norm, pool: as in ``Transformer``.

    >>> transformer(norm="rms").name
    'transformer:rms'
    """
    words = [word for word, usual in ((norm, "layer"), (pool, "mean")) if word != usual]
    return Transformer(
        name=":".join([family, *words]),
        kinds=_KINDS[family],
        single_path=True,
        drops_dead_nodes=False,
        residual=True,
        tokens=True,
        published={"cifar": (96, 6)},
        norm=norm,
        pool=pool,
    )


def transformer_of(name: str) -> Transformer:
    """The transformer with a name that ``transformer`` made.

    Raises:
        ValueError: for another name.
    """
    family, *words = name.split(":")
    options: dict[str, Any] = {}
    for word in words:
        role = next((role for role, known in _WORDS.items() if word in known), None)
        if role is None:
            raise ValueError(
                f"{word[:40]!r} is no part of a transformer's name. After {family}, each after a colon, may follow: "
                "rms (the norm), attend (the pool of tokens)."
            )
        options[role] = word
    return transformer(family, **options)


_KINDS = {"transformer": ("mixer", "channel"), "transformer-graph": ("layer",)}
_WORDS = {"norm": get_args(Norm), "pool": get_args(Pool)}

TRANSFORMER = transformer()
"""A mixer of tokens and a mixer of channels in each layer, as in ViT (Dosovitskiy et al., 2021) and MetaFormer (Yu et
al., 2022)."""

TRANSFORMER_GRAPH = transformer("transformer-graph")
"""A graph of operations in each layer, as in DARTS for translation (Zhao et al., 2021)."""
