"""Where operations stand in a net, and the sizes of their inputs. They are found by running a net with empty cells."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from diffnas.nets.auxiliary import Output
from diffnas.nets.cell import Place
from diffnas.nets.frames import Sizes, build_frame
from diffnas.nets.slot import Slot


@dataclass(frozen=True, kw_only=True)
class Site:
    """An operation in one cell of a net.

    Attributes:
        kind: the kind of the cell.
        number: the position of the operation among those of the cell.
        op: the name of the operation.
        slot: where it stands; it shares no modules.
        size: the size of its input without batch and channels: height and width of a map.
    """

    kind: str
    number: int
    op: str
    slot: Slot
    size: tuple[int, ...]


def sites(
    sizes: Sizes,
    listed: Mapping[str, Sequence[tuple[str, bool]]],
    picture: tuple[int, ...],
    *,
    one_in: int = 1,
) -> list[Site]:
    """Every operation of every cell of a net, cell by cell.

    Args:
        sizes: the sizes of the net.
        listed: for each kind of cell, its operations, and whether each reads an input of the cell.
        picture: channels, height and width.
        one_in: 1 of ``one_in`` channels goes through the operations.

    >>> from diffnas.space import darts
    >>> from diffnas.nets.sizes import sizes_of_space
    >>> listed = {"normal": [("skip_connect", True)], "reduce": [("skip_connect", True)]}
    >>> found = sites(sizes_of_space(darts, 10, 3, channels=4, depth=3), listed, (3, 9, 9))
    >>> [(site.slot.width, site.slot.stride, site.size) for site in found]
    [(4, 1, (9, 9)), (8, 2, (9, 9)), (16, 2, (5, 5))]
    """
    found: list[Site] = []

    def see(place: Place, size: tuple[int, ...]) -> None:
        inner = tuple(-(-side // place.stride) for side in size)
        for number, (op, reads_input) in enumerate(listed[place.kind]):
            stride = place.stride if reads_input else 1
            slot = Slot(width=place.width // one_in, out=place.out // one_in, stride=stride, affine=sizes.affine)
            found.append(Site(kind=place.kind, number=number, op=op, slot=slot, size=size if reads_input else inner))

    with torch.device("meta"), torch.no_grad():
        EmptyNet(sizes, see).eval()(torch.zeros(1, *picture))
    return found


class EmptyNet(nn.Module):
    """A net whose cells have no operations, only the layers that prepare their inputs. A cell's output is zeros.

    Args:
        sizes: the sizes of the net; an auxiliary head is left out.
        see: called for each cell whenever the net is run, with its place and the size of its last input.
    """

    def __init__(self, sizes: Sizes, see: Callable[[Place, tuple[int, ...]], None] | None = None) -> None:
        super().__init__()
        self.joined, self.see = sizes.joined, see
        self.frame = build_frame(replace(sizes, auxiliary=False), _Watched)

    def forward(self, x: Tensor) -> Output:
        """The output of the head for zeros."""
        found: Output = self.frame(x, self._run)
        return found

    def _run(self, part: nn.Module, inputs: Sequence[Tensor]) -> Tensor:
        if not isinstance(part, _Watched):
            out: Tensor = part(*inputs)
            return out
        place = part.place
        x: Tensor = [prepare(each) for prepare, each in zip(part.inputs, inputs, strict=True)][-1]
        size: tuple[int, ...] = tuple(x.shape[2:])
        if self.see is not None:
            self.see(place, size)
        inner = (-(-side // place.stride) for side in size)
        return x.new_zeros(len(x), place.out * self.joined[place.kind], *inner)


class _Watched(nn.Module):
    """A stand-in for a cell, with the layers that prepare its inputs and nothing else."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place, self.inputs = place, nn.ModuleList(place.prepare)
