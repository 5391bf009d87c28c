"""A method: a value that names its components."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from diffnas.components import family, initial, pick, stages, update
from diffnas.components.discretize import Discretize
from diffnas.components.family import Family
from diffnas.components.initial import Initial
from diffnas.components.level import Level
from diffnas.components.pick import Pick
from diffnas.components.pretext import Pretext
from diffnas.components.pruning import Pruning
from diffnas.components.regularizer import Regularizer
from diffnas.components.stages import Stages
from diffnas.components.stopping import Stopping
from diffnas.components.supernet_options import DARTS_SUPERNET, SupernetOptions
from diffnas.components.update import Update
from diffnas.components.weighting import Weighting
from diffnas.method import fit, roles
from diffnas.method.text import describe


@dataclass(frozen=True, kw_only=True)
class Method:
    """A search method: its components, and the settings that differ from those of DARTS.

    Attributes:
        name: its name on the command line and in run folders.
        weighting: from alpha, keep and the moment to mixing weights.
        level: which loss moves alpha, and which moves the weights.
        discretize: how the genotype is read off.
        update: how alpha moves.
        regularizers: penalties on the relaxed architecture, added to the loss that moves alpha.
        edges: makes strengths for the edges into a node, which multiply the weights of their operations; None for no
            strengths.
        supernet: how the supernet differs from that of DARTS.
        pruning: which operations leave the supernet for good; None keeps all.
        stopping: rules that may end a stage, or a search without stages, before its last epoch.
        stages: the parts of the search.
        pick: which epoch's cells are the result.
        family: which earlier epochs' cells are kept beside the result.
        initial: how the weights of the supernet begin.
        pretext: what the supernet learns without labels before the search, for ``pretext_epochs``; None for nothing.
        space: the name of the space for which the method is made. It is searched by default, with a recipe for its
            skeleton. None leaves the space to the recipe.
        settings: the method's own defaults of ``SearchSettings``.

    Raises:
        ValueError: if a component cannot be called with the arguments of its role, or two components cannot work
            together; the error says why.
    """

    name: str
    weighting: Weighting
    level: Level
    discretize: Discretize
    update: Update = update.adam
    regularizers: tuple[Regularizer, ...] = ()
    edges: Weighting | None = None
    supernet: SupernetOptions = DARTS_SUPERNET
    pruning: Pruning | None = None
    stopping: tuple[Stopping, ...] = ()
    stages: Stages = stages.one
    pick: Pick = pick.last
    family: Family = family.alone
    initial: Initial = initial.pytorch
    pretext: Pretext | None = None
    space: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        roles.check(self)
        fit.check(self)


_NO_ROLES = ("name", "space", "settings")


def components(method: Method) -> dict[str, str]:
    """Each component of a method as text, by the name of its role."""
    return {each.name: describe(getattr(method, each.name)) for each in fields(method) if each.name not in _NO_ROLES}
