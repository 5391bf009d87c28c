"""The least that training a net keeps, counted on its frame: what can never fit is refused before it is built."""

from __future__ import annotations

from collections.abc import Container
from math import prod
from typing import NamedTuple

from diffnas.nets.costs import of_op
from diffnas.nets.frames import Sizes
from diffnas.nets.ops import OPS
from diffnas.nets.sites import Listed, looked_at
from diffnas.space import WEIGHTLESS_OPS


class Least(NamedTuple):
    """What training a net keeps at the least; users' own operations are left out.

    Attributes:
        weights: how many weights it has.
        outputs: how many numbers the outputs of its cells have for one picture.
        inside: how many the results of the operations that learn have.
    """

    weights: int
    outputs: int
    inside: int

    def bytes(self, batch: int, *, momentum: bool = True, inside: bool = True, half: bool = False) -> int:
        """How many bytes these are.

        Args:
            batch: pictures a step.
            momentum: whether each weight has a momentum beside it.
            inside: whether a step keeps anything of the inside of cells.
            half: whether maps are in half precision.
        """
        maps = batch * (self.outputs + (self.inside if inside else 0))
        return 4 * self.weights * (1 + momentum) + (2 if half else 4) * maps


def least(
    sizes: Sizes,
    listed: Listed,
    picture: tuple[int, ...],
    *,
    ops: Container[str] = OPS,
    one_in: int = 1,
) -> Least:
    """What training a net keeps at the least.

    Args:
        sizes: of the net; an auxiliary head is left out.
        listed: its operations.
        picture: channels, height and width.
        ops: the operations that count, of those of this library.
        one_in: one in so many channels goes through the operations.

    >>> from diffnas.nets.sites import offered
    >>> from diffnas.nets.sizes import sizes_of_space
    >>> from diffnas.space import s2
    >>> least(sizes_of_space(s2, 10, 3, channels=4, depth=3), offered(s2), (3, 8, 8))
    Least(weights=17358, outputs=2560, inside=11008)
    """
    outline = looked_at(sizes, picture)
    found = [site for site in outline.sites(listed, one_in=one_in) if site.spot.op in ops]
    return Least(
        weights=sum(weight.numel() for weight in outline.parameters())
        + sum(of_op(*site.spot, None).params for site in found if not site.again),
        outputs=sum(cell.place.out * sizes.joined[cell.place.kind] * prod(cell.inner) for cell in outline.seen),
        inside=sum(spot.slot.out * prod(spot.result) for _, _, spot, _ in found if spot.op not in WEIGHTLESS_OPS),
    )
