"""Operations of residual chains, in a table from their names to their factories.

The last batch norm has a weight and a bias if the slot is affine; the batch norms before it always have. In a supernet
the last one brings the result to unit variance, so the scale of an operation is that of its mixing weight alone.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from diffnas.nets.geometry import DEPTHWISE, POINTWISE, Geometry
from diffnas.nets.links import Link, in_a_row, linked
from diffnas.nets.ops.pictures import Depthwise, relu_conv_norm
from diffnas.nets.slot import OpFactory, Slot


def residual(slot: Slot, *, kernel: int = 3, halved: bool = False) -> nn.Module:
    """Two convolutions, each after a ReLU: the block of pre-activation ResNets (He et al., 2016).

    With ``halved``, there are half as many channels between the two.
    """
    between = max(slot.out // 2, 1) if halved else slot.out
    return in_a_row(
        relu_conv_norm(slot.width, between, kernel, stride=slot.stride, affine=True),
        relu_conv_norm(between, slot.out, kernel, affine=slot.affine),
    )


def inverted(slot: Slot, *, kernel: int, expansion: int) -> nn.Module:
    """The inverted bottleneck of MobileNetV2 (Sandler et al., 2018).

    It is a 1x1 convolution to ``expansion`` times the channels, a depthwise one, and a 1x1 one. With an expansion of 1
    the first is left out.
    """
    wide = expansion * slot.width
    expand = [_pointwise(slot.width, wide), nn.BatchNorm2d(wide), nn.ReLU()] if expansion > 1 else []
    depthwise = Depthwise(wide, kernel, stride=slot.stride)
    last = nn.BatchNorm2d(slot.out, affine=slot.affine)
    return chained(*expand, depthwise, nn.BatchNorm2d(wide), nn.ReLU(), _pointwise(wide, slot.out), last)


def spread(slot: Slot, *, kernel: int) -> nn.Module:
    """Depthwise, 1x1 to four times the channels, 1x1: the block of ConvNeXt (Liu et al., 2022), with batch norm."""
    return chained(
        Depthwise(slot.width, kernel, stride=slot.stride),
        nn.BatchNorm2d(slot.width),
        _pointwise(slot.width, 4 * slot.width),
        nn.ReLU(),
        _pointwise(4 * slot.width, slot.out),
        nn.BatchNorm2d(slot.out, affine=slot.affine),
    )


def chained(*modules: nn.Module) -> nn.Sequential:
    """Convolutions, batch norms and ReLUs in sequence, with their links.

    A link is a convolution with the ReLU before it and the batch norm after it.
    """
    found = []
    for before, module, after in zip((None, *modules[:-1]), modules, (*modules[1:], None), strict=True):
        if isinstance(module, nn.Conv2d | Depthwise):
            rectifies, norm = isinstance(before, nn.ReLU), after if isinstance(after, nn.BatchNorm2d) else None
            if isinstance(module, Depthwise):
                conv, kernel = module.conv, module.weight.shape[-1]
                geometry = Geometry(DEPTHWISE, kernel, module.stride, module.padding, module.dilation, rectifies)
            else:
                assert (module.kernel_size, module.stride, module.groups, module.bias) == ((1, 1), (1, 1), 1, None)
                conv, geometry = module, Geometry(POINTWISE, rectifies=rectifies)
            convolve = partial(_convolved, module, rectifies)
            found.append(Link(convolve=convolve, modules=(conv,), after=norm, geometry=geometry))
    return linked(nn.Sequential(*modules), *found)


def _convolved(conv: nn.Module, rectifies: bool, x: Tensor) -> Tensor:
    out: Tensor = conv(F.relu(x) if rectifies else x)
    return out


def _pointwise(before: int, out: int) -> nn.Conv2d:
    return nn.Conv2d(before, out, 1, bias=False)


CHAIN: dict[str, OpFactory] = {
    "res_3": residual,
    "res_3_half": partial(residual, halved=True),
    **{
        f"mb_{kernel}_{expansion}": partial(inverted, kernel=kernel, expansion=expansion)
        for kernel in (3, 5, 7)
        for expansion in range(1, 7)
    },
    **{f"next_{kernel}": partial(spread, kernel=kernel) for kernel in (5, 7)},
}
"""The operations of residual chains: ``res_3``, ``mb_KERNEL_EXPANSION`` and ``next_KERNEL``."""
