"""Operations of transformers, in a table from their names to their factories, and the norms around them.

Every operation maps ``(B, d, H, W)``, a grid of H x W tokens, to the same shape. On a line of tokens, ``(B, d, 1, N)``,
a kernel of k x k has k weights, and a window of s x s has s * s tokens. Maps are in channels-last format, so a linear
layer reads the channels of each token without a copy.
"""

from __future__ import annotations

from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffnas.nets.ops.attention import Attention, linear
from diffnas.nets.ops.line import Along, Ends, LinePooled
from diffnas.nets.ops.pictures import Depthwise
from diffnas.nets.slot import Form, OpFactory, Slot, Stream
from diffnas.skeleton.transformer import Norm

EPSILON = 1e-6
"""What norms add to a mean square."""

DEEP = 48
"""The number of branches above which they begin small (CaiT, Touvron et al., 2021)."""


class TokenNorm(nn.Module):
    """The norm of each token over its channels: LayerNorm, or RMSNorm, which has no mean and no bias."""

    def __init__(self, width: int, norm: Norm, *, affine: bool) -> None:
        super().__init__()
        self.width, self.centered = width, norm == "layer"
        self.weight = nn.Parameter(torch.ones(width)) if affine else None
        self.bias = nn.Parameter(torch.zeros(width)) if affine and self.centered else None

    def forward(self, x: Tensor) -> Tensor:
        """The tokens, ``(B, d, H, W)``, each with a mean square of 1 before the weight."""
        tokens, shape = x.permute(0, 2, 3, 1), (self.width,)
        if self.centered:
            normed = F.layer_norm(tokens, shape, self.weight, self.bias, EPSILON)
        else:
            normed = F.rms_norm(tokens, shape, self.weight, EPSILON)
        return normed.permute(0, 3, 1, 2)


class Leveled(nn.Module):
    """An operation of a supernet, and RMSNorm without weights after it.

    The scale of the last linear layer is free, and could undo a mixing weight. So all results get the same size, and
    the gradient of a mixing weight compares only directions. The edge normalizes the input once for all operations.
    """

    def __init__(self, op: nn.Module, width: int) -> None:
        super().__init__()
        self.op = op
        self.after = TokenNorm(width, "rms", affine=False)

    def forward(self, x: Tensor) -> Tensor:
        """The result for normalized tokens, ``(B, d, H, W)``."""
        return cast(Tensor, self.after(self.op(x)))


class Branch(nn.Module):
    """A branch of a network: a norm, an operation, and the scale of each channel (CaiT, Touvron et al., 2021)."""

    def __init__(self, op: nn.Module, slot: Slot, stream: Stream) -> None:
        super().__init__()
        self.norm = TokenNorm(slot.width, stream.norm, affine=True)
        self.op = op
        self.scale = nn.Parameter(torch.full((slot.width,), 1e-4 if stream.branches > DEEP else 0.1))

    def forward(self, x: Tensor) -> Tensor:
        """What the branch adds to the stream, ``(B, d, H, W)``."""
        return cast(Tensor, self.op(self.norm(x)) * self.scale.view(-1, 1, 1))


def on_stream(op: nn.Module, slot: Slot) -> nn.Module:
    """An operation with the norms that it has on a stream of tokens; the operation itself elsewhere."""
    if slot.stream is None or isinstance(op, nn.Identity):
        return op
    return Branch(op, slot, slot.stream) if slot.affine else Leveled(op, slot.width)


class Mlp(nn.Module):
    """Two linear layers, with a GELU between."""

    def __init__(self, width: int, inner: int, *, shrink: float) -> None:
        super().__init__()
        self.first, self.last = linear(width, inner), linear(inner, width, shrink=shrink)

    def forward(self, x: Tensor) -> Tensor:
        """The result, ``(B, d, H, W)``."""
        out: Tensor = self.last(F.gelu(self.first(x.permute(0, 2, 3, 1))))
        return out.permute(0, 3, 1, 2)


class Gated(nn.Module):
    """A linear layer whose first half, after a SiLU, multiplies the second; then another linear layer.

    SwiGLU (Shazeer, 2020).
    """

    def __init__(self, width: int, inner: int, *, shrink: float) -> None:
        super().__init__()
        self.first, self.last = linear(width, 2 * inner), linear(inner, width, shrink=shrink)

    def forward(self, x: Tensor) -> Tensor:
        """The result, ``(B, d, H, W)``."""
        gate, value = self.first(x.permute(0, 2, 3, 1)).chunk(2, dim=-1)
        out: Tensor = self.last(F.silu(gate) * value)
        return out.permute(0, 3, 1, 2)


class Around(nn.Module):
    """A depthwise convolution with a bias, between two linear layers if ``inner`` is not 0.

    Without linear layers it keeps the width.
    """

    def __init__(self, width: int, kernel: int, *, inner: int = 0, form: Form = "grid", shrink: float = 1.0) -> None:
        super().__init__()
        self.ends, between = Ends(), inner or width
        self.first = linear(width, inner) if inner else None
        self.depthwise = Depthwise(between, kernel) if form == "grid" else Along(between, kernel, form)
        self.bias = nn.Parameter(torch.zeros(between))
        self.last = linear(inner, width, shrink=shrink) if inner else None

    def forward(self, x: Tensor) -> Tensor:
        """The result, ``(B, d, H, W)``."""
        if self.first is not None:
            x = F.gelu(self.first(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        x = self.depthwise(self.ends.cleared(x)) + self.bias.view(-1, 1, 1)
        return x if self.last is None else self.last(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Pooled(nn.Module):
    """The mean of the neighbors of each token, minus the token (PoolFormer, Yu et al., 2022)."""

    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(kernel, 1, kernel // 2, count_include_pad=False)

    def forward(self, x: Tensor) -> Tensor:
        """The difference, ``(B, d, H, W)``; 0 where all neighbors are equal."""
        return cast(Tensor, self.pool(x) - x)


def _shrink(slot: Slot) -> float:
    """The factor of the first weights of the last linear layer of a branch in a network (GPT-2, Radford et al., 2019).

    It keeps the size of the sum of all branches.
    """
    return slot.stream.branches**-0.5 if slot.stream and slot.affine else 1.0


def _stream(slot: Slot) -> Stream:
    assert slot.stream is not None, "only a transformer has tokens"
    return slot.stream


def attention(slot: Slot, *, heads: int, halved: bool = False, window: int = 0) -> nn.Module:
    """Attention over all tokens of the grid, or within windows."""
    inner, stream = slot.width // 2 if halved else slot.width, _stream(slot)
    return Attention(slot.width, inner, heads, stream.grid, window=window, form=stream.form, shrink=_shrink(slot))


def mlp(slot: Slot, *, ratio: int) -> nn.Module:
    """Two linear layers, with ``ratio`` times the width between."""
    return Mlp(slot.width, ratio * slot.width, shrink=_shrink(slot))


def gated(slot: Slot, *, ratio: int) -> nn.Module:
    """Gated linear layers, with ``ratio`` times the width between."""
    return Gated(slot.width, ratio * slot.width, shrink=_shrink(slot))


def separable(slot: Slot, *, kernel: int) -> nn.Module:
    """A depthwise convolution at twice the width (ConvFormer, Yu et al., 2022)."""
    return Around(slot.width, kernel, inner=2 * slot.width, form=_stream(slot).form, shrink=_shrink(slot))


def depthwise(slot: Slot, *, kernel: int) -> nn.Module:
    """A depthwise convolution alone."""
    return Around(slot.width, kernel, form=_stream(slot).form)


def pooled(slot: Slot, *, kernel: int) -> nn.Module:
    """The mean of the neighbors minus the token."""
    form = _stream(slot).form
    return Pooled(kernel) if form == "grid" else LinePooled(kernel, form)


MIXERS = Attention, Around, LinePooled
"""The classes of operations that read other tokens of a line, and have ``ends``."""

TRANSFORMER: dict[str, OpFactory] = {
    **{f"attn_{heads}": partial(attention, heads=heads) for heads in (1, 2, 3, 4, 6, 8, 12)},
    "attn_half": partial(attention, heads=2, halved=True),
    **{f"window_{side}": partial(attention, heads=4, window=side) for side in (4, 7)},
    **{f"sepconv_{kernel}": partial(separable, kernel=kernel) for kernel in (3, 5, 7)},
    **{f"dwconv_{kernel}": partial(depthwise, kernel=kernel) for kernel in (3, 5, 7)},
    **{f"pool_{kernel}": partial(pooled, kernel=kernel) for kernel in (3, 5)},
    **{f"mlp_{ratio}": partial(mlp, ratio=ratio) for ratio in (1, 2, 3, 4)},
    **{f"glu_{ratio}": partial(gated, ratio=ratio) for ratio in (1, 2, 3)},
}
"""The operations of transformers: ``attn_HEADS``, ``window_SIDE`` with 4 heads, ``sepconv_KERNEL``, ``mlp_RATIO``."""
