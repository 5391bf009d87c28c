"""Operations on pictures, in a table from their names to their factories.

Every operation maps ``(B, C, H, W)`` to ``(B, C, ceil(H / stride), ceil(W / stride))`` for any H and W, so that results
can be added. No ReLU works in place, because the same tensor feeds several operations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffnas.convolutions import CONVOLUTIONS, Convolution
from diffnas.nets.depthwise import depthwise
from diffnas.nets.geometry import DENSE, PAIRS, POINTWISE, SEPARABLE, Geometry
from diffnas.nets.links import Link, in_a_row, linked
from diffnas.nets.masks import Masks
from diffnas.nets.slot import OpFactory, Slot
from diffnas.nets.wiring import every


class Zero(nn.Module):
    """``none``: new zeros, not the input times 0, which would pass on nan and infinity."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Zeros, ``(B, C, ceil(H / stride), ceil(W / stride))``."""
        return torch.zeros_like(every(x, self.stride))


class Noise(nn.Module):
    """``noise``: standard normal noise of the input's shape, drawn in each pass; S4 of RobustDARTS (Zela et al., 2020).

    It draws from ``generator``, or torch's global one if that is None; ``draw_noise_from`` sets it for a whole net.
    """

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.generator: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Noise, ``(B, C, ceil(H / stride), ceil(W / stride))``."""
        noise = torch.empty_like(every(x, self.stride))
        # The same numbers in every layout, and drawn in the one for which torch has a fast way.
        drawn = noise if noise.is_contiguous() else torch.empty_like(noise, memory_format=torch.contiguous_format)
        return noise.copy_(drawn.normal_(generator=self.generator))


def drawing(net: nn.Module) -> list[Noise | Masks]:
    """Every ``noise`` operation and every dropout mask of a net: the modules that draw random numbers."""
    return [module for module in net.modules() if isinstance(module, Noise | Masks)]


def draw_noise_from(parts: Iterable[Noise | Masks], generator: torch.Generator | None) -> None:
    """Make the modules of ``drawing`` draw from ``generator``, which is on the net's device."""
    for part in parts:
        part.generator = generator


class DroppedSkip(nn.Module):
    """A skip connection with dropout in training mode, as in P-DARTS (Chen et al., 2019).

    It drops a share of its elements, ``rate``, which ``drop_skips`` sets for a whole net, and scales up the others.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rate = 0.0

    def forward(self, x: Tensor) -> Tensor:
        """``x``, in training mode with dropped elements."""
        return F.dropout(x, self.rate, self.training) if self.rate else x


def drop_skips(net: nn.Module, rate: float) -> None:
    """Make every skip connection with dropout drop this share of its elements."""
    for module in net.modules():
        if isinstance(module, DroppedSkip):
            module.rate = rate


class Depthwise(nn.Module):
    """A depthwise convolution that keeps the resolution, or divides it by the stride; no bias."""

    def __init__(self, channels: int, kernel: int, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.stride, self.dilation, self.padding = stride, dilation, dilation * (kernel - 1) // 2
        # Never called. It holds the weight, and draws it as torch does.
        self.conv = nn.Conv2d(channels, channels, kernel, groups=channels, bias=False)

    @property
    def weight(self) -> Tensor:
        """The kernels, ``(C, 1, kernel, kernel)``."""
        return self.conv.weight

    def forward(self, x: Tensor) -> Tensor:
        """Each channel convolved with its own kernel, ``(B, C, ceil(H / stride), ceil(W / stride))``."""
        return depthwise(x, self.conv.weight, stride=self.stride, padding=self.padding, dilation=self.dilation)


class Separable(nn.Module):
    """ReLU, depthwise convolution, 1x1 convolution to ``out`` channels (as many as before if None), batch norm."""

    def __init__(
        self, channels: int, kernel: int, *, stride: int, affine: bool, dilation: int = 1, out: int | None = None
    ) -> None:
        super().__init__()
        out = channels if out is None else out
        self.depthwise = Depthwise(channels, kernel, stride=stride, dilation=dilation)
        self.pointwise = nn.Conv2d(channels, out, 1, bias=False)
        self.norm = nn.BatchNorm2d(out, affine=affine)
        geometry = Geometry(SEPARABLE, kernel, stride, self.depthwise.padding, dilation)
        convolve = partial(_separably, self.depthwise, self.pointwise)
        modules = self.depthwise.conv, self.pointwise
        linked(self, Link(convolve=convolve, modules=modules, after=self.norm, geometry=geometry))

    def forward(self, x: Tensor) -> Tensor:
        """The block's output, ``(B, out, ceil(H / stride), ceil(W / stride))``."""
        out: Tensor = self.norm(_separably(self.depthwise, self.pointwise, x))
        return out


def _separably(depthwise: Depthwise, pointwise: nn.Conv2d, x: Tensor) -> Tensor:
    out: Tensor = pointwise(depthwise(F.relu(x)))
    return out


class FactorizedReduce(nn.Module):
    """Halves the resolution: two 1x1 convolutions, of the even and of the odd pixels, concatenated along channels.

    At even sizes it is that of DARTS (Liu et al., 2019). An odd size is padded at its end with zeros to the next even
    one, so that both results have the same size.

    >>> FactorizedReduce(3, 8, affine=True)(torch.zeros(2, 3, 9, 8)).shape
    torch.Size([2, 8, 5, 4])
    """

    def __init__(self, before: int, channels: int, *, affine: bool) -> None:
        super().__init__()
        self.even = nn.Conv2d(before, channels // 2, 1, bias=False)
        self.odd = nn.Conv2d(before, channels - channels // 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels, affine=affine)
        convolve, modules = partial(_by_halves, self.even, self.odd), (self.even, self.odd)
        linked(self, Link(convolve=convolve, modules=modules, after=self.norm, geometry=Geometry(PAIRS, 1, 2)))

    def forward(self, x: Tensor) -> Tensor:
        """The reduced map, ``(B, channels, ceil(H / 2), ceil(W / 2))``."""
        out: Tensor = self.norm(_by_halves(self.even, self.odd, x))
        return out


def _by_halves(even: nn.Conv2d, odd: nn.Conv2d, x: Tensor) -> Tensor:
    # To select the pixels and then convolve is 1.4 to 2.5 times as fast on a CPU as convolutions of stride 2.
    first, second = F.relu(x[:, :, ::2, ::2]), F.relu(x[:, :, 1::2, 1::2])
    height, width = x.shape[2] % 2, x.shape[3] % 2
    if height or width:
        second = F.pad(second, (0, width, 0, height))
    return torch.cat([even(first), odd(second)], dim=1)


def relu_conv_norm(
    before: int,
    channels: int,
    kernel: int,
    *,
    affine: bool,
    stride: int = 1,
    padding: int | None = None,
    dilation: int = 1,
    bias: bool = False,
) -> nn.Sequential:
    """ReLU, convolution, batch norm.

    With ``padding`` of None the resolution is kept, or divided by the stride.
    """
    norm = nn.BatchNorm2d(channels, affine=affine)
    padding = dilation * (kernel - 1) // 2 if padding is None else padding
    assert padding <= dilation * (kernel - 1)  # with more, some results would read only padding
    geometry = Geometry(POINTWISE if (kernel, stride) == (1, 1) else DENSE, kernel, stride, padding, dilation)
    if kernel == 1 and stride > 1:
        # First the pixels are selected, then convolved. With fewer than eight channels, the gradient of a strided 1x1
        # convolution writes past its memory in oneDNN on machines with AVX2 (oneDNN #6035).
        pool, conv = [nn.AvgPool2d(1, stride)], nn.Conv2d(before, channels, 1, bias=bias)
    else:
        pool = []
        conv = nn.Conv2d(before, channels, kernel, stride, padding, dilation, bias=bias)
    convolve = partial(_rectified, nn.Sequential(*pool, conv) if pool else conv)
    link = Link(convolve=convolve, modules=(conv,), after=norm, geometry=geometry)
    return linked(nn.Sequential(nn.ReLU(), *pool, conv, norm), link)


def _rectified(conv: nn.Module, x: Tensor) -> Tensor:
    out: Tensor = conv(F.relu(x))
    return out


def _kept(make: Callable[[int], nn.Module]) -> OpFactory:
    """The factory of an operation that depends on nothing but the stride."""
    return lambda slot: make(slot.stride)


def _pool(make: Callable[[int], nn.Module]) -> OpFactory:
    def build(slot: Slot) -> nn.Module:
        pool = make(slot.stride)
        return nn.Sequential(pool, nn.BatchNorm2d(slot.width, affine=slot.affine)) if slot.pool_norm else pool

    return build


def _skip(slot: Slot) -> nn.Module:
    return nn.Identity() if slot.stride == 1 else FactorizedReduce(slot.width, slot.out, affine=slot.affine)


def _convolution(of: Convolution) -> OpFactory:
    def build(slot: Slot) -> nn.Module:
        width, out, stride, affine = slot.width, slot.out, slot.stride, slot.affine
        if of.dense:
            # NAS-Bench-201 gives a convolution a bias exactly if its batch norm has none.
            return relu_conv_norm(width, out, of.kernel, stride=stride, affine=affine, bias=not affine)
        layer = partial(Separable, kernel=of.kernel, affine=affine, dilation=of.dilation)
        if of.layers == 1:
            return layer(width, stride=stride, out=out)
        between = of.width * width
        return in_a_row(layer(width, stride=stride, out=between), layer(between, stride=1, out=out))

    return build


def _conv_7x1_1x7(slot: Slot) -> nn.Module:
    width, out, stride = slot.width, slot.out, slot.stride
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(width, width, (1, 7), stride=(1, stride), padding=(0, 3), bias=False),
        nn.Conv2d(width, out, (7, 1), stride=(stride, 1), padding=(3, 0), bias=False),
        nn.BatchNorm2d(out, affine=slot.affine),
    )


PICTURES: dict[str, OpFactory] = {
    "none": _kept(Zero),
    "max_pool_3x3": _pool(lambda stride: nn.MaxPool2d(3, stride, padding=1)),
    "avg_pool_3x3": _pool(lambda stride: nn.AvgPool2d(3, stride, padding=1, count_include_pad=False)),
    "skip_connect": _skip,
    "conv_7x1_1x7": _conv_7x1_1x7,
    "noise": _kept(Noise),
    **{name: _convolution(of) for name, of in CONVOLUTIONS.items()},
}
"""The operations on pictures. They are those of DARTS (Liu et al., 2019), section 3.1, of the NASNet and AmoebaNet
cells, and of NAS-Bench-201 (Dong & Yang, 2020). The convolutions of Prune and Replace NAS (Laube & Zell, 2019) are
here too."""
