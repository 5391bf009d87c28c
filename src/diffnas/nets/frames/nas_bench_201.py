"""The frame of NAS-Bench-201 (Dong & Yang, 2020): cells that keep the channels, and residual blocks between them."""

from __future__ import annotations

from torch import Tensor, nn

from diffnas.nets.auxiliary import Output
from diffnas.nets.backend import Backend, applied
from diffnas.nets.cell import Place
from diffnas.nets.frames.frame import Frame, MakeCell, Run, Sizes
from diffnas.nets.frames.parts import GlobalAveragePool, Stem, as_weights, auxiliary_head
from diffnas.nets.frames.plan import plan
from diffnas.nets.ops import relu_conv_norm


class ResidualBlock(nn.Module):
    """The reduction of NAS-Bench-201 (Dong & Yang, 2020): two 3x3 convolutions, and a shortcut with average pooling.

    Its batch norms have a weight and a bias in supernets too. At an odd size the last pooling window is smaller, so
    that both branches have the same size.
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


class NasBench201(Frame):
    """A stem, cells that each read the previous one without preparation, residual blocks between them, and a head.

    The head begins with a batch norm, which has a weight and a bias in supernets too, and a ReLU.
    """

    def __init__(self, sizes: Sizes, cell: MakeCell) -> None:
        super().__init__()
        cells = self.plan = plan(sizes.skeleton, sizes.joined, sizes.channels, sizes.depth, sizes.stem)
        self.stem = Stem(sizes.stem, sizes.inputs, cells[0].previous)
        self.cells = nn.ModuleList(
            ResidualBlock(each.previous, each.channels)
            if each.kind is None
            else cell(Place(kind=each.kind, width=each.channels, prepare=[nn.Identity()]))
            for each in cells
        )
        out = cells[-1].out
        self.head = nn.Sequential(
            nn.BatchNorm2d(out), nn.ReLU(), GlobalAveragePool(), nn.Flatten(), nn.Linear(out, sizes.outputs)
        )
        self.auxiliary_at, self.auxiliary = auxiliary_head(sizes, cells)

    def forward(self, x: Tensor, run: Run) -> Output:
        """Logits of pictures ``(B, C, H, W)``; those of the auxiliary head too, in training mode."""
        _, x = self.stem(as_weights(self, x))
        auxiliary = None
        for index, part in enumerate(self.cells):
            x = run(part, (x,))
            if self.auxiliary is not None and self.training and index == self.auxiliary_at:
                auxiliary = self.auxiliary(x)
        return Output(self.head(x), auxiliary)
