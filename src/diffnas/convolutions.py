"""A family of convolutions: the numbers in which they differ, their names, and single changes between them. No torch.

A name begins as in DARTS or NAS-Bench-201; numbers that differ from theirs are added at its end:

    sep_conv_5x5                two layers of ReLU, depthwise 5x5, 1x1 and batch norm
    sep_conv_5x5_layers1        one such layer
    sep_conv_5x5_width3         two layers, with three times the channels between them
    dil_conv_5x5                one layer, dilated by 2
    dil_conv_5x5_layers2        two layers, each dilated by 2
    nor_conv_3x3                ReLU, one dense convolution and batch norm

The family is that of Prune and Replace NAS (Laube & Zell, 2019), which makes new operations by changing old ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class Convolution:
    """The numbers that define a convolution.

    Attributes:
        kernel: side of the kernel, odd.
        dilation: distance between its taps, 1 or 2.
        layers: number of layers, 1 or 2, all with this kernel and dilation; only the first has the stride.
        width: channels between two layers, as a multiple of the channels outside.
        dense: whether its only layer has one dense convolution in place of a depthwise and a 1x1 convolution.
    """

    kernel: int
    dilation: int = 1
    layers: int = 1
    width: int = 1
    dense: bool = False

    @property
    def name(self) -> str:
        """The name of the operation.

        >>> Convolution(kernel=3, layers=2).name, Convolution(kernel=5, dilation=2, layers=2, width=4).name
        ('sep_conv_3x3', 'dil_conv_5x5_layers2_width4')
        """
        kind, usual = ("dil", 1) if self.dilation > 1 else ("sep", 2)
        name = f"{'nor' if self.dense else kind}_conv_{self.kernel}x{self.kernel}"
        if self.layers != usual and not self.dense:
            name += f"_layers{self.layers}"
        return name if self.width == 1 else f"{name}_width{self.width}"


def family(*, kernels: Sequence[int], widths: Sequence[int]) -> tuple[Convolution, ...]:
    """All separable convolutions with these kernels: one layer, or two layers in each width, dilated or not.

    A 1x1 kernel is never dilated.

    >>> [each.name for each in family(kernels=[3], widths=[1])]
    ['sep_conv_3x3_layers1', 'sep_conv_3x3', 'dil_conv_3x3', 'dil_conv_3x3_layers2']
    """
    return tuple(
        Convolution(kernel=kernel, dilation=dilation, layers=layers, width=width)
        for kernel in kernels
        for dilation in ((1,) if kernel == 1 else (1, 2))
        for layers, width in [(1, 1), *((2, width) for width in widths)]
    )


DARTS_LIKE = family(kernels=(3, 5, 7), widths=(1,))
"""The family DL of Laube & Zell (2019): kernels of DARTS (3, 5 and 7), dilated or not, with one or two layers."""

DEPTH_RESTRICTED = family(kernels=(1, 3, 5, 7), widths=(1, 2, 3, 4, 5))
"""The family DR of Laube & Zell (2019): also 1x1 kernels, and up to five times the channels between two layers."""

_DENSE = (Convolution(kernel=1, dense=True), Convolution(kernel=3, dense=True))

CONVOLUTIONS: dict[str, Convolution] = {each.name: each for each in (*DEPTH_RESTRICTED, *_DENSE)}
"""All convolutions that diffnas knows, by name."""

_KNOWN = frozenset(CONVOLUTIONS.values())


def changed(op: str) -> tuple[str, ...]:
    """The names of the operations that differ from ``op`` by one change; none if ``op`` is no known convolution.

    The changes of Laube & Zell (2019) are: a kernel larger or smaller by 2, a dilation larger or smaller by 1, one more
    layer, and a width larger by 1.

    >>> changed("sep_conv_3x3_layers1")
    ('sep_conv_5x5_layers1', 'sep_conv_1x1_layers1', 'dil_conv_3x3', 'sep_conv_3x3')
    >>> changed("skip_connect")
    ()
    """
    own = CONVOLUTIONS.get(op)
    return () if own is None else tuple(each.name for each in _changes(own) if each in _KNOWN)


def _changes(own: Convolution) -> Iterator[Convolution]:
    yield replace(own, kernel=own.kernel + 2)
    yield replace(own, kernel=own.kernel - 2)
    yield replace(own, dilation=own.dilation + 1)
    yield replace(own, dilation=own.dilation - 1)
    yield replace(own, layers=own.layers + 1)
    yield replace(own, width=own.width + 1)
