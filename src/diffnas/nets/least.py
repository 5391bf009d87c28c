"""Lower bounds of the memory that training a net takes, counted on its frame, so that the net need not be built."""

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
    """Lower bounds of what training a net keeps in memory, without users' own operations.

    Attributes:
        weights: number of weights.
        outputs: numbers in the outputs of its cells for one picture.
        inside: numbers in the results of its operations that learn, for one picture.
    """

    weights: int
    outputs: int
    inside: int

    def bytes(self, batch: int, *, remembered: int = 1, inside: bool = True, half: bool = False) -> int:
        """A lower bound of the bytes that training takes: those of the weights, and of the maps that a step keeps.

        Args:
            batch: pictures in a step.
            remembered: how many numbers the optimizer remembers for each weight.
            inside: whether a step keeps maps from inside cells for the backward pass.
            half: whether maps are in half precision.
        """
        maps = batch * (self.outputs + (self.inside if inside else 0))
        return 4 * self.weights * (1 + remembered) + (2 if half else 4) * maps


def least(
    sizes: Sizes,
    listed: Listed,
    picture: tuple[int, ...],
    *,
    ops: Container[str] = OPS,
    one_in: int = 1,
) -> Least:
    """Lower bounds of what training a net keeps in memory.

    Args:
        sizes: the sizes of the net; an auxiliary head is left out.
        listed: its operations.
        picture: channels, height and width.
        ops: the operations that count, among those of this library.
        one_in: 1 of ``one_in`` channels goes through the operations.

    >>> from diffnas.nets.sites import offered
    >>> from diffnas.nets.sizes import sizes_of_space
    >>> from diffnas.space import s2
    >>> least(sizes_of_space(s2, 10, 3, channels=4, depth=3), offered(s2), (3, 8, 8))
    Least(weights=21110, outputs=1792, inside=6272)
    """
    net = looked_at(sizes, picture)
    found = [site for site in net.sites(listed, one_in=one_in) if site.spot.op in ops]
    return Least(
        weights=sum(weight.numel() for weight in net.parameters())
        + sum(of_op(*site.spot, None).params for site in found if not site.again),
        outputs=sum(cell.place.out * sizes.joined[cell.place.kind] * prod(cell.inner) for cell in net.seen),
        inside=sum(spot.slot.out * prod(spot.result) for _, _, spot, _ in found if spot.op not in WEIGHTLESS_OPS),
    )
