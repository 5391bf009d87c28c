"""The depthwise convolutions at one place of chains that are computed together, forward and backward."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from diffnas.backends.gpu import depthwise_kernels as kernels
from diffnas.backends.gpu import launches
from diffnas.backends.gpu.launches import Norms
from diffnas.backends.norms import constant
from diffnas.nets.geometry import Geometry


class Stage(NamedTuple):
    """The links at one place of N chains: the geometries of their depthwise convolutions, and the sizes of their input.

    At the first place all chains share one map, without a batch norm before it. Later each chain has a map of its own.

    Attributes:
        geometries: of the depthwise convolutions; the size of the results is the same for all.
        shared: whether all chains read one map.
        pictures: B.
        size: height and width of the input.
        channels: of the input.
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

    def memory_after(self, like: Tensor, channels: int) -> Tensor:
        """Memory for maps of the size of the results, ``(N, pixels after, channels)``."""
        return like.new_empty(self.members, self.pixels_after, channels)

    @property
    def kernels(self) -> frozenset[int]:
        """The sizes of the kernels."""
        return frozenset(geometry.kernel for geometry in self.geometries)

    def table(self, device: torch.device) -> Tensor:
        """The table of the convolutions that the kernels read."""
        begin, fields = 0, list[int]()
        for row, (_, kernel, _, padding, dilation) in enumerate(self.geometries):
            fields += [0 if self.shared else row, begin, padding, dilation, kernel]
            begin += self.channels * kernel**2
        return constant(tuple(fields), torch.int32, device)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The constants of the kernels that differ from stage to stage, in order."""
        return *self.after, *self.size, self.channels, self.geometries[0].stride

    def forward(self, x: Tensor, weight: Tensor, norms: Norms) -> Tensor:
        """The results of the depthwise convolutions, ``(N, pixels after, C)``."""
        out, tile = self.memory_after(x, self.channels), launches.tile(self.channels)
        apart, pixels = self.pixels * self.channels, self.pixels_after
        arguments = (x, weight, out, norms.rate, norms.shift, self.table(x.device), apart, pixels)
        grid = launches.tiles(pixels, tile), self.members
        kernels.depthwise[grid](*arguments, *self.sizes, _bits(self.kernels), **tile)
        return out

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

    def weight_grad(self, x: Tensor, weight: Tensor, grad: Tensor, norms: Norms) -> Tensor:
        """The gradients for the depthwise weights, with the shape of ``weight``."""
        largest, channels = max(self.kernels), launches.width(self.channels)
        widths = sum({launches.width(kernel) for kernel in self.kernels})
        # A program keeps a row of taps for each number of its tile, one pixel at least.
        numbers = max(launches.TILE, launches.width(largest) * channels)
        chunk, chunks = launches.split(self.pixels_after, self.members * largest, numbers // channels)
        out = x.new_empty(chunks, len(weight))
        apart, pixels = self.pixels * self.channels, self.pixels_after
        where = self.table(x.device)
        arguments = (x, grad, out, norms.rate, norms.shift, where, apart, pixels, chunk, len(weight), largest)
        kernels.depthwise_weight[self.members * largest, chunks](*arguments, *self.sizes, widths, numbers, channels)
        return out.sum(0)


def _bits(sizes: frozenset[int]) -> int:
    """The sizes as bits of a number."""
    return sum(1 << size for size in sizes)
