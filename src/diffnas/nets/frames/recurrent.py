"""The frames of recurrent nets: they read a sequence step by step, and carry a state.

The cell is that of DARTS (Liu et al., 2019), appendix A.1.2, in the language model of Merity et al. (2018). LSTM and
GRU stand in the same model, in place of the cell.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from diffnas.nets.carried import Carried
from diffnas.nets.cell import Place
from diffnas.nets.frames.frame import MakeCell, Run, Sizes
from diffnas.nets.frames.sequences import Sequences
from diffnas.nets.ops.recurrent import Gate, OverBatch, split
from diffnas.skeleton import Recurrent as RecurrentSkeleton


class Stepwise(Sequences):
    """A net that reads a sequence step by step, and carries a state.

    Attributes:
        parts: how many tensors ``(B, n)`` a state has.
        carried: the state that goes from window to window.
    """

    parts = 1

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes)
        self.carried = Carried()

    @abstractmethod
    def states(self, x: Tensor, before: Tensor, run: Run) -> tuple[Tensor, Tensor]:
        """The output of each step, ``(B, T, n)``, and the state after the last one, ``(parts, B, n)``.

        Args:
            x: embedded inputs, ``(B, T, n)``.
            before: the state before the first step, ``(parts, B, n)``.
            run: computes the cell.
        """

    def read(self, x: Tensor, real: Tensor | None, run: Run) -> Tensor:
        """The output of each step, ``(B, T, n)``; no step depends on a later one, which may not be real."""
        before = self.carried.read(x.new_zeros(self.parts, x.shape[0], self.width))
        whole, after = self.states(x, before, run)
        self.carried.write(after)
        return whole


class Recurrent(Stepwise):
    """A recurrent net with a searched cell.

    The input node of the cell is the state, moved towards the input by a gate. In a supernet, that node and all
    computed ones are normalized over the batch, so that raising all weights into a node changes nothing.
    """

    def __init__(self, sizes: Sizes, cell: MakeCell) -> None:
        super().__init__(sizes)
        n, normed = self.width, not sizes.affine and sizes.skeleton.normed_nodes
        self.from_input, self.from_state = (nn.Linear(n, 2 * n, bias=False) for _ in range(2))
        kind = sizes.skeleton.kinds[0]
        place = Place(kind=kind, width=n, gated=True, prepare=[OverBatch() if normed else nn.Identity()])
        self.cells = nn.ModuleList([cell(place)])
        products = [module.product for module in self.cells.modules() if isinstance(module, Gate)]
        matrices = [self.from_input, self.from_state, *products]
        _start(self, [*matrices, *([self.embedding] if sizes.tokens else [])], sizes.start)

    def states(self, x: Tensor, before: Tensor, run: Run) -> tuple[Tensor, Tensor]:
        """The output of the cell at each step; it is the state too."""
        # Not len(x), which torch.export takes for a constant; the same everywhere in this file.
        shape, dropouts = (x.shape[0], self.width), self.dropouts
        mask_x, mask_h = (self.masks.draw(shape, share, x) for share in (dropouts.dropoutx, dropouts.dropouth))
        for gate in self.cells.modules():
            if isinstance(gate, Gate):
                gate.mask = mask_h
        # The input's part of the first product, for all steps at once.
        read = self.from_input((x if mask_x is None else x * mask_x.unsqueeze(1)).flatten(0, 1))
        state, states = before[0], []
        for step in read.unflatten(0, x.shape[:2]).unbind(1):
            closed, value = split(step + self.from_state(state if mask_h is None else state * mask_h))
            state = run(self.cells[0], (torch.lerp(state, value.tanh(), closed.sigmoid()),))
            states.append(state)
        return torch.stack(states, dim=1), state.unsqueeze(0)


class Layer(Stepwise):
    """A recurrent net with PyTorch's LSTM or GRU in place of a searched cell. It has no ``dropouth``."""

    def __init__(self, sizes: Sizes, cell: MakeCell) -> None:
        super().__init__(sizes)
        skeleton = sizes.skeleton
        assert isinstance(skeleton, RecurrentSkeleton)
        made = {"lstm": nn.LSTM, "gru": nn.GRU}[skeleton.layer]
        self.layer = made(self.width, self.width, batch_first=True)
        self.parts = 2 if made is nn.LSTM else 1
        _start(self, [self.embedding] if sizes.tokens else [], sizes.start)

    def states(self, x: Tensor, before: Tensor, run: Run) -> tuple[Tensor, Tensor]:
        """The output of the layer at each step, and its state."""
        mask = self.masks.draw((x.shape[0], 1, self.width), self.dropouts.dropoutx, x)
        begun = before if self.parts == 1 else before.chunk(2)
        states, after = self.layer(x if mask is None else x * mask, begun)
        return states, after if self.parts == 1 else torch.cat(after)


def _start(frame: Stepwise, modules: Sequence[nn.Module], start: float | None) -> None:
    """Draw the initial matrices of some modules."""
    bound = frame.width**-0.5 if start is None else start
    for module in modules:
        assert isinstance(module.weight, Tensor)
        nn.init.uniform_(module.weight, -bound, bound)
