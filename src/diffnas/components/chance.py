"""Networks that nobody chose: what a search has to beat."""

from __future__ import annotations

import torch

from diffnas.components.discretize import strongest_inputs
from diffnas.genotype import Genotype
from diffnas.space import SearchSpace

_TRIES = 1000


def drawn(space: SearchSpace, generator: torch.Generator) -> Genotype:
    """A genotype of a space, read off random scores; drawn again while it has problems, so that it can learn.

    Every operation that an edge offers wins it with the same probability. Where nodes choose their inputs, ``none`` is
    left out and every choice of inputs is equally likely, as DARTS' baseline of random cells has it (Li & Talwalkar,
    2019).

    Args:
        space: what may be drawn.
        generator: where the scores are drawn from, on the CPU.

    Raises:
        ValueError: for a space in which next to nothing can learn.

    >>> from diffnas.space import nas_bench_201
    >>> drawn(nas_bench_201, torch.Generator().manual_seed(0)).problems()
    ()
    """
    keep = torch.tensor(space.offered)
    for _ in range(_TRIES):
        found = strongest_inputs(torch.rand(keep.shape, generator=generator), keep, space)
        if not found.problems():
            return found
    raise ValueError(f"of {_TRIES} random networks of the space {space.name!r} none is sound: {found.problems()[0]}")
