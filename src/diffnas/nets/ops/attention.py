"""Attention over the tokens of a grid or of a line, with a bias for each relative position."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffnas.nets.ops.line import Ends
from diffnas.nets.slot import Form, Grid

FARTHEST = 32
"""The distance of two tokens of a line from which on all have one bias."""

_LOWEST = -1e30
"""What is added to the logits of padding. It is finite, because a window may have nothing else."""


class Table(nn.Module):
    """A learned table of positions, ``(channels, rows, columns)``; its weights do not decay.

    For a grid of another size it is interpolated, as for pictures of another size (ViT, Dosovitskiy et al., 2021).
    """

    def __init__(self, channels: int, rows: int, columns: int) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.empty(channels, rows, columns))
        normal_(self.values)

    def forward(self, rows: int, columns: int) -> Tensor:
        """The table for so many rows and columns, ``(channels, rows, columns)``."""
        if self.values.shape[1:] == (rows, columns):
            return self.values
        return F.interpolate(self.values[None], (rows, columns), mode="bicubic")[0]


class RelativeBias(nn.Module):
    """What attention adds to a logit, by the rows and columns from a token to another one (Liu et al., 2021, Swin)."""

    def __init__(self, heads: int, grid: Grid) -> None:
        super().__init__()
        height, width = grid
        self.grid = grid
        self.table = Table(heads, 2 * height - 1, 2 * width - 1)
        self.places: Tensor
        self.register_buffer("places", places(grid), persistent=False)

    def forward(self, grid: Grid) -> Tensor:
        """The bias of each pair of tokens of a grid, ``(heads, tokens, tokens)``."""
        height, width = grid
        table: Tensor = self.table(2 * height - 1, 2 * width - 1)
        index = self.places if grid == self.grid else places(grid).to(table.device)
        return table.flatten(1)[:, index]


def places(grid: Grid) -> Tensor:
    """For each pair of tokens, the place of their relative position in a flat table, ``(tokens, tokens)``.

    >>> places((1, 3))
    tensor([[2, 1, 0],
            [3, 2, 1],
            [4, 3, 2]])
    """
    height, width = grid
    rows, columns = (
        each.flatten() for each in torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    )
    down = rows[:, None] - rows[None] + height - 1
    right = columns[:, None] - columns[None] + width - 1
    return down * (2 * width - 1) + right


class LineBias(nn.Module):
    """What attention adds to a logit, by the steps from a token to another one, which are clipped (Shaw et al., 2018).

    Its table has a place for each distance. In the form "past" there are none for tokens that come later: these get
    minus infinity.
    """

    def __init__(self, heads: int, count: int, form: Form) -> None:
        super().__init__()
        farthest = min(count - 1, FARTHEST)
        later = 0 if form == "past" else farthest
        self.table = Table(heads, 1, farthest + later + 1)
        steps = torch.arange(count)
        before = steps[:, None] - steps
        self.places: Tensor
        self.hidden: Tensor
        self.register_buffer("places", before.clamp(-later, farthest) + later, persistent=False)
        self.register_buffer("hidden", (before < 0) & (form == "past"), persistent=False)

    def forward(self, grid: tuple[int, int]) -> Tensor:
        """The bias of each pair of the first tokens of the line, ``(heads, tokens, tokens)``."""
        _, count = grid
        bias = self.table.values.flatten(1)[:, self.places[:count, :count]]
        return bias.masked_fill(self.hidden[:count, :count], -torch.inf)


class Attention(nn.Module):
    """Softmax attention (Vaswani et al., 2017) over all tokens of a grid, or within windows that do not overlap.

    Args:
        width: channels of a token.
        inner: channels of the queries of all heads together.
        heads: number of heads.
        grid: rows and columns of the tokens.
        window: the side of a window of ``window ** 2`` tokens, also on a line; 0 for attention over all tokens.
        form: how the tokens lie, and which of them a token reads.
        shrink: the factor of the first weights of the last layer.
    """

    def __init__(
        self,
        width: int,
        inner: int,
        heads: int,
        grid: Grid,
        *,
        window: int = 0,
        form: Form = "grid",
        shrink: float = 1.0,
    ) -> None:
        super().__init__()
        assert inner % heads == 0, "the skeleton has refused such a width"
        self.heads, self.ends = heads, Ends()
        self.window = ((window, window) if form == "grid" else (1, window**2)) if window else None
        around = self.window or grid
        self.qkv = linear(width, 3 * inner)
        self.bias = RelativeBias(heads, around) if form == "grid" else LineBias(heads, around[1], form)
        self.last = linear(inner, width, shrink=shrink)

    def forward(self, x: Tensor) -> Tensor:
        """The result, ``(B, d, H, W)``, for tokens ``(B, d, H, W)``."""
        height, width = x.shape[2:]
        qkv, outside = self.qkv(x.permute(0, 2, 3, 1)), self._outside(x)
        if self.window:
            mixed = self._windowed(qkv, outside, self.window)
        else:
            bias = self.bias((height, width))
            if outside is not None:
                bias = bias + outside.flatten(1)[:, None, None]
            mixed = torch.unflatten(self._mixed(qkv.flatten(1, 2), bias), 1, (height, width))
        out: Tensor = self.last(mixed)
        return out.permute(0, 3, 1, 2)

    def products(self, grid: Grid) -> int:
        """Multiply-adds of queries with keys and of weights with values, for one picture or sequence."""
        rows, columns = self.window or grid
        windows = -(-grid[0] // rows) * -(-grid[1] // columns)
        return 2 * windows * (rows * columns) ** 2 * self.last.in_features

    def _outside(self, x: Tensor) -> Tensor | None:
        """What is added to the logits of each token: 0 if the token is real, else ``_LOWEST``, ``(B, H, W, 1)``."""
        real = self.ends.real
        return None if real is None else x.new_zeros(()).masked_fill(~real.permute(0, 2, 3, 1), _LOWEST)

    def _mixed(self, qkv: Tensor, bias: Tensor) -> Tensor:
        """Attention over all tokens, ``(B, tokens, inner)``, for queries, keys and values side by side."""
        query, key, value = torch.unflatten(qkv, -1, (3, self.heads, -1)).movedim(2, 0).transpose(-2, -3)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias.to(query.dtype))
        return mixed.transpose(-2, -3).flatten(-2)

    def _windowed(self, qkv: Tensor, outside: Tensor | None, window: Grid) -> Tensor:
        """Attention in each window, ``(B, H, W, inner)``. Masked tokens at bottom and right fill the last windows."""
        height, width = qkv.shape[1:3]
        bias = self.bias(window)
        down, right = -height % window[0], -width % window[1]
        if down or right or outside is not None:
            outside = bias.new_zeros(1, height, width, 1) if outside is None else outside
            qkv = F.pad(qkv, (0, 0, 0, right, 0, down))
            outside = _split(F.pad(outside, (0, 0, 0, right, 0, down), value=_LOWEST), window)
            # One bias for each window of each picture.
            bias = bias + outside.transpose(2, 3).unsqueeze(2)
            bias = bias.expand(qkv.shape[0], -1, -1, -1, -1).flatten(0, 1)
        rows, columns = qkv.shape[1] // window[0], qkv.shape[2] // window[1]
        out = self._mixed(_split(qkv, window).flatten(0, 1), bias)
        return _joined(out, window, rows, columns)[:, :height, :width]


def _split(x: Tensor, window: Grid) -> Tensor:
    """The windows of a map, ``(B, windows, tokens, C)``; the map is ``(B, H, W, C)``."""
    cut = torch.unflatten(torch.unflatten(x, 2, (-1, window[1])), 1, (-1, window[0]))
    return cut.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def _joined(x: Tensor, window: Grid, rows: int, columns: int) -> Tensor:
    """The map of windows ``(B * windows, tokens, C)``, for so many rows and columns of windows."""
    cut = torch.unflatten(torch.unflatten(x, 1, window), 0, (-1, rows, columns))
    return cut.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def linear(before: int, out: int, *, shrink: float = 1.0) -> nn.Linear:
    """A linear layer as in ViT: weights from a normal distribution of deviation 0.02, times ``shrink``; biases 0."""
    made = nn.Linear(before, out)
    normal_(made.weight, shrink)
    nn.init.zeros_(made.bias)
    return made


@torch.no_grad()
def normal_(weight: Tensor, shrink: float = 1.0) -> None:
    """Draw weights of deviation 0.02, cut off at twice that, and multiply them by ``shrink``."""
    nn.init.trunc_normal_(weight, std=0.02, a=-0.04, b=0.04)
    weight.mul_(shrink)
