"""Random networks, which a search has to beat."""

from __future__ import annotations

import torch

from diffnas.components.discretize import strongest_inputs
from diffnas.genotype import Genotype
from diffnas.space import SearchSpace

_TRIES = 1000


def drawn(space: SearchSpace, generator: torch.Generator) -> Genotype:
    """A random genotype of a space that can learn: scores are drawn and read off until the genotype has no problems.

    Each operation that an edge offers wins the edge with the same probability. Where nodes choose their inputs,
    ``none`` is left out and each choice of inputs is equally likely. DARTS' baseline of random cells does the same
    (Li & Talwalkar, 2019).

    Args:
        space: the space of the genotype.
        generator: a generator on the CPU, which draws the scores.

    Raises:
        ValueError: if all of 1,000 draws have problems, because hardly any network of the space can learn.

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
