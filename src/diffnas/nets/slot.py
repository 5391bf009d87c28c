"""Where an operation stands in a net."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

from torch import nn

Share = Callable[[str, Callable[[], nn.Module]], nn.Module]


def alone(name: str, make: Callable[[], nn.Module]) -> nn.Module:
    """A module that is shared with nobody."""
    return make()


@dataclass(frozen=True, kw_only=True)
class Slot:
    """Where an operation stands: all that its factory may read.

    Attributes:
        width: channels of its input map, or features of a token.
        out: the same of its result; left out, ``width``. They differ where a chain of residual layers widens.
        stride: 1, or the number by which it divides the resolution.
        affine: whether its batch norms have a weight and a bias: in networks yes, in a supernet no.
        pool_norm: whether batch norm follows a pool, as in DARTS' supernet and nowhere else.
        share: ``share(name, make)`` is the module that all operations into one node have in common under this name;
            the first to ask makes it.

    >>> Slot(width=16, stride=2).out
    16
    """

    width: int
    out: int = 0
    stride: int = 1
    affine: bool = False
    pool_norm: bool = False
    share: Share = alone

    def __post_init__(self) -> None:
        object.__setattr__(self, "out", self.out or self.width)


OpFactory = Callable[[Slot], nn.Module]
"""What makes an operation for the place where it stands."""


class Shared:
    """The modules that the operations into one node have in common; one lives as long as an operation holds it.

    >>> shared = Shared()
    >>> gate = shared("gate", lambda: nn.Linear(4, 8))
    >>> shared("gate", nn.Identity) is gate
    True
    """

    def __init__(self) -> None:
        self._made: WeakValueDictionary[str, nn.Module] = WeakValueDictionary()

    def __call__(self, name: str, make: Callable[[], nn.Module]) -> nn.Module:
        """The module of a name, made now if no operation holds it."""
        found = self._made.get(name)
        if found is None:
            found = self._made[name] = make()
        return found

    def __deepcopy__(self, memo: dict[int, Any]) -> Shared:
        # The copies of the modules, which the copies of the operations hold too.
        copied = Shared()
        copied._made.update({name: deepcopy(module, memo) for name, module in self._made.items()})
        return copied
