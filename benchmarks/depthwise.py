"""The depthwise convolutions of a node in two ways that a visit to a GPU times: as a search has them, and banded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import banded
import torch
from torch import Tensor

from diffnas.backends.gpu.launches import Norms
from diffnas.backends.gpu.stage import Stage
from diffnas.nets.geometry import SEPARABLE, Geometry

Geometries = Sequence[tuple[int, int]]
"""Kernel and dilation of each convolution."""


class Banded:
    """Convolutions with random maps, weights and gradients, and the kernels of ``banded.py``.

    Args:
        geometries: of the convolutions; their kernels are equal, unless a picture has at most 64 pixels.
        channels: C.
        size: H and W.
        stride: of all.
        pictures: B.
        shared: whether all read one map, as the first links of a node do.
        device: where they are computed.
        precision: of products: "tf32", "tf32x3" for about float32, or "ieee".
    """

    def __init__(
        self,
        geometries: Geometries,
        *,
        channels: int,
        size: tuple[int, int],
        stride: int,
        pictures: int,
        shared: bool,
        device: str,
        precision: str = "tf32x3",
    ) -> None:
        (height, width), whole = size, size[0] * size[1] <= 64
        after = (height - 1) // stride + 1, (width - 1) // stride + 1
        drawn = torch.Generator().manual_seed(0)
        maps, self.shared, self.pictures, count = 1 if shared else len(geometries), shared, pictures, len(geometries)
        self.x = torch.randn(maps, channels, pictures, *size, generator=drawn).to(device)
        self.grad = torch.randn(count, channels, pictures, *after, generator=drawn).to(device)
        self.weights = [torch.randn(channels, k, k, generator=drawn).to(device) for k, _ in geometries]
        self.rate = (torch.rand(maps, channels, generator=drawn) + 0.5).to(device)
        self.shift = (torch.randn(maps, channels, generator=drawn) / 2).to(device)
        self.flat, begin, rows = torch.cat([weight.flatten() for weight in self.weights]), 0, list[list[int]]()
        for n, (kernel, dilation) in enumerate(geometries):
            rows.append([0 if shared else n, begin, kernel, dilation * (kernel - 1) // 2, dilation])
            begin += channels * kernel**2
        self.table = torch.tensor(rows, dtype=torch.int32, device=device)
        lengths = (height * width, after[0] * after[1]) if whole else (width, after[1])
        self.rows_before, self.rows_after = (pictures * (1 if whole else rows) for rows in (height, after[0]))
        self.tile = 128 if device == "cuda" else 32
        self.constants: dict[str, Any] = {
            "K": 1 if whole else max(kernel for kernel, _ in geometries), "STRIDE": stride, "C": channels,
            "H": height, "W": width, "HO": after[0], "WO": after[1], "WHOLE": whole,
            "BEFORE": _power(lengths[0]), "AFTER": _power(lengths[1]), "ROWS": self.tile, "PRECISION": precision,
        }  # fmt: skip

    def forward(self) -> Tensor:
        """The results, ``(N, C, B, H', W')``."""
        out, (count, channels) = torch.empty_like(self.grad), self.grad.shape[:2]
        grid = -(-self.rows_after // self.tile), channels, count
        arguments = (self.x, self.flat, out, self.rate, self.shift, self.table, self.pictures)
        banded.forward[grid](*arguments, **self.constants)
        return out

    def input_grad(self) -> Tensor:
        """The gradients for the normalized maps, ``(maps, C, B, H, W)``."""
        out, members = torch.empty_like(self.x), len(self.grad) // len(self.x)
        grid = -(-self.rows_before // self.tile), self.x.shape[1], len(self.x)
        arguments = (self.x, self.flat, self.grad, out, self.rate, self.shift, self.table, members, self.pictures)
        banded.input_grad[grid](*arguments, **self.constants)
        return out

    def weight_grad(self) -> Tensor:
        """The gradients for the weights, one convolution after the other."""
        tiles, (count, channels) = -(-self.rows_after // self.tile), self.grad.shape[:2]
        chunk = max(1, tiles * count * channels * self.constants["K"] // 4096)
        out = self.flat.new_empty(-(-tiles // chunk), len(self.flat))
        grid = len(out), channels, count * self.constants["K"]
        arguments = (self.x, self.grad, out, self.rate, self.shift, self.table, self.pictures, len(self.flat), chunk)
        banded.weight_grad[grid](*arguments, **self.constants)
        return out.sum(0)


def _power(length: int) -> int:
    """The length rounded up to a power of two; tensor cores multiply matrices of at least 16 rows and columns."""
    return max(16, 1 << (length - 1).bit_length())


class Present:
    """The same convolutions as a search computes them, with the channels last; forward with the 1x1 after them."""

    def __init__(self, of: Banded) -> None:
        stride, size = of.constants["STRIDE"], tuple(of.x.shape[-2:])
        rows = [(kernel, stride, padding, dilation) for _, _, kernel, padding, dilation in of.table.tolist()]
        geometries = tuple(Geometry(SEPARABLE, *row) for row in rows)
        self.stage = Stage(geometries, of.shared, of.pictures, size, of.x.shape[1])
        self.x, self.grad = (maps.movedim(1, -1).contiguous() for maps in (of.x, of.grad))
        self.weight, self.norms = of.flat, Norms(of.shift, of.rate, of.rate, of.shift)
        channels = of.x.shape[1]
        self.pointwise = torch.eye(channels, device=of.x.device).repeat(len(rows), 1, 1)
        self.learned = torch.empty(self.stage.chunks, len(self.weight), device=of.x.device)

    def forward(self) -> Tensor:
        return self.stage.forward(self.x, self.weight, self.pointwise, self.norms, measured=0)[0]

    def input_grad(self) -> Tensor:
        return self.stage.input_grad(self.x, self.weight, self.grad, self.norms)

    def weight_grad(self) -> Tensor:
        self.stage.weight_grad(self.x, self.grad, self.norms, self.learned)
        return self.learned.sum(0)
