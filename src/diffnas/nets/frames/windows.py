"""Transformers for sequences: a window is read at once, and nothing is carried from one window to the next."""

from __future__ import annotations

from torch import Tensor, nn

from diffnas.lookup import lookup
from diffnas.nets.cell import Place
from diffnas.nets.frames.chain import layer
from diffnas.nets.frames.frame import MakeCell, Run, Sizes
from diffnas.nets.frames.sequences import Sequences
from diffnas.nets.ops.attention import Table, normal_
from diffnas.nets.ops.transformer import MIXERS, TokenNorm
from diffnas.nets.slot import Form, Stream
from diffnas.skeleton import Transformer


class Windows(Sequences):
    """A transformer on a line of tokens: an embedding and a learned position for each step, layers, a norm and a head.

    A net that predicts the next step reads only the past of each; a net that labels whole sequences reads all real
    steps. A shorter window has the first positions, and a longer one is refused.

    Raises:
        ValueError: if the head shall join the tokens by learned weights, which only pictures have.
    """

    window: int

    def __init__(self, sizes: Sizes, cell: MakeCell) -> None:
        super().__init__(sizes)
        skeleton, width, (self.window,) = sizes.skeleton, sizes.channels, sizes.picture
        assert isinstance(skeleton, Transformer)
        lookup("pool of the steps of a sequence", skeleton.pool, {"mean": None})
        kinds = skeleton.kinds_at(sizes.depth, sizes.joined)
        form: Form = "past" if sizes.tokens or sizes.forecast else "line"
        stream = Stream((1, self.window), len(kinds), skeleton.norm, form)
        self.positions = Table(width, *stream.grid)
        places = [Place(kind=kind, width=width, prepare=[nn.Identity()], stream=stream) for kind in kinds]
        self.cells = nn.ModuleList(map(cell, places))
        self.norm = TokenNorm(width, skeleton.norm, affine=True)
        # In a supernet, each branch has the same constant factor.
        self.share = 1.0 if sizes.affine else len(kinds) ** -0.5
        for each in (self.embedding, self.head):
            if isinstance(each, nn.Embedding | nn.Linear):
                normal_(each.weight)

    def read(self, x: Tensor, real: Tensor | None, run: Run) -> Tensor:
        """The normalized stream after the layers, ``(B, T, n)``.

        Raises:
            ValueError: for more steps than the window has.
        """
        steps = x.shape[1]
        if steps > self.window:
            raise ValueError(
                f"{steps:,} steps are too many: this transformer has positions for {self.window:,}. Cut the sequence, "
                "or train with longer ones."
            )
        for part in self.cells.modules():
            if isinstance(part, MIXERS):
                part.ends.real = None if real is None else real.transpose(1, 2).unsqueeze(1)
        stream = x.transpose(1, 2).unsqueeze(2) + self.positions.values[:, :, :steps]
        for cell in self.cells:
            stream = layer(_STREAM, cell, stream, run, self.share)
        out: Tensor = self.norm(stream)
        return out.squeeze(2).transpose(1, 2)


_STREAM = nn.Identity()
"""The shortcut of every layer."""
