"""The frames, by name. A space may have a frame of its own."""

from __future__ import annotations

from diffnas.components.contract import Role, call, check_callable, refuse
from diffnas.nets.frames.chain import chain
from diffnas.nets.frames.darts import Darts
from diffnas.nets.frames.frame import Dropouts, Frame, FrameFactory, MakeCell, Reading, Run, Sizes
from diffnas.nets.frames.nas_bench_201 import NasBench201
from diffnas.nets.frames.recurrent import Layer, Recurrent
from diffnas.nets.frames.transformer import transformer
from diffnas.skeleton import DARTS, GRU, LSTM, NAS_BENCH_201, RECURRENT, TRANSFORMER, TRANSFORMER_GRAPH, Own

__all__ = [
    "FRAME",
    "FRAMES",
    "Dropouts",
    "Frame",
    "FrameFactory",
    "MakeCell",
    "Reading",
    "Run",
    "Sizes",
    "build_frame",
]

FRAMES: dict[str, FrameFactory] = {
    DARTS.name: Darts,
    NAS_BENCH_201.name: NasBench201,
    "chain": chain,
    TRANSFORMER.name: transformer,
    TRANSFORMER_GRAPH.name: transformer,
    RECURRENT.name: Recurrent,
    **dict.fromkeys((LSTM.name, GRU.name), Layer),
}
"""What makes each frame, by the name that a skeleton gives as its ``frame``."""

FRAME = Role("frame", ("sizes", "cell"))


def build_frame(sizes: Sizes, cell: MakeCell) -> Frame:
    """The frame of a net, with its cells, which ``cell`` makes.

    Raises:
        ValueError: if a frame of the user's own is missing or makes no ``Frame``, or for sizes that no net can have.
    """
    if sizes.frame is None:
        if isinstance(sizes.skeleton, Own):
            raise ValueError(
                f"the cells stand in a frame of your own, {sizes.skeleton.name!r}: give it as frame=, in Python."
            )
        return FRAMES[sizes.skeleton.frame](sizes, cell)
    check_callable(FRAME, sizes.frame, classes=True)
    made: Frame = call(FRAME, sizes.frame, sizes, cell)
    if not isinstance(made, Frame):
        refuse(FRAME, sizes.frame, "a diffnas.nets.frames.Frame", made)
    return made
