"""Transformers: chains whose stem makes a grid of tokens, to which all branches are added.

The picture becomes patches with a learned position each (ViT, Dosovitskiy et al., 2021), by default through a few
convolutions, which small data sets need (Hassani et al., 2021). There is no class token: the head reads the mean.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from diffnas.lookup import lookup
from diffnas.nets.cell import Place
from diffnas.nets.frames.chain import Chain, Patches
from diffnas.nets.frames.frame import Frame, MakeCell, Sizes
from diffnas.nets.frames.parts import GlobalAveragePool
from diffnas.nets.frames.windows import Windows
from diffnas.nets.ops.attention import Table, linear
from diffnas.nets.ops.transformer import TokenNorm
from diffnas.nets.slot import Stream
from diffnas.skeleton import Transformer


def transformer(sizes: Sizes, cell: MakeCell) -> Frame:
    """A transformer for pictures or sequences, by the number of sides that the inputs have."""
    return Windows(sizes, cell) if len(sizes.picture) == 1 else on_pictures(sizes, cell)


def on_pictures(sizes: Sizes, cell: MakeCell) -> Chain:
    """A transformer for pictures.

    In a supernet, each branch has the same constant factor, and the batch norms of the stem have no weight and bias.
    """
    skeleton, width = sizes.skeleton, sizes.channels
    assert isinstance(skeleton, Transformer)
    kinds = skeleton.kinds_at(sizes.depth, sizes.joined)
    side = patch_side(sizes)
    rows, columns = (-(-each // side) for each in sizes.picture)
    stream = Stream((rows, columns), len(kinds), skeleton.norm)
    patches = [Patches(sizes.inputs, width, side, bias=True)]
    layers = patches if sizes.stem == "patch" else _convolutions(sizes.inputs, width, side, affine=sizes.affine)
    pool = {"mean": lambda _: GlobalAveragePool(), "attend": AttentionPool}[skeleton.pool](width)
    return Chain(
        nn.Sequential(OrderedDict(first=nn.Sequential(*layers, Positions(width, stream.grid)))),
        [nn.Identity() for _ in kinds],
        [cell(Place(kind=kind, width=width, prepare=[nn.Identity()], stream=stream)) for kind in kinds],
        nn.Sequential(TokenNorm(width, skeleton.norm, affine=True), pool, nn.Flatten(), linear(width, sizes.outputs)),
        share=1.0 if sizes.affine else len(kinds) ** -0.5,
    )


def patch_side(sizes: Sizes) -> int:
    """The side of a patch in pixels, by the size of the pictures and the stem.

    Raises:
        ValueError: for a stem that transformers do not have.
    """
    longest = max(sizes.picture)
    usual = next((side for most, side in ((16, 2), (40, 4), (96, 8)) if longest <= most), 16)
    return lookup("stem", sizes.stem, {"cifar": usual, "cifar-half": 2 * usual, "imagenet": 16, "patch": usual})


def _convolutions(before: int, width: int, side: int, *, affine: bool) -> list[nn.Module]:
    """Convolutions of stride 2, each with twice the channels of the one before."""
    layers: list[nn.Module] = []
    for halvings in reversed(range(side.bit_length() - 1)):
        out = max(width >> halvings, 1)
        layers += [nn.GELU()] if layers else []
        layers += [nn.Conv2d(before, out, 3, 2, 1, bias=False), nn.BatchNorm2d(out, affine=affine)]
        before = out
    return layers


class Positions(nn.Module):
    """A learned vector for each place of the grid, which is added to the token there."""

    def __init__(self, width: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.table = Table(width, *grid)

    def forward(self, x: Tensor) -> Tensor:
        """The tokens, ``(B, d, H, W)``, in channels-last format, which linear layers read without a copy."""
        height, width = x.shape[2:]
        placed: Tensor = x + self.table(height, width)
        return placed.contiguous(memory_format=torch.channels_last)


class AttentionPool(nn.Module):
    """The mean of all tokens with learned weights, ``(B, d, 1, 1)`` (CCT, Hassani et al., 2021)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The mean of tokens ``(B, d, H, W)``."""
        tokens = x.flatten(2).transpose(1, 2)
        score: Tensor = self.score(tokens)
        mean = score.softmax(dim=1).transpose(1, 2) @ tokens
        return mean.transpose(1, 2).unsqueeze(-1)
