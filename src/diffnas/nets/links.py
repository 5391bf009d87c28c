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


class Pattern(NamedTuple):
    """What a link computes, as plain data without its weights.

    Attributes:
        geometry: the shape of its convolutions.
        modules: how many convolutions it has.
        bias: whether the last convolution has a bias.
        split: if the geometry is ``PAIRS``, how many channels of the result come from the even pixels; else 0.
        channels: channels of the result.
    """

    geometry: Geometry
    modules: int
    bias: bool
    split: int
    channels: int

    @property
    def tensors(self) -> int:
        """How many weights and biases the convolutions have, as tensors."""
        return self.modules + self.bias


@dataclass(frozen=True, kw_only=True)
class Link:
    """ReLU, one convolution or two, batch norm.

    It refers to submodules of an operation, never to the operation itself: the two would keep each other alive.

    Attributes:
        convolve: the ReLU and the convolutions.
        modules: the convolutions.
        norm: the batch norm after them.
        geometry: the shape of the convolutions, as numbers.
    """

    convolve: Callable[[Tensor], Tensor]
    modules: tuple[nn.Conv2d, ...]
    norm: nn.BatchNorm2d
    geometry: Geometry

    @property
    def weights(self) -> list[Tensor]:
        """The weights of the convolutions, and last the bias if there is one."""
        weights: list[Tensor] = [module.weight for module in self.modules]
        return weights if self.bias is None else [*weights, self.bias]

    @cached_property
    def pattern(self) -> Pattern:
        """What the link computes, as plain data without its weights."""
        split = self.modules[0].out_channels if self.geometry.kind == PAIRS else 0
        return Pattern(self.geometry, len(self.modules), self.bias is not None, split, self.channels)

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
    assert all(link.norm.num_features == link.channels for link in links)  # else a kernel would read past the end
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
    whole = all(parts.issuperset((*link.modules, link.norm)) and is_plain_norm(link.norm, affine) for link in found)
    return found if found and whole else None


class ChainKey(NamedTuple):
    """Strides and sizes of a chain. Chains that read the same map are computed together if their keys are equal."""

    stride: int
    inner: tuple[int, int, int]  # channels, rows and columns after the first link
    last_stride: int  # of the second link, 1 if there is none
    result: tuple[int, int, int]


def chain_key(chain: tuple[Link, ...], size: Sequence[int]) -> ChainKey:
    """The key of a chain of one link or two.

    Args:
        chain: the links.
        size: channels, rows and columns of the map.

    Raises:
        ValueError: if the map has other channels than the chain takes, or is smaller than a kernel.
    """
    if size[0] != chain[0].before:
        raise ValueError(f"expected a map of {chain[0].before} channels, got {size[0]}.")
    sizes = []
    for link in chain:
        rows, columns = (link.geometry.size(length) for length in size[1:])
        size = link.channels, rows, columns
        sizes.append(size)
    return ChainKey(chain[0].geometry.stride, sizes[0], chain[1].geometry.stride if len(chain) == 2 else 1, sizes[-1])


def is_plain_norm(module: nn.Module, affine: bool | None = False) -> bool:
    """Whether a module is a batch norm with torch's default options; ``affine`` as in ``links``."""
    return (
        type(module) is nn.BatchNorm2d
        and affine in (None, module.affine)
        and module.track_running_stats
        and module.momentum is not None
        and module.eps == 1e-5
    )
