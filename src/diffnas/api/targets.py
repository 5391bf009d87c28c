"""The aim of a search, from the texts of its targets. The recipe gives the size of the network that is deployed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from diffnas.api.notes import Notes
from diffnas.data import DataSet
from diffnas.deploy.latency import latency, recorded_latency, stopwatch
from diffnas.engine import aim as aims
from diffnas.engine.aim import Aim
from diffnas.engine.costing import Costing
from diffnas.engine.landing import Landing
from diffnas.engine.listen import Listener
from diffnas.engine.scaling import fitted
from diffnas.engine.settings import EvaluateSettings, Wanted, merge_settings
from diffnas.engine.sizing import fitting_size
from diffnas.engine.target import Target, amount, parse, parse_family
from diffnas.genotype import Genotype
from diffnas.genotype.own_space import own_space
from diffnas.lookup import lookup
from diffnas.method import Method
from diffnas.nets.sized import Size
from diffnas.nets.sizes import published_shape
from diffnas.recipes import Recipe
from diffnas.space import SearchSpace
from diffnas.values import real

SIZES = frozenset(Size._fields)
"""The settings of an evaluation that a landing decides."""

MULTIPLIER = real(0, 1e6)


@dataclass(frozen=True, kw_only=True)
class Reachable:
    """The costs that networks of a space can have, for one target.

    Attributes:
        target: the target, as text.
        size: the size of the network before its width is fitted, as text.
        low, high: the least and the largest cost at that size.
    """

    target: str
    size: str
    low: float
    high: float

    def __str__(self) -> str:
        cost = self.target.partition("=")[0].removesuffix("<")
        return f"{self.target}: from {amount(cost, self.low)} to {amount(cost, self.high)} with {self.size}"


def aim_of(
    notes: Notes,
    recipe: Recipe,
    record: Mapping[str, Any] | None,
    data: DataSet,
    space: SearchSpace,
    method: Method,
    warn: Callable[[str], None],
) -> Aim | None:
    """The aim of a search; None if it has no target.

    Args:
        notes: the notes, with the targets as text, and the settings for the evaluation that were given.
        recipe: the recipe, with the other settings for the evaluation.
        record: the record of a run that is resumed, which keeps its first size; None for a new run.
        data, space, method: those of the search.
        warn: is told what is doubtful about a latency.

    Raises:
        ValueError: if a target cannot be read or cannot be met.
    """
    if notes.target is None and notes.targets is None:
        _refuse_aimless(notes)
        return None
    if notes.target is not None and notes.targets is not None:
        raise ValueError("--target is for one network and --targets is for a family; give only one of the two.")
    family = () if notes.targets is None else parse_family(notes.targets)
    targets = (_middle(family),) if family else parse(notes.target or "")
    wanted = merge_settings(EvaluateSettings, recipe.evaluate, notes.evaluation)
    aim = Aim(
        targets=targets,
        size=usual_size(space, wanted),
        width=lookup("width", notes.width or "fit", {"fit": "fit", "fixed": "fixed"}),
        family=family,
        start=_start(notes.multiplier),
        tightens=_tightens(notes),
        window=wanted.window,
    )
    timed = any(target.cost == "latency" for target in targets)
    begun = (record or {}).get("target")
    if begun is not None:
        aim = _tightened(replace(aim, size=Size(**begun["size"])))
        again = recorded_latency(begun.get("latency"), aims.sized_for(aim, space, data), warn) if timed else None
        return _timed(aim, again)
    if timed:
        aim = _timed(aim, latency(aims.sized_for(aim, space, data), runtime=notes.runtime, warn=warn))
    usual, aim = aim, replace(aim, size=fitting_size(aim, space, data, method, given=SIZES & notes.evaluation.keys()))
    if timed and aim.size != usual.size:
        aim = _timed(aim, latency(aims.sized_for(aim, space, data), runtime=notes.runtime, warn=warn))
    return _tightened(aim)


def _refuse_aimless(notes: Notes) -> None:
    """Refuse options that say how a target is met where there is none."""
    for name in ("width", "runtime", "multiplier", "targets_by"):
        if getattr(notes, name) is not None:
            option = name.replace("_", "-")
            raise ValueError(
                f"--{option} says how a target is met, but there is none. Add one, such as --target macs=20M."
            )


def _start(multiplier: str | None) -> float | None:
    """The multiplier at the start; None is by balance."""
    if multiplier == "balance":
        return None
    given = 1.0 if multiplier is None else MULTIPLIER.read(multiplier)
    return float(MULTIPLIER.check("multiplier (or balance)", given))


def _tightens(notes: Notes) -> bool:
    """Whether the target of a family tightens."""
    if notes.targets_by is not None and notes.targets is None:
        raise ValueError(
            "--targets-by says how cells for several targets are found. Add --targets macs=2M,5M,10M, say."
        )
    return lookup("targets-by", notes.targets_by or "reread", {"reread": False, "tighten": True})


def _tightened(aim: Aim) -> Aim:
    """The aim with the least of its family for the target if it tightens: its size is meant for the middle."""
    return replace(aim, targets=aim.family[:1]) if aim.tightens else aim


def _timed(aim: Aim, costing: Costing | None) -> Aim:
    """The aim with this costing of its latency; the aim itself if that is None."""
    return aim if costing is None else replace(aim, costings={**aim.costings, "latency": costing})


def usual_size(space: SearchSpace, wanted: EvaluateSettings) -> Size:
    """The size of an evaluation's networks: from its settings, else the size in published results."""
    channels, depth = published_shape(space.skeleton, wanted.stem)
    return Size(wanted.channels or channels, space.own_depth or wanted.depth or depth, wanted.stem)


def _middle(family: tuple[Target, ...]) -> Target:
    """The target of a family's search: the geometric mean of its least and its largest cost, to three digits."""
    return Target(cost=family[0].cost, value=float(f"{math.sqrt(family[0].value * family[-1].value):.3g}"))


def reachable(aim: Aim, space: SearchSpace, data: DataSet, method: Method) -> tuple[Reachable, ...]:
    """The costs that can be reached, for each target.

    Raises:
        ValueError: if a target cannot be met.
    """
    found = aims.check(aim, space, data, method)
    return tuple(
        Reachable(target=str(target), size=str(aim.size), low=found[target.cost].low, high=found[target.cost].high)
        for target in aim.targets
    )


def scaled(
    wanted: Wanted,
    settings: EvaluateSettings,
    genotype: Genotype,
    data: DataSet,
    own: Mapping[str, Any],
    listener: Listener,
) -> EvaluateSettings:
    """The settings with the width at which the network of given cells costs what it shall; depth and stem stay.

    Args:
        wanted: with targets as text.
        settings: of its evaluation.
        genotype: the cells.
        data: the pictures.
        own: the user's own operations and frame, as ``SearchSpace.own``.
        listener: hears where that lands, and what is doubtful about a latency.

    Raises:
        ValueError: for targets that cannot be read, or that no width meets, with what the nearest ones cost.
    """
    targets, space = parse(wanted.target or ""), own_space(genotype, **own)
    aim = Aim(targets=targets, size=usual_size(space, settings), window=settings.window)
    at = aims.sized_for(aim, space, data)
    if any(target.cost == "macs" for target in targets):
        aims.refuse_uncountable(at)
    if any(target.cost == "latency" for target in targets):
        aim = _timed(aim, stopwatch(at, runtime=wanted.runtime, warn=listener.warn))
    landing = fitted(aim, at, genotype)
    # The usual width is where the fitting begins; the cells were not searched for it.
    listener.note(str(replace(landing, meant=landing.size)))
    return replace(settings, **landed(landing))


def landed(landing: Landing | None) -> dict[str, Any]:
    """The settings for the evaluation of a network that has landed on its targets; empty without a landing."""
    return {} if landing is None else landing.size._asdict()
