"""Pretext tasks: what a supernet learns from pictures without labels, before the search.

A pretext makes its own targets from a batch of pictures, and has a head of its own in place of the classifier. Both
are thrown away when the search begins; what stays are the weights of the other layers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional

from diffnas.components.contract import Role, check_callable
from diffnas.components.level import Batch
from diffnas.components.views import blanked, two_views
from diffnas.task import Metric, Task, classification
from diffnas.values import check_fields, whole

TARGETS = Role("batch of the pretext", ("pictures", "generator"))
HEAD = Role("head of the pretext", ("features", "channels"))


@dataclass(frozen=True, kw_only=True)
class Pretext:
    """What a supernet learns before a search.

    Attributes:
        name: what the trace calls it.
        batch: from pictures, ``(B, C, H, W)``, augmented and normalized, and a generator on their device, to the
            pictures that the net sees, ``(B', C, H, W)``, and their targets, ``(B', ...)``.
        head: from the number of features of the last map, and the channels of the pictures, to the module in place of
            the classifier.
        task: the loss of the head's outputs and the targets, and what is measured.
        of_map: whether the head reads the last map, ``(B', features, h, w)``, in place of its mean,
            ``(B', features)``.
        least: the smallest batch that can be learned.
        advised: the smallest batch that is advised.
        square: whether it needs square pictures; others are cropped to their middle.

    Raises:
        ValueError: if a part cannot be called as said here.
    """

    name: str
    batch: Callable[[Tensor, torch.Generator], Batch]
    head: Callable[[int, int], nn.Module]
    task: Task
    of_map: bool = False
    least: Annotated[int, whole(1, 1_000_000)] = 2
    advised: Annotated[int, whole(1, 1_000_000)] = 2
    square: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        check_callable(TARGETS, self.batch)
        check_callable(HEAD, self.head)


def turned(pictures: Tensor, generator: torch.Generator, *, turns: int = 1) -> Batch:
    """Turned pictures and the number of their quarter turns, counter-clockwise: 0 to 3.

    Args:
        pictures: ``(B, C, H, W)``; of others than squares, the middle is taken.
        generator: draws the turn of each picture, if it gets one.
        turns: 1 for a random turn of each picture, or 4 for all turns of each, ``(4 B, C, S, S)``.

    >>> turned(torch.arange(4.0).view(1, 1, 2, 2), torch.Generator(), turns=4)[0].flatten(1).int().tolist()
    [[0, 1, 2, 3], [1, 3, 0, 2], [3, 2, 1, 0], [2, 0, 3, 1]]
    """
    side = min(pictures.shape[2:])
    top, left = ((size - side) // 2 for size in pictures.shape[2:])
    pictures = pictures[:, :, top : top + side, left : left + side]
    every = torch.stack([pictures.rot90(turn, (2, 3)) for turn in range(4)])
    if turns == 4:
        labels = torch.arange(4, device=pictures.device).repeat_interleave(len(pictures))
        return every.flatten(0, 1), labels
    labels = torch.randint(4, (len(pictures),), generator=generator, device=generator.device).to(pictures.device)
    return every[labels, torch.arange(len(pictures), device=pictures.device)], labels


def _pairs(pictures: Tensor, generator: torch.Generator) -> Batch:
    """Two views of each picture; the target of a view is the place of the other view of its picture."""
    places = torch.arange(2 * len(pictures), device=pictures.device)
    return two_views(pictures, generator), places.roll(len(pictures))


def nt_xent(embedded: Tensor, places: Tensor, *, temperature: float = 0.5) -> Tensor:
    """The normalized, temperature-scaled cross-entropy of SimCLR (Chen et al., 2020), a scalar.

    Args:
        embedded: the embeddings of all first views, then of all second views, ``(2 B, D)``.
        places: for each view, the place of the other view of its picture, ``(2 B,)``.
        temperature: divides the cosines.

    >>> nt_xent(torch.ones(6, 2), torch.tensor([3, 4, 5, 0, 1, 2]))  # ln 5
    tensor(1.6094)
    """
    return functional.cross_entropy(_cosines(embedded) / temperature, places)


def barlow_twins(embedded: Tensor, places: Tensor, *, weight: float = 5e-3) -> Tensor:
    """The loss of Barlow Twins (Zbontar et al., 2021), a scalar: 0 if two views correlate as the identity does.

    Args:
        embedded: the embeddings of all first views, then of all second views, ``(2 B, D)``.
        places: ignored.
        weight: the weight of the entries off the diagonal.
    """
    first, second = ((view - view.mean(0)) / (view.std(0, correction=0) + 1e-6) for view in embedded.chunk(2))
    correlation = first.T @ second / len(first)
    diagonal = correlation.diagonal()
    off = correlation.square().sum() - diagonal.square().sum()
    return (1 - diagonal).square().sum() + weight * off


def _cosines(embedded: Tensor) -> Tensor:
    """The cosine of each two embeddings, ``(2 B, 2 B)``, and minus infinity of each with itself."""
    unit = functional.normalize(embedded, dim=1)
    return (unit @ unit.T).masked_fill(torch.eye(len(unit), dtype=torch.bool, device=unit.device), -torch.inf)


def _retrieved(embedded: Tensor, places: Tensor) -> Tensor:
    return (_cosines(embedded).argmax(dim=1) == places).sum()


def _blank(pictures: Tensor, generator: torch.Generator) -> Batch:
    return blanked(pictures, generator), pictures


def _far(outputs: Tensor, pictures: Tensor) -> Tensor:
    """The mean squared error of each output, ``(B,)``, against the pictures at the size of the outputs."""
    small = functional.adaptive_avg_pool2d(pictures, (outputs.shape[2], outputs.shape[3]))
    return (outputs - small).square().mean(dim=(1, 2, 3))


def _turns(features: int, channels: int) -> nn.Module:
    return nn.Linear(features, 4)


def _picture(features: int, channels: int) -> nn.Module:
    return nn.Conv2d(features, channels, 1)


def _projection(features: int, channels: int, *, hidden: int, out: int, norm: bool) -> nn.Module:
    norms = [nn.BatchNorm1d(hidden)] if norm else []
    return nn.Sequential(nn.Linear(features, hidden), *norms, nn.ReLU(), nn.Linear(hidden, out))


# Whether the nearest of all other views is the one of the same picture.
_RETRIEVAL = {"accuracy": Metric(sum=_retrieved, better="higher", form=".2%")}

rotation = Pretext(
    name="rotation",
    batch=turned,
    head=_turns,
    task=classification,
    square=True,
)
"""Which way is up (RotNet, Gidaris et al., 2018): the quarter turns of a picture. Near 25 %, nothing was learned."""

simclr = Pretext(
    name="simclr",
    batch=_pairs,
    head=partial(_projection, hidden=128, out=64, norm=False),
    task=Task(name="simclr", loss=nt_xent, metrics=_RETRIEVAL),
    least=16,
    advised=64,
)
"""Which two views show the same picture (SimCLR, Chen et al., 2020). Small batches have few other pictures."""

barlow = Pretext(
    name="barlow",
    batch=_pairs,
    head=partial(_projection, hidden=256, out=256, norm=True),
    task=Task(name="barlow", loss=barlow_twins, metrics=_RETRIEVAL),
    least=16,
    advised=64,
)
"""Embeddings of two views that agree, and whose features do not repeat each other (Zbontar et al., 2021)."""

reconstruction = Pretext(
    name="reconstruction",
    batch=_blank,
    head=_picture,
    task=Task(
        name="reconstruction",
        loss=lambda outputs, pictures: _far(outputs, pictures).mean(),
        metrics={"error": Metric(sum=lambda outputs, pictures: _far(outputs, pictures).sum(), better="lower")},
    ),
    of_map=True,
)
"""A small picture from one with a quarter of its patches blanked: a weak task, as a control."""


def rotation_of(turns: int = 1) -> Pretext:
    """``rotation`` with a random turn of each picture (1), or with all four, at four times the cost (4).

    Raises:
        ValueError: for another number.
    """
    if turns not in (1, 4):
        raise ValueError(f"a picture is shown in 1 random turn or in all 4, not in {turns}")
    return rotation if turns == 1 else replace(rotation, batch=partial(turned, turns=turns))
