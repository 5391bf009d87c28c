"""The convolutions at one place of chains that are computed together, forward and backward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from diffnas.backends.gpu import depthwise_kernels as kernels
from diffnas.backends.gpu import launches, pointwise_kernels
from diffnas.backends.gpu.launches import Moments, Norms, Slopes
from diffnas.backends.norms import constant
from diffnas.nets.geometry import Geometry

CHUNK = 256
"""The fewest pixels for whose gradient a copy of all weights is worth writing."""


class Stage(NamedTuple):
    """The links at one place of N chains: the geometries of their depthwise convolutions, and the sizes of their input.

    At the first place all chains share one map, without a batch norm before it. Later each chain has a map of its own.

    Attributes:
        geometries: the geometries of the depthwise convolutions, whose results all have one size.
        shared: whether all chains read one map.
        pictures: B.
        size: height and width of the input.
        channels: channels of the input.
    """

    geometries: tuple[Geometry, ...]
    shared: bool
    pictures: int
    size: tuple[int, int]
    channels: int

    @property
    def members(self) -> int:
        """N."""
        return len(self.geometries)

    @property
    def maps(self) -> int:
        """How many maps the convolutions read."""
        return 1 if self.shared else self.members

    @property
    def after(self) -> tuple[int, int]:
        """Height and width of the result."""
        rows, columns = (self.geometries[0].size(length) for length in self.size)
        return rows, columns

    @property
    def pixels(self) -> int:
        """The number of pixels in all pictures of a map."""
        return self.pictures * self.size[0] * self.size[1]

    @property
    def pixels_after(self) -> int:
        """The number of pixels in all pictures of a result."""
        return self.pictures * self.after[0] * self.after[1]

    @property
    def kernels(self) -> frozenset[int]:
        """The sizes of the kernels."""
        return frozenset(geometry.kernel for geometry in self.geometries)

    def table(self, device: torch.device) -> Tensor:
        """The table of the convolutions that the kernels read."""
        begin, fields = 0, list[int]()
        for row, own in enumerate(self.geometries):
            fields += [0 if self.shared else row, begin, own.padding, own.dilation, own.kernel]
            begin += self.channels * own.kernel**2
        return constant(tuple(fields), torch.int32, device)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The constants of the kernels that differ from stage to stage, in order."""
        return *self.after, *self.size, self.channels, self.geometries[0].stride

    def forward(
        self, x: Tensor, depthwise: Tensor, pointwise: Tensor, norms: Norms, measured: int
    ) -> tuple[Tensor, Tensor, Moments]:
        """The results of the depthwise and of the 1x1 convolutions, and the moments of some results.

        Args:
            x: the maps.
            depthwise: the weights of the depthwise convolutions, one after the other.
            pointwise: the weights of the 1x1 convolutions, ``(N, D, C)``.
            norms: the batch norms of the maps.
            measured: for how many of the 1x1 convolutions, from the first one on, the moments are computed.

        Returns:
            ``(N, pixels after, C)``, ``(N, pixels after, D)``, and moments of ``measured`` maps.
        """
        (N, D, C), pixels = pointwise.shape, self.pixels_after
        inner, outer = max(16, launches.width(C)), min(64, max(16, launches.width(D)))
        tile = max(16, launches.TILE // max(inner, outer))
        chunk, chunks = launches.split(pixels, N, tile)
        between, out = x.new_empty(N, pixels, C), x.new_empty(N, pixels, D)
        mean, square = x.new_empty(2, measured, chunks, D)
        moments = Moments(mean, square, pixels, chunk)
        maps = x, depthwise, pointwise, between, out, mean, square, norms.rate, norms.shift
        numbers = self.pixels * C, pixels, chunk, measured
        constants = *self.sizes, _bits(self.kernels), D, _precision(), tile, inner, outer
        grid = N, chunks, -(-D // outer)
        kernels.separable[grid](*maps, self.table(x.device), *numbers, *constants)
        return between, out, moments

    def input_grad(self, x: Tensor, weight: Tensor, grad: Tensor, norms: Norms) -> Tensor:
        """The gradients for the maps, ``(maps, pixels, C)``; for a shared map the sum over all chains."""
        out = x.new_empty(self.maps, self.pixels, self.channels)
        tile = launches.tile(self.channels, launches.TILE // 2)
        apart, members = self.pixels * self.channels, self.members // self.maps
        where = self.table(x.device)
        arguments = (x, weight, grad, out, norms.rate, norms.shift, where, apart, members, self.pixels)
        grid = launches.tiles(self.pixels, tile), self.maps
        kernels.depthwise_input[grid](*arguments, *self.sizes, _bits(self.kernels), **tile)
        return out

    def weight_grad(self, x: Tensor, grad: Tensor, norms: Norms, learned: Tensor) -> None:
        """Compute the gradient for the depthwise weights, for each chunk of pixels.

        Args:
            x, grad, norms: the maps, the gradients for the results, and the batch norms of the maps.
            learned: the result, ``(chunks, at least all weights)``; each row begins with the gradient for these.
        """
        largest, channels = max(self.kernels), launches.width(self.channels)
        widths = sum({launches.width(kernel) for kernel in self.kernels})
        # A program keeps a row of taps for each number of its tile, one pixel at least.
        numbers = max(launches.TILE, launches.width(largest) * channels)
        apart, pixels, chunks = self.pixels * self.channels, self.pixels_after, len(learned)
        arguments = x, grad, learned, norms.rate, norms.shift, self.table(x.device), apart, pixels
        constants = *self.sizes, widths, numbers, channels
        grid = self.members * largest, chunks
        kernels.depthwise_weight[grid](*arguments, -(-pixels // chunks), learned.stride(0), largest, *constants)

    def through(
        self,
        grads: Sequence[Tensor],
        y: Tensor,
        slopes: Slopes,
        weight: Tensor,
        between: Tensor,
        learned: Tensor | None,
    ) -> Tensor:
        """The gradients for the results of the depthwise convolutions, ``(N, pixels after, C)``.

        Args:
            grads: for each chain the gradient for the link's result, before or after its batch norm.
            y: the results of the links whose gradients are those after a batch norm; they come first.
            slopes: the slopes of these batch norms.
            weight: the weights of the 1x1 convolutions, ``(N, D, C)``.
            between: the results of the depthwise convolutions.
            learned: rows that begin with the gradient for ``weight``, for each chunk of pixels; None if it is fixed.
        """
        (N, D, C), pixels, sent = weight.shape, self.pixels_after, torch.empty_like(between)
        chunks = launches.split(pixels, N, CHUNK)[1] if learned is None else len(learned)
        inner, outer = min(64, max(16, launches.width(C))), max(16, launches.width(D))
        arguments = launches.table(grads), y, *slopes, between, weight, sent, sent if learned is None else learned
        numbers = pixels, -(-pixels // chunks), len(slopes.shift), 0 if learned is None else learned.stride(0)
        # Half a tile, because a program keeps three maps, a weight and its gradient.
        sizes = max(16, launches.TILE // (2 * max(inner, outer))), inner, outer
        grid = N, chunks, -(-C // inner)
        pointwise_kernels.through[grid](*arguments, *numbers, C, D, learned is not None, _precision(), *sizes)
        return sent

    @property
    def chunks(self) -> int:
        """The number of chunks of pixels, for each of which gradients for weights are computed."""
        return launches.split(self.pixels_after, self.members, CHUNK)[1]


def _precision() -> str:
    """How tensor cores multiply: as PyTorch's products of matrices do, or in three products that give float32."""
    return "tf32" if torch.backends.cuda.matmul.allow_tf32 else "tf32x3"


def _bits(sizes: frozenset[int]) -> int:
    """A number in which the bit of each size is set."""
    return sum(1 << size for size in sizes)
