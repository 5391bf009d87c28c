"""Checking that an exported network gives the same logits as the network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from diffnas.nets.trained import Trained

TOLERANCE = 1e-5

Run: TypeAlias = Callable[[Tensor], Tensor]
"""A function that runs an exported network: uint8 pictures ``(B, channels, H, W)`` -> logits ``(B, classes)``, or
windows ``(B, T, ...)`` of sequences -> outputs ``(B, T, ...)``."""


class Disagreement(Exception):  # noqa: N818 - named for what it says
    """Raised if the logits of an exported network differ from those of the network that was exported."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How far the logits of an exported network are from those of the network.

    Attributes:
        path: the exported file.
        pictures: the number of pictures that both networks classified, or of windows that both read.
        difference: the largest absolute difference of two logits.
        largest: the largest absolute logit, the scale for the difference.
    """

    path: Path
    pictures: int
    difference: float
    largest: float

    def __str__(self) -> str:
        much = f"{self.difference:.1e}, of logits up to {self.largest:.1f}" if self.difference else "none"
        return f"largest difference on {self.pictures} pictures: {much}"


@torch.no_grad()
def outputs(trained: Trained, samples: Tensor) -> Tensor:
    """What a network says of pictures ``(B, channels, H, W)`` or of windows of sequences, on the CPU."""
    if trained.kind == "pictures":
        return trained.logits(samples).cpu()
    found: Tensor = trained.network(samples.to(next(trained.network.parameters()).device)).logits
    return found.cpu()


def check(path: Path, run: Run, trained: Trained, pictures: Tensor) -> Agreement:
    """How far the logits of the exported network are from those of the network.

    Both run on all pictures as one batch, and on the first picture alone, because every batch size must work.

    Args:
        path: the exported file, for errors.
        run: runs the exported file.
        trained: the network that was exported.
        pictures: uint8, ``(B, channels, H, W)``.

    Raises:
        Disagreement: if a logit differs by more than 1e-5 times the largest absolute logit or 1, whichever is larger.
    """
    expected = outputs(trained, pictures)
    largest = float(expected.abs().max())
    differences = (run(pictures) - expected).abs().max(), (run(pictures[:1]) - expected[:1]).abs().max()
    agreement = Agreement(path=path, pictures=len(pictures), difference=float(max(differences)), largest=largest)
    # Written with "not <=" because a NaN must fail.
    if not agreement.difference <= TOLERANCE * max(1.0, largest):
        raise Disagreement(f"{path} does not do what the network does; {agreement}. Do not use it.")
    return agreement
