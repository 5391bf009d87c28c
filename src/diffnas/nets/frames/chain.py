"""Residual chains, ``x <- shortcut(x) + cell(x)``, layer by layer, and those of convolutions on pictures.

There is no ReLU after the sum, as in MobileNetV2 (Sandler et al., 2018) and ConvNeXt (Liu et al., 2022). So an absent
layer is the identity, or only a shortcut where width or resolution change.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from diffnas.lookup import lookup
from diffnas.nets.auxiliary import Output
from diffnas.nets.cell import Cell, Place
from diffnas.nets.frames.frame import Frame, MakeCell, Run, Sizes
from diffnas.nets.frames.parts import GlobalAveragePool, as_weights
from diffnas.nets.frames.plan import CellPlan, plan
from diffnas.skeleton import Chain as ChainSkeleton
from diffnas.skeleton import Shortcut


class Chain(Frame):
    """A stem, layers that each have a shortcut, and a head.

    Args:
        stem: the layers before the cells.
        shortcuts: the shortcut of each layer.
        cells: the cell of each layer.
        head: the layers after the cells.
        plan: the plan of the cells.
        share: the factor of what each cell adds.
    """

    def __init__(
        self,
        stem: nn.Module,
        shortcuts: Sequence[nn.Module],
        cells: Sequence[nn.Module],
        head: nn.Module,
        *,
        plan: Sequence[CellPlan] = (),
        share: float = 1.0,
    ) -> None:
        super().__init__()
        self.plan, self.share = tuple(plan), share
        self.stem = stem
        self.shortcuts, self.cells = nn.ModuleList(shortcuts), nn.ModuleList(cells)
        self.head = head

    def forward(self, x: Tensor, run: Run) -> Output:
        """Logits of pictures ``(B, C, H, W)``."""
        x = self.stem(as_weights(self, x))
        for beside, cell in zip(self.shortcuts, self.cells, strict=True):
            x = layer(beside, cell, x, run, self.share)
        return Output(self.head(x), None)


def layer(beside: nn.Module, cell: nn.Module, x: Tensor, run: Run, share: float) -> Tensor:
    """A layer's shortcut of ``x``, plus ``share`` times the result of its cell unless the cell has no operation."""
    if isinstance(beside, NoShortcut):
        return run(cell, (x,))
    if isinstance(cell, Cell) and not len(cell.edges):
        shortcut: Tensor = beside(x)
        return shortcut
    branch = run(cell, (x,))
    out: Tensor = beside(x) + (branch if share == 1.0 else branch * share)
    return out


def chain(sizes: Sizes, cell: MakeCell) -> Chain:
    """A chain of convolutions on pictures.

    In a supernet, the batch norms of stem and shortcuts have no weight and bias. A weight could scale the sum to which
    layers add, and so undo their mixing weights. Batch norms of the head always have a weight and a bias.
    """
    skeleton = sizes.skeleton
    assert isinstance(skeleton, ChainSkeleton)
    cells = plan(skeleton, sizes.joined, sizes.channels, sizes.depth, sizes.stem)
    stem = lookup("stem", sizes.stem, _STEMS)(sizes.inputs, cells[0].previous, sizes.affine)
    return Chain(
        nn.Sequential(OrderedDict(first=stem)),  # so that its weights are named as those of other stems
        [shortcut(skeleton.shortcut, each, affine=sizes.affine) for each in cells],
        [cell(_place(each)) for each in cells],
        _head(skeleton, cells[-1].out, sizes.outputs),
        plan=cells,
    )


class NoShortcut(nn.Module):
    """A stand-in for the shortcut of a layer that has none; it is never called."""


class Patches(nn.Module):
    """A convolution of patches that do not overlap. The end is padded with zeros to a whole number of patches.

    >>> import torch
    >>> Patches(3, 8, 2)(torch.zeros(2, 3, 9, 8)).shape
    torch.Size([2, 8, 5, 4])
    """

    def __init__(self, before: int, channels: int, side: int, *, bias: bool = False) -> None:
        super().__init__()
        self.side = side
        self.conv = nn.Conv2d(before, channels, side, side, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """The result for each patch, ``(B, channels, ceil(H / side), ceil(W / side))``."""
        bottom, right = (-size % self.side for size in x.shape[2:])
        patched: Tensor = self.conv(F.pad(x, (0, right, 0, bottom)) if bottom or right else x)
        return patched


def shortcut(kind: Shortcut, cell: CellPlan, *, affine: bool) -> nn.Module:
    """The shortcut of a layer: the identity, if the layer keeps width and resolution, else one of this kind."""
    before, out, stride = cell.previous, cell.channels, 2 if cell.reduces else 1
    if (before, stride) == (out, 1):
        return nn.Identity()
    if kind == "none":
        return NoShortcut()
    norm = nn.BatchNorm2d(out, affine=affine)
    if kind == "patch":
        return nn.Sequential(Patches(before, out, stride), norm)
    # A mean of pixels, or one pixel of each square; then a convolution without stride, as in ``relu_conv_norm``.
    side = stride if kind == "pool" else 1
    pool = [nn.AvgPool2d(side, stride, ceil_mode=True)] if stride > 1 else []
    return nn.Sequential(*pool, nn.Conv2d(before, out, 1, bias=False), norm)


def _place(cell: CellPlan) -> Place:
    assert cell.kind is not None
    stride = 2 if cell.reduces else 1
    return Place(kind=cell.kind, width=cell.previous, out=cell.channels, stride=stride, prepare=[nn.Identity()])


def _conv(before: int, channels: int, kernel: int, stride: int, *, affine: bool) -> list[nn.Module]:
    conv = nn.Conv2d(before, channels, kernel, stride, kernel // 2, bias=False)
    return [conv, nn.BatchNorm2d(channels, affine=affine), nn.ReLU()]


def _same(before: int, out: int, affine: bool) -> nn.Module:
    return nn.Sequential(*_conv(before, out, 3, 1, affine=affine))


def _half(before: int, out: int, affine: bool) -> nn.Module:
    return nn.Sequential(*_conv(before, out, 3, 2, affine=affine))


def _quarter(before: int, out: int, affine: bool) -> nn.Module:
    narrow = max(out // 2, 1)
    return nn.Sequential(*_conv(before, narrow, 3, 2, affine=affine), *_conv(narrow, out, 3, 2, affine=affine))


def _resnet(before: int, out: int, affine: bool) -> nn.Module:
    return nn.Sequential(*_conv(before, out, 7, 2, affine=affine), nn.MaxPool2d(3, 2, padding=1))


def _patch(before: int, out: int, affine: bool) -> nn.Module:
    return nn.Sequential(Patches(before, out, 4), nn.BatchNorm2d(out, affine=affine))


# Each function takes the channels of a picture, those of the stem, and whether the batch norms of the stem are affine.
_STEMS: dict[str, Callable[[int, int, bool], nn.Module]] = {
    "cifar": _same,
    "cifar-half": _half,
    "imagenet": _quarter,
    "resnet": _resnet,
    "patch": _patch,
}


def _head(skeleton: ChainSkeleton, width: int, outputs: int) -> nn.Sequential:
    wide = skeleton.head or width
    conv = [nn.Conv2d(width, wide, 1, bias=False)] if skeleton.head else []
    norm = [nn.BatchNorm2d(wide), nn.ReLU()] if skeleton.normed_head else []
    return nn.Sequential(*conv, *norm, GlobalAveragePool(), nn.Flatten(), nn.Linear(wide, outputs))
