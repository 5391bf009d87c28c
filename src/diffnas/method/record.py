"""What a method is: a value that names its components."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from diffnas.components import family, pick, stages, update
from diffnas.components.discretize import Discretize
from diffnas.components.family import Family
from diffnas.components.level import Level
from diffnas.components.pick import Pick
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
    """A search method: which components, and which settings differ from those of DARTS.

    Attributes:
        name: what the command line and the run folder call it.
        weighting: alpha, keep -> mixing weights.
        level: which loss moves alpha and which the weights.
        update: how alpha moves.
        regularizers: penalties on the relaxed architecture, added to the loss that moves alpha.
        edges: makes the strengths of the edges into a node, which multiply the weights of their operations; None for
            no strengths.
        supernet: how the supernet differs from that of DARTS.
        pruning: which operations leave the supernet for good; None keeps all.
        stopping: reasons to end before the last epoch; with several stages, before the last one of a stage.
        stages: the parts of a search that has several.
        pick: which epoch's cells are the result.
        family: which cells on the way to the result are kept beside it.
        discretize: how the cell is read off.
        space: the name of the space that it is made for: searched by default, with a recipe for the same skeleton.
            None leaves it to the recipe.
        settings: the method's own defaults of ``SearchSettings``.

    Raises:
        ValueError: if a component cannot be called as its role is, or two cannot work together; the message says why.
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
    space: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        roles.check(self)
        fit.check(self)


_NO_ROLES = ("name", "space", "settings")


def components(method: Method) -> dict[str, str]:
    """Every component of a method as text, by the name of its role."""
    return {each.name: describe(getattr(method, each.name)) for each in fields(method) if each.name not in _NO_ROLES}
