"""What supernets and networks share: the plan of the cells, stems, residual blocks, preprocessing, heads."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from diffnas.lookup import lookup
from diffnas.nets.backend import Backend, applied
from diffnas.nets.ops import FactorizedReduce, relu_conv_norm
from diffnas.skeleton import Place, Skeleton
from diffnas.skeleton import StemKind as StemKind


@dataclass(frozen=True, kw_only=True)
class CellPlan:
    """One cell of a net, and the channels around it.

    Attributes:
        index: its place in the net, from 0.
        kind: its kind; None for a fixed residual block.
        reduces: whether it halves the resolution.
        after_reduction: whether the cell before it did, so that its older input is twice as large.
        channels: channels of every node.
        before: channels of its older input, the output of the cell before the previous one.
        previous: channels of its newer input, the output of the previous cell.
        out: channels of its output.
    """

    index: int
    kind: str | None
    reduces: bool
    after_reduction: bool
    channels: int
    before: int
    previous: int
    out: int


def stem_channels(skeleton: Skeleton, stem: StemKind, channels: int) -> int:
    """Channels of a stem's output."""
    return skeleton.stem_width.get(stem, 1) * channels


def kind_at(kinds: Container[str], index: int, place: Place) -> str | None:
    """The kind of the cell at ``index``: its own, called ``cell3`` for index 3, if there is one, else its place's.

    >>> kind_at({"normal", "reduce", "cell1"}, 1, Place("normal", False))
    'cell1'
    """
    own = f"cell{index}"
    return own if place.kind is not None and own in kinds else place.kind


def plan(
    skeleton: Skeleton, widths: Mapping[str, int], channels: int, depth: int, stem: StemKind = "cifar"
) -> tuple[CellPlan, ...]:
    """The cells of a net in order, each with its channels.

    DARTS (Liu et al., 2019), section 3.1: every reduction doubles the channels of the nodes. The same holds for the
    residual blocks of NAS-Bench-201 (Dong & Yang, 2020).

    Args:
        skeleton: how the cells are stacked.
        widths: for every kind of cell, how many nodes its output concatenates.
        channels: channels of the nodes of the first cell.
        depth: number of cells, residual blocks included.
        stem: what stands before the cells.

    Raises:
        ValueError: for a kind of cell that has no width, too few cells, or a cell without a place in the net.

    >>> from diffnas.skeleton import DARTS
    >>> for cell in plan(DARTS, {"normal": 4, "reduce": 4}, channels=16, depth=3):
    ...     print(cell.kind, cell.before, cell.previous, cell.channels, cell.out)
    normal 48 48 16 64
    reduce 48 64 32 128
    reduce 64 128 64 256
    """
    cells: list[CellPlan] = []
    before = previous = stem_channels(skeleton, stem, channels)
    # The two outputs of the ImageNet stem differ in size as if a reduction stood between them.
    after_reduction = stem == "imagenet"
    for index, place in enumerate(skeleton.places(depth)):
        channels = 2 * channels if place.reduces else channels
        kind = kind_at(widths, index, place)
        out = channels if kind is None else channels * lookup("kind of cell", kind, widths)
        cells.append(
            CellPlan(
                index=index,
                kind=kind,
                reduces=place.reduces,
                after_reduction=after_reduction,
                channels=channels,
                before=before,
                previous=previous,
                out=out,
            )
        )
        before, previous, after_reduction = previous, out, place.reduces
    lost = sorted(kind for kind in widths if kind.startswith("cell") and kind not in {cell.kind for cell in cells})
    if lost:
        raise ValueError(f"{lost[0]!r} has no place in a net of {depth} cells.")
    return tuple(cells)


def _conv_norm(before: int, channels: int, stride: int) -> nn.Sequential:
    conv = nn.Conv2d(before, channels, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels))


def as_weights(net: nn.Module, x: Tensor) -> Tensor:
    """Pictures in the dtype of a net's weights: they come in float32, whatever the net is kept in."""
    return x.to(next(net.parameters()).dtype)


class Stem(nn.Module):
    """What stands before the cells. Its batch norms are affine, in supernets too.

    "cifar" is a 3x3 convolution and batch norm; "cifar-half" the same with stride 2, for a quarter of the work.
    "imagenet" is DARTS' for pictures of 224x224 (Liu et al., 2019): a quarter, then an eighth of the size.
    """

    def __init__(self, skeleton: Skeleton, stem: StemKind, in_channels: int, channels: int) -> None:
        super().__init__()
        out = stem_channels(skeleton, stem, channels)
        self.first: nn.Module
        self.second: nn.Module = nn.Identity()
        if stem == "imagenet":
            half = _conv_norm(in_channels, out // 2, 2)
            self.first = nn.Sequential(*half, nn.ReLU(), *_conv_norm(out // 2, out, 2))
            self.second = nn.Sequential(nn.ReLU(), *_conv_norm(out, out, 2))
        else:
            stride = lookup("stem", stem, {"cifar": 1, "cifar-half": 2, "imagenet": 0})
            self.first = _conv_norm(in_channels, out, stride)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The older and the newer input of the first cell; one and the same tensor but on ImageNet."""
        older: Tensor = self.first(x)
        return older, self.second(older)


class ResidualBlock(nn.Module):
    """The reduction of NAS-Bench-201 (Dong & Yang, 2020): two 3x3 convolutions, and average pooling beside them.

    It is affine in supernets too. At an odd size the last pooling window is smaller, so that the branches agree.
    """

    def __init__(self, before: int, channels: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            relu_conv_norm(before, channels, 3, stride=2, affine=True),
            relu_conv_norm(channels, channels, 3, affine=True),
        )
        self.shortcut = nn.Sequential(nn.AvgPool2d(2, 2, ceil_mode=True), nn.Conv2d(before, channels, 1, bias=False))

    def forward(self, x: Tensor, backend: Backend | None = None) -> Tensor:
        """The reduced map, ``(B, channels, ceil(H / 2), ceil(W / 2))``.

        A backend computes the convolutions in training mode.
        """
        out = x
        for conv in self.convs:
            out = applied(conv, out, backend if self.training else None)
        beside: Tensor = self.shortcut(x)
        return out + beside


def preprocess(skeleton: Skeleton, cell: CellPlan, inputs: int, *, affine: bool) -> nn.ModuleList:
    """What brings each input of a cell to the cell's channels and resolution, one module an input.

    A cell with one input reads the previous cell alone. Cells of NAS-Bench-201 take their input as it is.
    """
    if skeleton.single_path:
        return nn.ModuleList([nn.Identity()])
    newer = relu_conv_norm(cell.previous, cell.channels, 1, affine=affine)
    if inputs == 1:
        return nn.ModuleList([newer])
    if cell.after_reduction:
        return nn.ModuleList([FactorizedReduce(cell.before, cell.channels, affine=affine), newer])
    return nn.ModuleList([relu_conv_norm(cell.before, cell.channels, 1, affine=affine), newer])


class GlobalAveragePool(nn.Module):
    """The mean of every channel, ``(B, C, 1, 1)``.

    Its gradient is in the memory format of its input, unlike that of ``nn.AdaptiveAvgPool2d``: a gradient in
    another format than the activations makes the batch norms before it many times slower on a CPU.
    """

    def forward(self, x: Tensor) -> Tensor:
        """The means, ``(B, C, 1, 1)``, of pictures ``(B, C, H, W)``."""
        return F.avg_pool2d(x, x.shape[2:])


def head(skeleton: Skeleton, channels: int, classes: int) -> nn.Sequential:
    """From the last cell's output ``(B, channels, H, W)`` to logits ``(B, classes)``.

    NAS-Bench-201 has batch norm (affine, in supernets too) and ReLU before the global average pool.
    """
    first = [nn.BatchNorm2d(channels), nn.ReLU()] if skeleton.normed_head else []
    return nn.Sequential(*first, GlobalAveragePool(), nn.Flatten(), nn.Linear(channels, classes))
