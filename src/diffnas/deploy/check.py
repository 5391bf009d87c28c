"""Whether an exported network says what the network says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from torch import Tensor

from diffnas.nets.trained import Trained

TOLERANCE = 1e-5

Run: TypeAlias = Callable[[Tensor], Tensor]
"""What runs an exported network: uint8 pictures ``(B, channels, H, W)`` -> logits ``(B, classes)``."""


class Disagreement(Exception):  # noqa: N818 - named for what it says
    """An exported network says something else than the network it was made from."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How closely an exported network follows the network.

    Attributes:
        path: the exported file.
        pictures: how many pictures both were shown.
        difference: the largest difference of two logits.
        largest: the largest logit, without its sign: what the difference is to be measured by.
    """

    path: Path
    pictures: int
    difference: float
    largest: float

    def __str__(self) -> str:
        much = f"{self.difference:.1e}, of logits up to {self.largest:.1f}" if self.difference else "none"
        return f"largest difference on {self.pictures} pictures: {much}"


def check(path: Path, run: Run, trained: Trained, pictures: Tensor) -> Agreement:
    """How closely ``run``, which runs the file at ``path``, follows the network on ``pictures``.

    Pictures go in at once, and the first one alone as well: a batch of any size must do.

    Raises:
        Disagreement: if a logit differs by more than 1e-5, or by more than that part of the largest logit.
    """
    expected = trained.logits(pictures).cpu()
    largest = float(expected.abs().max())
    differences = (run(pictures) - expected).abs().max(), (run(pictures[:1]) - expected[:1]).abs().max()
    agreement = Agreement(path=path, pictures=len(pictures), difference=float(max(differences)), largest=largest)
    # Not "greater than": a NaN must not pass.
    if not agreement.difference <= TOLERANCE * max(1.0, largest):
        raise Disagreement(f"{path} does not do what the network does; {agreement}. It is not to be used.")
    return agreement
