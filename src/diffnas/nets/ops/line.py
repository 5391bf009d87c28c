"""The parts of operations that read a line of tokens, ``(B, d, 1, N)``: those of a grid with a side of 1.

In the form "past" a token reads only itself and the tokens before it, so that a net can predict the next one.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from diffnas.nets.slot import Form


class Ends:
    """Where the sequences of a batch end. The frame of labelled sequences says it before each pass.

    Attributes:
        real: which tokens are real, ``(B, 1, 1, N)``, bool; the others only fill up shorter sequences. None if all are.
    """

    def __init__(self) -> None:
        self.real: Tensor | None = None

    def cleared(self, x: Tensor) -> Tensor:
        """Tokens ``(B, d, 1, N)``, with zeros for those that are not real."""
        return x if self.real is None else x * self.real


def reach(size: int, form: Form) -> tuple[int, int]:
    """How many tokens before and after a token are among the ``size`` that are read.

    >>> reach(3, "line"), reach(3, "past")
    ((1, 1), (2, 0))
    """
    return (size - 1, 0) if form == "past" else (size // 2, size // 2)


class Along(nn.Module):
    """A convolution of each channel along a line of tokens, with zeros around the line; no bias."""

    def __init__(self, channels: int, kernel: int, form: Form) -> None:
        super().__init__()
        self.reach = reach(kernel, form)
        self.conv = nn.Conv2d(channels, channels, (1, kernel), groups=channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """The result, ``(B, d, 1, N)``."""
        out: Tensor = self.conv(F.pad(x, self.reach))
        return out


class LinePooled(nn.Module):
    """The mean of the neighbors of each token, or of those before it, minus the token."""

    def __init__(self, kernel: int, form: Form) -> None:
        super().__init__()
        self.kernel, self.reach, self.ends = kernel, reach(kernel, form), Ends()

    def forward(self, x: Tensor) -> Tensor:
        """The difference, ``(B, d, 1, N)``; 0 where all neighbors are equal."""
        real = x.new_ones(x.shape[2:]).expand(1, 1, -1, -1) if self.ends.real is None else self.ends.real.to(x.dtype)
        share = self._mean(real).clamp_min(1 / self.kernel)  # above 0, where no neighbor is real
        return self._mean(self.ends.cleared(x)) / share - x

    def _mean(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(F.pad(x, self.reach), (1, self.kernel), 1)
