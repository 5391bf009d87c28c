"""Parts of the frames for pictures: the stem, the auxiliary head, and the pool before the head."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from diffnas.lookup import lookup
from diffnas.nets.auxiliary import AuxiliaryHead
from diffnas.nets.frames.frame import Sizes
from diffnas.nets.frames.plan import CellPlan
from diffnas.skeleton import StemKind


def _conv_norm(before: int, channels: int, stride: int) -> nn.Sequential:
    conv = nn.Conv2d(before, channels, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels))


def as_weights(net: nn.Module, x: Tensor) -> Tensor:
    """Pictures in the dtype of a net's weights. They are prepared in float32, also for a net in float64."""
    return x.to(next(net.parameters()).dtype)


class Stem(nn.Module):
    """The layers before the cells. Their batch norms have a weight and a bias in supernets too.

    "cifar" is a 3x3 convolution and batch norm; "cifar-half" is the same with stride 2, for a quarter of the work.
    "imagenet" is that of DARTS for pictures of 224x224 (Liu et al., 2019). Its first output has a quarter of the height
    and width of the pictures, its second output an eighth.
    """

    def __init__(self, stem: StemKind, in_channels: int, out: int) -> None:
        super().__init__()
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
        """The older and the newer input of the first cell. They are the same tensor unless the stem is "imagenet"."""
        older: Tensor = self.first(x)
        return older, self.second(older)


def auxiliary_head(sizes: Sizes, cells: Sequence[CellPlan]) -> tuple[int, AuxiliaryHead | None]:
    """The number of the cell that the auxiliary head reads, and the head, None if ``sizes`` does not ask for it."""
    at = 2 * len(cells) // 3
    made = AuxiliaryHead(cells[at].out, sizes.outputs, imagenet=sizes.stem == "imagenet") if sizes.auxiliary else None
    return at, made


class GlobalAveragePool(nn.Module):
    """The mean of every channel, ``(B, C, 1, 1)``.

    Its gradient has the memory format of its input, unlike that of ``nn.AdaptiveAvgPool2d``. On a CPU, a gradient in
    another format than the activations makes the batch norms before it many times slower.
    """

    def forward(self, x: Tensor) -> Tensor:
        """The means, ``(B, C, 1, 1)``, of pictures ``(B, C, H, W)``."""
        return F.avg_pool2d(x, x.shape[2:])
