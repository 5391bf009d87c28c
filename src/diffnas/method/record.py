"""What a method is: a value that names its components, and their text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import partial
from typing import Any

from torch import nn

from diffnas.components import discretize, family, pick, pruning, stages, stopping, update, weighting
from diffnas.components.changes import UNCHANGED, Changes
from diffnas.components.contract import name_of
from diffnas.components.discretize import Discretize
from diffnas.components.family import Family
from diffnas.components.gates import Gates
from diffnas.components.level import Level
from diffnas.components.perturbation import perturbation
from diffnas.components.pick import Pick
from diffnas.components.pruning import Pruning
from diffnas.components.regularizer import Regularizer
from diffnas.components.stages import Stages
from diffnas.components.stopping import Stopping
from diffnas.components.update import Update
from diffnas.components.weighting import Weighting
from diffnas.method import roles


@dataclass(frozen=True, kw_only=True)
class Method:
    """A search method: which components, and which settings differ from those of DARTS.

    Attributes:
        name: what the command line and the run folder call it.
        about: what it changes and where it comes from, for ``diffnas methods``.
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
    about: str
    weighting: Weighting
    level: Level
    discretize: Discretize
    update: Update = update.adam
    regularizers: tuple[Regularizer, ...] = ()
    edges: Weighting | None = None
    supernet: Changes = UNCHANGED
    pruning: Pruning | None = None
    stopping: tuple[Stopping, ...] = ()
    stages: Stages = stages.one
    pick: Pick = pick.last
    family: Family = family.alone
    space: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        roles.check(self)
        gated = isinstance(self.weighting, Gates)
        if gated and _is(self.pruning, pruning.exact_zero):
            raise ValueError(
                "gates shut independently of each other, so exact-zero pruning could leave an edge without any "
                "operation. Prune gates with shut, which keeps the likeliest of each edge."
            )
        if _is(self.pruning, pruning.threshold):
            _check_threshold(self)
        if not gated and _is(self.pruning, pruning.smallest_shares):
            raise ValueError(
                f"the weights of {describe(self.weighting)} share the sum of an edge, so an edge cannot lose its last "
                "operation, as smallest-shares wants it to. Use sigmoid weights, or prune by exact-zero or threshold."
            )
        if self.pruning is None and _is(self.discretize, discretize.survivors):
            raise ValueError("without pruning everything survives. Read off by another rule, or prune.")
        if not gated and _is(self.pruning, pruning.shut):
            raise ValueError(
                f"{describe(self.weighting)} has no gates: its operations compete, and most of an edge's weights lie "
                "below 1/2. Prune by shut only with gates, entmax by exact-zero."
            )
        if gated and _is(self.discretize, discretize.winners) and not _without_none(self.discretize):
            raise ValueError(
                "a gate of 'none' multiplies zeros, so how far it is open says nothing, and it must not win an edge. "
                "Read gates off by strongest-pairs, strongest-inputs or winners-without-none."
            )
        _check_simplex(self)
        _check_edges(self)
        _check_roll_back(self)
        if _is(self.stages, perturbation):
            _check_perturbation(self)
        if _is(self.pick, pick.best_held_out) and self.level.data != "halves":
            raise ValueError(
                f"the level {describe(self.level)} holds no pictures out, so no epoch is the best on them. "
                "Pick the last epoch, or use a level with a held-out half such as bilevel."
            )
        if _is(self.pruning, pruning.exact_zero) and not _sparse(self.weighting):
            raise ValueError(
                f"{describe(self.weighting)} never gives a weight of exactly zero, so exact-zero pruning would remove "
                "nothing. Use an entmax weighting, or no pruning."
            )


def _check_threshold(method: Method) -> None:
    share = method.pruning.keywords.get("share") if isinstance(method.pruning, partial) else None
    if isinstance(share, float | int) and not 0 < share < 1:
        raise ValueError(f"the threshold must lie between 0 and 1, an even share of an edge; got {share:g}.")
    if isinstance(method.weighting, Gates):
        raise ValueError(
            "gates do not share a sum of weights, so all those of an edge can fall below a threshold and leave it "
            "without any operation. Prune gates with shut, which keeps the likeliest of each edge."
        )
    if _is(method.weighting, weighting.uniform):
        raise ValueError(
            "uniform weights never fall below an even share, so a threshold would remove nothing. Use a weighting "
            "that follows alpha, such as annealed, or no pruning."
        )


def _check_perturbation(method: Method) -> None:
    if isinstance(method.weighting, Gates):
        raise ValueError(
            "perturbation leaves an edge one operation at weight 1, and a gate weighs its operation by how far it is "
            "open. Use weights that compete, such as softmax or uniform, or the stages one."
        )
    if method.level.data != "halves":
        raise ValueError(
            f"perturbation measures on held-out pictures, and the level {describe(method.level)} holds none out. "
            "Use bilevel, or weights-only to leave alpha out of it."
        )
    if not _is(method.pick, pick.last):
        raise ValueError(
            f"perturbation decides the cells in its last epoch, and {describe(method.pick)} may pick an earlier one. "
            "Pick the last."
        )


def _check_roll_back(method: Method) -> None:
    def options(component: object) -> dict[str, Any]:
        return dict(component.keywords) if isinstance(component, partial) else {}

    rules = [options(rule) for rule in method.stopping if _is(rule, stopping.eigenvalue_growth)]
    if _is(method.pick, pick.before_eigenvalue_growth) and options(method.pick) not in rules:
        raise ValueError(
            "going back to before the eigenvalue grew needs the stop for that growth, with the same options. Stop by "
            f"{':'.join(['eigenvalue', *(f'{each:g}' for each in options(method.pick).values())])}, or pick the last."
        )


def _check_simplex(method: Method) -> None:
    on_simplex = _is(method.weighting, weighting.simplex)
    exponentiated = _is(method.update, update.ExponentiatedGradient)
    if on_simplex and not exponentiated:
        raise ValueError(
            "the simplex weighting has gradients for the weights, not for their logarithms in alpha, so only "
            "exponentiated gradients can move it. Add --update exponentiated, or use softmax."
        )
    if exponentiated and not on_simplex:
        raise ValueError(
            f"exponentiated gradients move weights on the simplex, and {describe(method.weighting)} makes its weights "
            "from alpha in another way. Add --weighting simplex, or use adam."
        )


def _check_edges(method: Method) -> None:
    if method.edges is None:
        return
    if isinstance(method.edges, nn.Module):
        raise ValueError(
            f"the strengths of edges cannot be made by {describe(method.edges)}, which learns or draws by itself. "
            "Use softmax, simplex or entmax."
        )
    if _is(method.edges, weighting.simplex) != _is(method.update, update.ExponentiatedGradient):
        raise ValueError(
            f"operations and edges are moved by one update, and {describe(method.update)} does not go with strengths "
            f"by {describe(method.edges)}. Put simplex for both with exponentiated gradients, for neither with adam."
        )
    thresholds = _is(method.discretize, discretize.sure_inputs)
    if thresholds or (isinstance(method.discretize, partial) and method.discretize.keywords.get("shares")):
        raise ValueError(
            f"{describe(method.discretize)} takes scores for probabilities, and those that the strengths of edges have "
            "multiplied are none. Read off by strongest-inputs or strongest-pairs, or give no --edges."
        )


def _is(component: object, function: object) -> bool:
    return (component.func if isinstance(component, partial) else component) is function


def _sparse(component: Weighting) -> bool:
    if isinstance(component, partial) and component.keywords.get("order") == 1:
        return False
    return _is(component, weighting.entmax) or isinstance(component, weighting.LearnedEntmax)


def _without_none(component: object) -> bool:
    return isinstance(component, partial) and component.keywords.get("none") is False


def describe(component: object) -> str:
    """A component as text, options included: what the run folder keeps and what two runs are compared by.

    >>> describe(partial(weighting.entmax, order=3.0))
    'entmax(order=3.0)'
    """
    if isinstance(component, partial):
        options = ", ".join(f"{name}={describe(option)}" for name, option in component.keywords.items())
        return f"{name_of(component)}({options})"
    if isinstance(component, Level):
        return describe(component.step).replace("_step", "", 1)
    if isinstance(component, Changes):
        made = ", ".join(f"{name}={describe(option)}" for name, option in component.made.items())
        return f"Changes({made})" if made else "None"
    if isinstance(component, tuple):
        return "(" + ", ".join(describe(part) for part in component) + ")"
    if is_dataclass(component) and not isinstance(component, type):
        options = ", ".join(f"{part.name}={describe(getattr(component, part.name))}" for part in fields(component))
        return f"{type(component).__name__}({options})"
    if isinstance(component, nn.Module):
        return f"{type(component).__name__}({component.extra_repr()})"
    return name_of(component) if callable(component) else repr(component)


_NO_ROLES = ("name", "about", "space", "settings")


def components(method: Method) -> dict[str, str]:
    """Every component of a method as text, by the name of its role."""
    return {each.name: describe(getattr(method, each.name)) for each in fields(method) if each.name not in _NO_ROLES}
