"""The frame of DARTS (Liu et al., 2019): cells that read the two cells before them."""

from __future__ import annotations

from torch import Tensor, nn

from diffnas.nets.auxiliary import Output
from diffnas.nets.cell import Place
from diffnas.nets.frames.frame import Frame, MakeCell, Run, Sizes
from diffnas.nets.frames.parts import GlobalAveragePool, Stem, as_weights, auxiliary_head
from diffnas.nets.frames.plan import CellPlan, plan
from diffnas.nets.ops import FactorizedReduce, relu_conv_norm


class Darts(Frame):
    """A stem, cells of which two reduce, at one third and two thirds of the depth, and a linear head.

    There is an auxiliary head too, if ``sizes`` asks for it.
    """

    def __init__(self, sizes: Sizes, cell: MakeCell) -> None:
        super().__init__()
        cells = self.plan = plan(sizes.skeleton, sizes.joined, sizes.channels, sizes.depth, sizes.stem)
        self.stem = Stem(sizes.stem, sizes.inputs, cells[0].previous)
        self.cells = nn.ModuleList(cell(_place(each, sizes)) for each in cells)
        self.head = nn.Sequential(GlobalAveragePool(), nn.Flatten(), nn.Linear(cells[-1].out, sizes.outputs))
        self.auxiliary_at, self.auxiliary = auxiliary_head(sizes, cells)

    def forward(self, x: Tensor, run: Run) -> Output:
        """Logits of pictures ``(B, C, H, W)``; those of the auxiliary head too, in training mode."""
        older, newer = self.stem(as_weights(self, x))
        auxiliary = None
        for index, cell in enumerate(self.cells):
            older, newer = newer, run(cell, (older, newer)[-len(cell.inputs) :])  # type: ignore[arg-type]
            if self.auxiliary is not None and self.training and index == self.auxiliary_at:
                auxiliary = self.auxiliary(newer)
        return Output(self.head(newer), auxiliary)


def _place(cell: CellPlan, sizes: Sizes) -> Place:
    assert cell.kind is not None
    prepare = preprocess(cell, sizes.reads[cell.kind], affine=sizes.affine)
    return Place(kind=cell.kind, width=cell.channels, stride=2 if cell.reduces else 1, prepare=prepare)


def preprocess(cell: CellPlan, inputs: int, *, affine: bool) -> list[nn.Module]:
    """The layers that bring each input of a cell to its channels and resolution.

    A cell with a single input reads only the previous cell.
    """
    newer = relu_conv_norm(cell.previous, cell.channels, 1, affine=affine)
    if inputs == 1:
        return [newer]
    if cell.after_reduction:
        return [FactorizedReduce(cell.before, cell.channels, affine=affine), newer]
    return [relu_conv_norm(cell.before, cell.channels, 1, affine=affine), newer]
