"""Where operations stand in a net, and the sizes of their inputs. They are found by running a net with empty cells."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffnas.components.contract import Role, naming
from diffnas.genotype import Genotype
from diffnas.lookup import lookup
from diffnas.nets.auxiliary import Output
from diffnas.nets.cell import Place
from diffnas.nets.frames import Sizes, build_frame
from diffnas.nets.replaced import Replaced
from diffnas.nets.slot import Slot
from diffnas.space import SearchSpace

Listed = Mapping[str, Sequence[tuple[str, bool]]]
"""For each kind of cell, its operations, and whether each reads an input of the cell."""

_FORWARD = Role("forward of the frame", ("x", "run"))


@contextmanager
def unseen(*, own: bool) -> Iterator[None]:
    """A context for making modules only to look at them. Torch's random numbers are afterwards as before.

    Modules are on the device "meta": they have no numbers, and cost nothing. Those of a user (``own``) are on the usual
    device, because they may need numbers to be made or run.
    """
    if own:
        with torch.random.fork_rng(devices=[]):
            yield
    else:
        with torch.device("meta"), Replaced(_ONLY_SIZES):
            yield


def _unchanged(x: Tensor, *others: Any, **named: Any) -> Tensor:
    return x


# On "meta", PyTorch computes these slowly, and their results have the sizes of their inputs.
_ONLY_SIZES: dict[Callable[..., Any], Callable[..., Any]] = {F.batch_norm: _unchanged, F.relu: _unchanged}


class Spot(NamedTuple):
    """An operation, its slot, and the size of its input.

    Attributes:
        op: the name of the operation.
        slot: where it stands; it shares no modules.
        size: the size of its input without batch and channels: height and width of a map.
    """

    op: str
    slot: Slot
    size: tuple[int, ...]

    @property
    def result(self) -> tuple[int, ...]:
        """The size of the result of the operation."""
        return tuple(-(-side // self.slot.stride) for side in self.size)


class Site(NamedTuple):
    """An operation in one cell of a net.

    Attributes:
        kind: the kind of the cell.
        number: the position of the operation among those of the cell.
        spot: the operation, its slot and the size of its input.
        again: whether the frame has run the same cell before, with the same weights.
    """

    kind: str
    number: int
    spot: Spot
    again: bool


class Seen(NamedTuple):
    """One run of a cell by its frame.

    Attributes:
        place: the place of the cell.
        size: the size of its last input without batch and channels.
        again: whether the frame has run the cell before.
    """

    place: Place
    size: tuple[int, ...]
    again: bool

    @property
    def inner(self) -> tuple[int, ...]:
        """The size of the computed nodes."""
        return tuple(-(-side // self.place.stride) for side in self.size)

    def sites(self, ops: Iterable[tuple[str, bool]], *, affine: bool, one_in: int = 1) -> Iterator[Site]:
        """The operations of the cell."""
        place = self.place
        for number, (op, reads_input) in enumerate(ops):
            stride, size = (place.stride, self.size) if reads_input else (1, self.inner)
            width, out = place.width // one_in, place.out // one_in
            slot = Slot(width=width, out=out, stride=stride, affine=affine, stream=place.stream, gated=place.gated)
            yield Site(place.kind, number, Spot(op, slot, size), self.again)


def offered(space: SearchSpace) -> Listed:
    """The operations that the edges of a space offer."""
    return {
        kind: [
            (op, edge.source < graph.inputs) for edge, names in zip(graph.edges, graph.ops, strict=True) for op in names
        ]
        for kind, graph in space.cells.items()
    }


def chosen(genotype: Genotype) -> Listed:
    """The operations of a genotype's network."""
    return {
        kind: [(op, source < cell.inputs) for op, source, _ in genotype.built(kind)[0]]
        for kind, cell in genotype.cells.items()
    }


def sites(sizes: Sizes, listed: Listed, picture: tuple[int, ...], *, one_in: int = 1) -> list[Site]:
    """Every operation of every cell of a net, cell by cell.

    Args:
        sizes: the sizes of the net.
        listed: its operations.
        picture: channels, height and width.
        one_in: 1 of ``one_in`` channels goes through the operations.

    >>> from diffnas.space import darts
    >>> from diffnas.nets.sizes import sizes_of_space
    >>> listed = {"normal": [("skip_connect", True)], "reduce": [("skip_connect", True)]}
    >>> found = sites(sizes_of_space(darts, 10, 3, channels=4, depth=3), listed, (3, 9, 9))
    >>> [(site.spot.slot.width, site.spot.slot.stride, site.spot.size) for site in found]
    [(4, 1, (9, 9)), (8, 2, (9, 9)), (16, 2, (5, 5))]
    """
    return looked_at(sizes, picture).sites(listed, one_in=one_in)


def looked_at(sizes: Sizes, picture: tuple[int, ...]) -> EmptyNet:
    """An empty net that was run on a picture: channels, height and width."""
    with unseen(own=sizes.frame is not None), torch.no_grad():
        net = EmptyNet(sizes).eval()
        net(torch.zeros(1, *picture))
    return net


class EmptyNet(nn.Module):
    """A net whose cells have no operations, only the layers that prepare their inputs. A cell's output is zeros.

    Args:
        sizes: the sizes of the net; an auxiliary head is left out.

    Attributes:
        seen: the runs of cells when the net was last run, in order.

    Raises:
        ValueError: for a frame whose cells are not those that ``sizes`` knows.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes, self.seen, self._ran = sizes, list[Seen](), set[nn.Module]()
        self.frame = build_frame(replace(sizes, auxiliary=False), self._watched)

    def forward(self, x: Tensor) -> Output:
        """The output of the head for zeros."""
        self.seen, self._ran = [], set()
        with naming(_FORWARD, self.frame):
            found: Output = self.frame(x, self._run)
        return found

    def sites(self, listed: Listed, *, one_in: int = 1) -> list[Site]:
        """Every operation of every run of a cell."""
        affine = self.sizes.affine
        return [
            site for cell in self.seen for site in cell.sites(listed[cell.place.kind], affine=affine, one_in=one_in)
        ]

    def _watched(self, place: Place) -> _Watched:
        wanted = lookup("kind of cell", place.kind, self.sizes.reads)
        if len(place.prepare) != wanted:
            raise ValueError(
                f"a cell of the kind {place.kind!r} has inputs: {wanted}. Its Place needs as many modules in prepare, "
                f"and has {len(place.prepare)}."
            )
        return _Watched(place)

    def _run(self, part: nn.Module, inputs: Sequence[Tensor]) -> Tensor:
        if not isinstance(part, _Watched):
            out: Tensor = part(*inputs)
            return out
        place = part.place
        x: Tensor = [prepare(each) for prepare, each in zip(part.inputs, inputs, strict=True)][-1]
        cell = Seen(place, tuple(x.shape[2:]), part in self._ran)
        self.seen.append(cell)
        self._ran.add(part)
        return x.new_zeros(len(x), place.out * self.sizes.joined[place.kind], *cell.inner)


class _Watched(nn.Module):
    """A stand-in for a cell, with the layers that prepare its inputs and nothing else."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place, self.inputs = place, nn.ModuleList(place.prepare)
