"""Links: the convolutions of an operation, as its factory declares them, so that a backend can compute them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple, TypeVar

from torch import Tensor, nn

from diffnas.nets.geometry import PAIRS, Geometry

Module = TypeVar("Module", bound=nn.Module)

LONGEST = 3
"""The most links of a chain that a backend may compute."""


class Pattern(NamedTuple):
    """What a link computes, as plain data without its weights.

    Attributes:
        geometry: the shape of its convolutions.
        modules: how many convolutions it has.
        bias: whether the last convolution has a bias.
        split: if the geometry is ``PAIRS``, how many channels of the result come from the even pixels; else 0.
        channels: channels of the result.
        normed: whether a batch norm follows.
    """

    geometry: Geometry
    modules: int
    bias: bool
    split: int
    channels: int
    normed: bool

    @property
    def tensors(self) -> int:
        """How many weights and biases the convolutions have, as tensors."""
        return self.modules + self.bias


@dataclass(frozen=True, kw_only=True)
class Link:
    """ReLU, one convolution or two, batch norm. A link may have no ReLU or no batch norm.

    It refers to submodules of an operation, never to the operation itself: the two would keep each other alive.

    Attributes:
        convolve: the ReLU, if there is one, and the convolutions.
        modules: the convolutions.
        after: the batch norm after them; None if there is none. The last link of an operation has one.
        geometry: the shape of the convolutions, as numbers.
    """

    convolve: Callable[[Tensor], Tensor]
    modules: tuple[nn.Conv2d, ...]
    after: nn.BatchNorm2d | None
    geometry: Geometry

    @property
    def norm(self) -> nn.BatchNorm2d:
        """The batch norm of a link that has one."""
        assert self.after is not None
        return self.after

    @property
    def weights(self) -> list[Tensor]:
        """The weights of the convolutions, and last the bias if there is one."""
        weights: list[Tensor] = [module.weight for module in self.modules]
        return weights if self.bias is None else [*weights, self.bias]

    @cached_property
    def pattern(self) -> Pattern:
        """What the link computes, as plain data without its weights."""
        split = self.modules[0].out_channels if self.geometry.kind == PAIRS else 0
        bias, normed = self.bias is not None, self.after is not None
        return Pattern(self.geometry, len(self.modules), bias, split, self.channels, normed)

    @property
    def before(self) -> int:
        """Channels of the map that the link reads."""
        return self.modules[0].in_channels

    @property
    def channels(self) -> int:
        """Channels of the result."""
        halves = self.modules if self.geometry.kind == PAIRS else self.modules[-1:]
        return sum(module.out_channels for module in halves)

    @property
    def bias(self) -> Tensor | None:
        """The bias, None if there is none. Its gradient is zero, because batch norm subtracts it again."""
        return self.modules[-1].bias


def linked(op: Module, *links: Link) -> Module:
    """``op``, which now has its links: a backend may compute these in place of calling it.

    Args:
        op: an operation that computes its links in sequence, and nothing else.
        links: its links, made of its submodules.
    """
    assert links
    assert all(one.channels == next.before for one, next in pairwise(links))
    # Else a kernel would read past the end.
    assert all(link.after is None or link.after.num_features == link.channels for link in links)
    assert all(link.after is not None or link.bias is None for link in links)  # kernels leave biases away
    assert links[-1].after is not None
    vars(op)["made_of"] = links
    return op


def in_a_row(*ops: nn.Module) -> nn.Sequential:
    """Operations in sequence, with the links of all of them if each has links."""
    row, found = nn.Sequential(*ops), [vars(op).get("made_of", ()) for op in ops]
    return linked(row, *(link for links in found for link in links)) if all(found) else row


def links(op: nn.Module, *, affine: bool | None = False) -> tuple[Link, ...] | None:
    """The links of an operation; None if it has none, if its modules were replaced, or if a batch norm is not plain.

    Args:
        op: the operation.
        affine: whether its batch norms must have a weight and a bias (True) or must have none (False); None takes both.
    """
    found: tuple[Link, ...] = vars(op).get("made_of", ())
    parts = set(op.modules())
    norms = [link.after for link in found if link.after is not None]
    whole = parts.issuperset([*norms, *(module for link in found for module in link.modules)])
    return found if found and whole and all(is_plain_norm(norm, affine) for norm in norms) else None


class ChainKey(NamedTuple):
    """Strides and sizes of a chain. Chains that read the same map are computed together if their keys are equal.

    Attributes:
        rectifies: whether the first link has a ReLU.
        strides: of each link up to ``LONGEST``; 1 where there is none.
        sizes: channels, rows and columns after each of these links; those of the result where there is none.
    """

    rectifies: bool
    strides: tuple[int, ...]
    sizes: tuple[tuple[int, int, int], ...]

    @property
    def result(self) -> tuple[int, int, int]:
        """Channels, rows and columns of the result."""
        return self.sizes[-1]


def chain_key(chain: tuple[Link, ...], size: Sequence[int]) -> ChainKey:
    """The key of a chain.

    Args:
        chain: the links, at most ``LONGEST``.
        size: channels, rows and columns of the map.

    Raises:
        ValueError: if the map has other channels than the chain takes, or is smaller than a kernel.
    """
    if size[0] != chain[0].before:
        raise ValueError(f"expected a map of {chain[0].before} channels, got {size[0]}.")
    sizes: list[tuple[int, int, int]] = []
    for link in chain:
        rows, columns = (link.geometry.size(length) for length in size[1:])
        size = link.channels, rows, columns
        sizes.append(size)
    left = LONGEST - len(chain)
    strides = *(link.geometry.stride for link in chain), *(1 for _ in range(left))
    return ChainKey(chain[0].geometry.rectifies, strides, (*sizes, *sizes[-1:] * left))


def is_plain_norm(module: nn.Module, affine: bool | None = False) -> bool:
    """Whether a module is a batch norm with torch's default options; ``affine`` as in ``links``."""
    return (
        type(module) is nn.BatchNorm2d
        and affine in (None, module.affine)
        and module.track_running_stats
        and module.momentum is not None
        and module.eps == 1e-5
    )
