"""The kinds of convolution that backends know, as numbers."""

from __future__ import annotations

from typing import NamedTuple

SEPARABLE, POINTWISE, PAIRS, DENSE, DEPTHWISE = range(5)
"""The kinds: depthwise and then 1x1; 1x1; two 1x1 side by side, on the even and on the odd pixels; dense; depthwise."""


class Geometry(NamedTuple):
    """What a branch computes from a map; the fields are those of the compiled kernels.

    With ``rectifies``, a ReLU comes before the convolution.
    """

    kind: int
    kernel: int = 1
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    rectifies: bool = True

    def size(self, length: int) -> int:
        """Rows or columns of the result for those of the map; ValueError for fewer than the kernel spans."""
        if self.kind == PAIRS:
            return (length + 1) // 2
        left = length + 2 * self.padding - self.dilation * (self.kernel - 1)
        if left < 1:
            raise ValueError(f"{self} spans more than {length} pixels; pad more, or give it a larger map.")
        return (left - 1) // self.stride + 1

    @property
    def margin(self) -> int:
        """Zeros around the map that the forward or the backward pass reads."""
        return 1 if self.kind == PAIRS else max(self.padding, self.dilation * (self.kernel - 1) - self.padding)
