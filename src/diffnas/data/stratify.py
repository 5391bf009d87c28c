"""Splitting and choosing labeled pictures so that every class has its share."""

from __future__ import annotations

import torch
from torch import Tensor

from diffnas.values import FRACTION, PICTURES, SEED


def stratified_split(labels: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """The indices of the first and of the second part, ascending; the second has the same share of every class.

    Args:
        labels: ``(pictures,)``.
        fraction: the second part's share of each class, above 0 and below 1. A class of two or more
            pictures has at least one in each part; a single picture goes into the first part.
        seed: decides which pictures go into which part.

    >>> stratified_split(torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]), 0.25, seed=0)[1].tolist()
    [0, 4]
    """
    fraction = FRACTION.check("the test fraction", fraction)
    generator = torch.Generator().manual_seed(SEED.check("seed", seed))
    second = torch.zeros(len(labels), dtype=torch.bool)
    for members in _members(labels, generator):
        share = min(max(round(fraction * len(members)), 1), len(members) - 1)
        second[members[:share]] = True
    return (~second).nonzero().flatten(), second.nonzero().flatten()


def equal_per_class(labels: Tensor, classes: tuple[str, ...], count: int, seed: int) -> Tensor:
    """The indices of ``count`` pictures, ascending, with the same number of each class as nearly as possible.

    If ``count`` does not divide evenly, the first classes have one picture more. If a class has too few pictures, all
    of them are chosen, and more of the others. With the same seed, and classes of one size, a smaller choice is part
    of a larger one.

    Raises:
        ValueError: if ``count`` is below the number of classes or above the number of pictures, or if pictures can be
            in several classes.

    >>> equal_per_class(torch.tensor([0, 1, 0, 1, 0, 1]), ("a", "b"), 4, seed=0).tolist()
    [0, 3, 4, 5]
    """
    count = PICTURES.check("the number of pictures", count)
    if count < len(classes):
        raise ValueError(f"{count} pictures cannot cover {len(classes)} classes; ask for {len(classes)} or more.")
    generator = torch.Generator().manual_seed(SEED.check("seed", seed))
    if count > len(labels):
        raise ValueError(f"{count} pictures were asked for and there are {len(labels)}. Ask for that many or fewer.")
    members = _members(labels, generator)
    shares = _level([len(indices) for indices in members], count)
    return torch.cat([indices[:share] for indices, share in zip(members, shares, strict=True)]).sort().values


def _level(sizes: list[int], count: int) -> list[int]:
    """How many of ``count`` each class gives: as equal as the sizes allow, the first classes one more if need be."""
    shares = [0] * len(sizes)
    while (left := count - sum(shares)) > 0:
        open_ = [label for label, size in enumerate(sizes) if shares[label] < size]
        each, extra = divmod(left, len(open_))
        for position, label in enumerate(open_):
            shares[label] = min(shares[label] + each + (position < extra), sizes[label])
    return shares


def _members(labels: Tensor, generator: torch.Generator) -> list[Tensor]:
    """The shuffled indices of each class that has pictures; a ValueError if pictures can be in several classes."""
    if labels.ndim == 2:
        raise ValueError(
            "pictures that can be in several classes cannot be chosen by class. Pass the pictures that you mean."
        )
    labels = labels.cpu()
    members = []
    for label in sorted(set(labels.tolist())):
        indices = (labels == label).nonzero().flatten()
        members.append(indices[torch.randperm(len(indices), generator=generator)])
    return members
