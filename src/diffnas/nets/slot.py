"""The slot of an operation, which says where it stands in a net."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple
from weakref import WeakValueDictionary

from torch import nn

from diffnas.skeleton.transformer import Norm

Share = Callable[[str, Callable[[], nn.Module]], nn.Module]


def alone(name: str, make: Callable[[], nn.Module]) -> nn.Module:
    """A new module, which is not shared."""
    return make()


Grid = tuple[int, int]
"""Rows and columns of tokens; a line has one row."""

Form = Literal["grid", "line", "past"]
"""How tokens lie: on a grid; in a line; or in a line of which a token reads only itself and those before it."""


class Stream(NamedTuple):
    """The stream of tokens to which the branches of a transformer are added.

    Attributes:
        grid: rows and columns of its tokens.
        branches: how many branches are added to it.
        norm: the norm before each branch.
        form: how its tokens lie, and which of them a token reads.
    """

    grid: Grid
    branches: int
    norm: Norm
    form: Form = "grid"


@dataclass(frozen=True, kw_only=True)
class Slot:
    """Where an operation stands: all that its factory may read.

    Attributes:
        width: channels of its input map, or features of a token.
        out: channels or features of its result; 0 takes ``width``. They differ where a residual chain widens.
        stride: 1, or the number by which it divides the resolution.
        affine: whether its batch norms have a weight and a bias, as in networks, but not in supernets.
        pool_norm: whether batch norm follows a pool, as in DARTS' supernet and nowhere else.
        share: ``share(name, make)`` is the module of this name, which all operations into one node share. The first
            call makes it.
        stream: the stream of tokens on which it stands, in transformers; None elsewhere.
        gated: whether it stands in a recurrent cell, where operations are activations behind the gate of their node.

    >>> Slot(width=16, stride=2).out
    16
    """

    width: int
    out: int = 0
    stride: int = 1
    affine: bool = False
    pool_norm: bool = False
    share: Share = alone
    stream: Stream | None = None
    gated: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "out", self.out or self.width)


OpFactory = Callable[[Slot], nn.Module]
"""A function that makes an operation for its slot."""


class Shared:
    """The modules that the operations into one node share. A module lives as long as an operation refers to it.

    >>> shared = Shared()
    >>> gate = shared("gate", lambda: nn.Linear(4, 8))
    >>> shared("gate", nn.Identity) is gate
    True
    """

    def __init__(self) -> None:
        self._made: WeakValueDictionary[str, nn.Module] = WeakValueDictionary()

    def __call__(self, name: str, make: Callable[[], nn.Module]) -> nn.Module:
        """The module of this name; it is made now if no operation refers to it."""
        found = self._made.get(name)
        if found is None:
            found = self._made[name] = make()
        return found

    def __deepcopy__(self, memo: dict[int, Any]) -> Shared:
        # By ``memo``, these are the same copies of the modules as in the copies of the operations.
        copied = Shared()
        copied._made.update({name: deepcopy(module, memo) for name, module in self._made.items()})
        return copied
