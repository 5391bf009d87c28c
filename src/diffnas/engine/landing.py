"""The landing of a search: the size at which the network of its cells is nearest to the targets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from diffnas.engine.aim import SHALLOWEST, Aim, allowed
from diffnas.engine.costing import Counting
from diffnas.engine.target import COSTS, Target, amount, parse
from diffnas.genotype import Genotype
from diffnas.nets.sized import Size, SizedSpace
from diffnas.run_folder import RunFolder
from diffnas.skeleton import StemKind

MEASURED = 3
"""How many widths are measured, then how many depths, then how many sizes of both, if a clock measures a cost."""


@dataclass(frozen=True, kw_only=True)
class Landing:
    """The size of a network, and its costs.

    Attributes:
        size: channels, number of cells, and stem.
        targets: the targets of the search.
        costs: the costs of the network, by name, with the cost of each target.
        meant: the size for which the cells were searched.
        fixed: whether the size was not allowed to change.
    """

    size: Size
    targets: tuple[Target, ...]
    costs: Mapping[str, float]
    meant: Size
    fixed: bool = False

    @property
    def met(self) -> bool:
        """Whether every target is met."""
        return all(target.met(self.costs[target.cost]) for target in self.targets)

    @property
    def distance(self) -> float:
        """The distance from its target of the cost that is farthest away."""
        return max(target.distance(self.costs[target.cost]) for target in self.targets)

    def __str__(self) -> str:
        """A sentence on the costs and the size, and on what to do if a target is missed."""
        return "; ".join(map(self._said, self.targets)) + f"; {self.size}" + self._far() + self._why()

    def _said(self, target: Target) -> str:
        cost = self.costs[target.cost]
        word = "landed" if target.met(cost) else "missed"
        wanted = amount(target.cost, target.value).removesuffix(COSTS[target.cost].words)
        most = "at most " if target.ceiling else ""
        return f"{word}: {amount(target.cost, cost)}, target {most}{wanted.strip()} ({target.miss(cost):+.1%})"

    def _far(self) -> str:
        """The end of the sentence, with the width of the search; "" if the width of the network is near it."""
        if self.size.channels in allowed(self.meant.channels):
            return ""
        return f", where the cells were searched for {self.meant.channels} channels"

    def _why(self) -> str:
        """Why a target is missed, and what to do; "" if all are met."""
        if self.met:
            return ""
        missed = next(target for target in self.targets if not target.met(self.costs[target.cost]))
        over = missed.miss(self.costs[missed.cost]) > 0
        if self.fixed:
            return ". The width was fixed. Leave out --width fixed, so that it is fitted."
        less = "fewer" if over else "more"
        return (
            f". No other width comes nearer. Search again for {less} channels (evaluate.channels), or for more epochs."
        )

    def record(self) -> dict[str, Any]:
        """The landing as plain data."""
        return {
            "schema": "diffnas/landing",
            "size": self.size._asdict(),
            "meant": self.meant._asdict(),
            "fixed": self.fixed,
            "targets": [str(target) for target in self.targets],
            "costs": dict(self.costs),
            "met": self.met,
            "text": str(self),
        }


class _SizeRecord(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    channels: int = Field(ge=1, le=10_000)
    depth: int = Field(ge=1, le=200)
    stem: StemKind


class _LandingRecord(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False)

    size: _SizeRecord
    meant: _SizeRecord
    fixed: bool
    targets: list[str]
    costs: dict[str, float]


def read_landing(folder: RunFolder) -> Landing | None:
    """The landing in a run folder; None if its search had no target, or is not over.

    Raises:
        ValueError: if the file is damaged.
    """
    if not folder.landing_file.is_file():
        return None
    try:
        read = _LandingRecord.model_validate(folder.landing())
        targets = parse(",".join(read.targets))
        costs = {target.cost: read.costs[target.cost] for target in targets}
    except (ValidationError, KeyError):
        raise ValueError(f"{folder.landing_file} is damaged: it holds no size and no costs.") from None
    size, meant = (Size(**each.model_dump()) for each in (read.size, read.meant))
    return Landing(size=size, targets=targets, costs=costs, meant=meant, fixed=read.fixed)


def land_near(aim: Aim, at: SizedSpace, found: Genotype) -> Landing:
    """The size, near that of the aim, at which the network of the cells ``found`` is nearest to all targets.

    Among several targets, the one that is missed worst counts. The depth changes only if no width meets all targets.

    Raises:
        ValueError: if the cells pass nothing on.
    """
    meant = landing_at(aim, at, found, at.size)
    # A chain meets its targets by its operations: it stays at the width of the search.
    if aim.width == "fixed" or (at.skeleton.residual and meant.met):
        return meant
    widths = [at.size._replace(channels=channels) for channels in _widths(at, found)]
    if aim.measured:
        return _land_by_clock(meant, aim, at, found, widths)
    best = _nearest(_tried([meant], aim, at, found, widths))
    if at.space.own_depth is not None:
        return best
    for depth in _depths(at.size.depth):
        if best.met:
            break
        best = _nearest(_tried([best], aim, at, found, [width._replace(depth=depth) for width in widths]))
    return best


def _land_by_clock(meant: Landing, aim: Aim, at: SizedSpace, found: Genotype, widths: Sequence[Size]) -> Landing:
    """``land_near`` if a clock measures a cost: few widths are tried, then few depths, then few of both at once.

    Runtimes are fast at some widths and slow between them, but time grows with the depth.
    """
    known = _tried([meant], aim, at, found, _likely(meant, at, found, widths))
    if not _nearest(known).met and at.space.own_depth is None:
        deep = [at.size._replace(depth=depth) for depth in range(SHALLOWEST, 2 * at.size.depth + 1)]
        known = _tried(known, aim, at, found, _likely(meant, at, found, deep))
        if not _nearest(known).met:
            known = _tried(known, aim, at, found, _between(meant, known))
    return _nearest(known)


def _widths(at: SizedSpace, found: Genotype) -> list[int]:
    step = at.skeleton.width_step(each.op for cell in found.cells.values() for each in cell.connections)
    return [channels for channels in allowed(at.size.channels) if channels % step == 0]


def _depths(depth: int) -> list[int]:
    """Other depths, the nearest first: one cell more or less, and all that the margin allows."""
    near = {depth - 1, depth + 1, *allowed(depth)} - {depth}
    return sorted((each for each in near if each >= SHALLOWEST), key=lambda each: abs(each - depth))


def landing_at(aim: Aim, at: SizedSpace, found: Genotype, size: Size) -> Landing:
    """What the network of some cells costs at a size."""
    there = replace(at, size=size)
    costs = {target.cost: aim.costings[target.cost].exact(there, found) for target in aim.targets}
    return Landing(size=size, targets=aim.targets, costs=costs, meant=at.size, fixed=aim.width == "fixed")


def _tried(known: Sequence[Landing], aim: Aim, at: SizedSpace, found: Genotype, sizes: Iterable[Size]) -> list[Landing]:
    """The landings that are known, and those at other sizes."""
    done = {each.size for each in known}
    return [*known, *(landing_at(aim, at, found, size) for size in sizes if size not in done)]


def _nearest(known: Sequence[Landing]) -> Landing:
    """The landing nearest to the targets; among equals, the one with the smallest change of width."""
    return min(known, key=lambda each: (each.distance, abs(each.size.channels - each.meant.channels)))


def _likely(meant: Landing, at: SizedSpace, found: Genotype, sizes: Iterable[Size]) -> list[Size]:
    """The sizes that are worth measuring: those nearest to the targets if latency is proportional to multiply-adds."""
    counting = Counting("macs")

    def distance(size: Size) -> float:
        there = replace(at, size=size)
        times = counting.of(there, found) / counting.of(at, found)
        guessed = {
            target.cost: meant.costs[target.cost] * times if target.cost in ("macs", "latency")
            else meant.costs[target.cost] for target in meant.targets
        }  # fmt: skip
        return replace(meant, costs=guessed).distance

    return sorted((size for size in sizes if size != at.size), key=distance)[:MEASURED]


def _between(meant: Landing, known: Sequence[Landing]) -> list[Size]:
    """The sizes of another width and another depth that are worth measuring.

    They are nearest to the targets if width and depth multiply each cost as each did alone in what is known.
    """
    widths = [each for each in known if each.size.depth == meant.size.depth and each is not meant]
    depths = [each for each in known if each.size.channels == meant.size.channels and each is not meant]

    def distance(pair: tuple[Landing, Landing]) -> float:
        wide, deep = pair
        guessed = {cost: wide.costs[cost] * deep.costs[cost] / alone for cost, alone in meant.costs.items()}
        return replace(meant, costs=guessed).distance

    pairs = sorted(product(widths, depths), key=distance)
    return [wide.size._replace(depth=deep.size.depth) for wide, deep in pairs[:MEASURED]]
