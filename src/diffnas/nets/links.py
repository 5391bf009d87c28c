"""What convolutions an operation consists of, read off its modules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import pairwise
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from diffnas.nets.ops import FactorizedReduce, Separable

DEPTHWISE, POINTWISE, PAIRS, DENSE = 0, 1, 2, 3
"""What stands before a 1x1 convolution: a depthwise one, nothing, the even beside the odd pixels; or all of it is
one dense convolution."""


class Geometry(NamedTuple):
    """What a branch computes from a rectified map; the fields are those of the compiled kernels."""

    kind: int
    kernel: int = 1
    stride: int = 1
    padding: int = 0
    dilation: int = 1

    def size(self, length: int) -> int:
        """Rows or columns of the result for those of the map; ValueError for fewer than the kernel spans."""
        if self.kind == PAIRS:
            return (length + 1) // 2
        left = length + 2 * self.padding - self.dilation * (self.kernel - 1)
        if left < 1:
            raise ValueError(f"{self} spans more than {length} pixels; pad more, or give it a larger map.")
        return (left - 1) // self.stride + 1

    @property
    def margin(self) -> int:
        """Zeros around the map that the way there or the way back reads."""
        return 1 if self.kind == PAIRS else max(self.padding, self.dilation * (self.kernel - 1) - self.padding)


class Pattern(NamedTuple):
    """What a link computes, without its weights.

    Attributes:
        geometry: the convolutions.
        modules: how many there are.
        bias: whether the last has a bias.
        split: of pairs, how many results come from the even pixels.
        channels: of the result.
    """

    geometry: Geometry
    modules: int
    bias: bool
    split: int
    channels: int

    @property
    def tensors(self) -> int:
        """How many tensors the convolutions learn."""
        return self.modules + self.bias


@dataclass(frozen=True, kw_only=True)
class Link:
    """ReLU, one convolution or two, batch norm.

    Attributes:
        convolve: the ReLU and the convolutions.
        modules: the convolutions.
        norm: the batch norm after them.
        geometry: the same as numbers.
    """

    convolve: Callable[[Tensor], Tensor]
    modules: tuple[nn.Conv2d, ...]
    norm: nn.BatchNorm2d
    geometry: Geometry

    @property
    def weights(self) -> list[Tensor]:
        """What the convolutions learn, a bias last."""
        weights: list[Tensor] = [module.weight for module in self.modules]
        return weights if self.bias is None else [*weights, self.bias]

    @cached_property
    def pattern(self) -> Pattern:
        """What it computes, without its weights."""
        split = self.modules[0].out_channels if self.geometry.kind == PAIRS else 0
        return Pattern(self.geometry, len(self.modules), self.bias is not None, split, self.channels)

    @property
    def before(self) -> int:
        """Channels of the map."""
        return self.modules[0].in_channels

    @property
    def channels(self) -> int:
        """Channels of the result."""
        halves = self.modules if self.geometry.kind == PAIRS else self.modules[-1:]
        return sum(module.out_channels for module in halves)

    @property
    def bias(self) -> Tensor | None:
        """The bias, if there is one: batch norm takes it away again, so its gradient is zero."""
        return self.modules[-1].bias


def links(op: nn.Module, *, affine: bool = False) -> tuple[Link, ...] | None:
    """The links of an operation whose batch norms have a weight and a bias or not; None if it is of another make."""
    parts = list(op) if type(op) is nn.Sequential else [op]
    found: list[Link | None] = []
    if len(parts) == 3 and type(parts[0]) is nn.ReLU:
        found = [_convolution(parts[1], parts[2], affine)]
    elif len(parts) == 4 and type(parts[0]) is nn.ReLU and type(parts[1]) is nn.AvgPool2d:
        found = [_strided(parts[1], parts[2], parts[3], affine)]
    elif type(op) is FactorizedReduce:
        found = [_halving(op, affine)]
    elif len(parts) <= 2 and all(type(part) is Separable for part in parts):
        found = [_separable(part, affine) for part in parts]
    known = tuple(link for link in found if link is not None)
    fits = all(one.channels == next.before for one, next in pairwise(known))
    return known if known and fits and len(known) == len(found) else None


class Outline(NamedTuple):
    """What chains out of one map have in common if they are computed together: strides, and sizes of results."""

    stride: int
    inner: tuple[int, int, int]  # channels, rows and columns after the first link
    last_stride: int  # of the second link, 1 if there is none
    result: tuple[int, int, int]


def outline(chain: tuple[Link, ...], size: Sequence[int]) -> Outline:
    """The outline of a chain of one link or two.

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
    return Outline(chain[0].geometry.stride, sizes[0], chain[1].geometry.stride if len(chain) == 2 else 1, sizes[-1])


def _separable(part: Any, affine: bool) -> Link | None:
    depthwise = part.depthwise
    kernel = depthwise.weight.shape[-1]
    geometry = Geometry(DEPTHWISE, kernel, depthwise.stride, depthwise.padding, depthwise.dilation)
    if not is_plain_norm(part.norm, affine):
        return None
    modules = depthwise.conv, part.pointwise
    return Link(convolve=part.convolve, modules=modules, norm=part.norm, geometry=geometry)


def _halving(op: FactorizedReduce, affine: bool) -> Link | None:
    if not is_plain_norm(op.norm, affine):
        return None
    geometry = Geometry(PAIRS, 1, 2)
    return Link(convolve=op.convolve, modules=(op.even, op.odd), norm=op.norm, geometry=geometry)


def _convolution(conv: nn.Module, norm: nn.Module, affine: bool) -> Link | None:
    if type(conv) is not nn.Conv2d or not is_plain_norm(norm, affine):
        return None
    assert isinstance(norm, nn.BatchNorm2d)
    if norm.num_features != conv.out_channels:  # PyTorch says what is wrong; a kernel would read past the end
        return None
    kernel, stride, padding, dilation = conv.kernel_size[0], conv.stride[0], conv.padding[0], conv.dilation[0]
    square = all(len(set(both)) == 1 for both in (conv.kernel_size, conv.stride, conv.padding, conv.dilation))
    if not square or conv.groups != 1 or not isinstance(padding, int) or conv.padding_mode != "zeros":
        return None
    if padding > dilation * (kernel - 1):  # results of nothing but padding
        return None
    kind = POINTWISE if (kernel, stride, padding) == (1, 1, 0) else DENSE
    geometry = Geometry(kind, kernel, stride, padding, dilation)
    return Link(convolve=partial(_rectified, conv), modules=(conv,), norm=norm, geometry=geometry)


def _strided(pool: nn.AvgPool2d, conv: nn.Module, norm: nn.Module, affine: bool) -> Link | None:
    """A 1x1 convolution of every so many pixels."""
    link = _convolution(conv, norm, affine)
    stride = pool.stride
    if link is None or link.geometry.kind != POINTWISE or not isinstance(stride, int):
        return None
    if pool.kernel_size != 1 or pool.padding != 0:
        return None
    convolve = partial(_rectified, nn.Sequential(pool, conv))
    return replace(link, convolve=convolve, geometry=Geometry(DENSE, stride=stride))


def _rectified(conv: nn.Module, x: Tensor) -> Tensor:
    out: Tensor = conv(F.relu(x))
    return out


def is_plain_norm(module: nn.Module, affine: bool = False) -> bool:
    """Whether it is a batch norm of the usual kind, with a weight and a bias as networks have them or without."""
    return (
        type(module) is nn.BatchNorm2d
        and module.affine == affine
        and module.track_running_stats
        and module.momentum is not None
        and module.eps == 1e-5
    )
