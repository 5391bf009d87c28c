"""The frames, by name. A frame of your own is one more row of ``FRAMES``."""

from __future__ import annotations

from diffnas.lookup import lookup
from diffnas.nets.frames.chain import Chain
from diffnas.nets.frames.darts import Darts
from diffnas.nets.frames.frame import Frame, FrameFactory, MakeCell, Run, Sizes
from diffnas.nets.frames.nas_bench_201 import NasBench201
from diffnas.skeleton import DARTS, NAS_BENCH_201

__all__ = ["FRAMES", "Frame", "FrameFactory", "MakeCell", "Run", "Sizes", "build_frame"]

FRAMES: dict[str, FrameFactory] = {DARTS.name: Darts, NAS_BENCH_201.name: NasBench201, "chain": Chain}
"""The class of each frame, by the name that a skeleton gives as its ``frame``."""


def build_frame(sizes: Sizes, cell: MakeCell) -> Frame:
    """The frame of a skeleton, with its cells, which ``cell`` makes.

    Raises:
        ValueError: if the skeleton's frame is not in ``FRAMES``, or for sizes that no net can have.
    """
    return lookup("frame", sizes.skeleton.frame, FRAMES)(sizes, cell)
