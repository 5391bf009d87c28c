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

    def tables(self, device: torch.device) -> list[tuple[int, int, Tensor]]:
        """For each kernel size: that size, the number of convolutions, and the table that the kernels read."""
        begin, rows = 0, dict[int, list[tuple[int, ...]]]()
        for row, geometry in enumerate(self.geometries):
            which = 0 if self.shared else row
            fields = (row, which, begin, geometry.padding, geometry.dilation)
            rows.setdefault(geometry.kernel, []).append(fields)
            begin += self.channels * geometry.kernel**2
        return [
            (kernel, len(found), constant(tuple(field for row in found for field in row), torch.int32, device))
            for kernel, found in rows.items()
        ]

    def sizes(self, kernel: int) -> tuple[int, ...]:
        """The constants of the kernels that differ from stage to stage, in order."""
        return *self.after, *self.size, self.channels, kernel, self.geometries[0].stride

    def forward(self, x: Tensor, weight: Tensor, norms: Norms) -> Tensor:
        """The results of the depthwise convolutions, ``(N, pixels after, C)``."""
        out, tile = self.memory_after(x, self.channels), launches.tile(self.channels)
        apart, pixels = self.pixels * self.channels, self.pixels_after
        for kernel, count, table in self.tables(x.device):
            grid = launches.tiles(pixels, tile), count
            arguments = (x, weight, out, norms.rate, norms.shift, table, apart, pixels)
            kernels.depthwise[grid](*arguments, *self.sizes(kernel), **tile)
        return out

    def input_grad(self, x: Tensor, weight: Tensor, grad: Tensor, norms: Norms) -> Tensor:
        """The gradients for the maps, ``(maps, pixels, C)``; for a shared map the sum over all chains."""
        out = x.new_empty(self.maps, self.pixels, self.channels)
        tile = launches.tile(self.channels, launches.TILE // 2)
        apart, tiles = self.pixels * self.channels, launches.tiles(self.pixels, tile)
        for n, (kernel, count, table) in enumerate(self.tables(x.device)):
            members = count if self.shared else 1
            arguments = (x, weight, grad, out, norms.rate, norms.shift, table, apart, members, self.pixels)
            add = self.shared and n > 0
            kernels.depthwise_input[tiles, count // members](*arguments, *self.sizes(kernel), add, **tile)
        return out

    def weight_grad(self, x: Tensor, weight: Tensor, grad: Tensor, norms: Norms) -> Tensor:
        """The gradients for the depthwise weights, with the shape of ``weight``."""
        largest = max(geometry.kernel for geometry in self.geometries)
        # A program keeps a row of taps for each number of its tile.
        tile = launches.tile(self.channels, launches.TILE // launches.width(largest))
        chunk, chunks = launches.split(self.pixels_after, self.members * largest, tile["PIXELS"])
        out = x.new_empty(chunks, len(weight))
        apart, pixels = self.pixels * self.channels, self.pixels_after
        for kernel, count, table in self.tables(x.device):
            arguments = (x, grad, out, norms.rate, norms.shift, table, apart, pixels, chunk, len(weight))
            taps = launches.width(kernel)
            kernels.depthwise_weight[count * kernel, chunks](*arguments, *self.sizes(kernel), taps, **tile)
        return out.sum(0)
