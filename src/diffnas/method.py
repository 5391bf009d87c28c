"""Methods: a published method is a value that names its components.

Compose your own with ``dataclasses.replace``::

    replace(darts, name="mine", weighting=partial(weighting.entmax, order=1.5), level=level.single)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import partial
from typing import Any

from torch import nn

from diffnas.components import discretize, level, pruning, regularizer, schedule, stopping, update, weighting
from diffnas.components.discretize import Discretize
from diffnas.components.gates import Gates, HardConcrete, StrongestGates
from diffnas.components.level import Level
from diffnas.components.pruning import Pruning
from diffnas.components.regularizer import Regularizer
from diffnas.components.stopping import Stopping
from diffnas.components.update import Update
from diffnas.components.weighting import Weighting
from diffnas.lookup import lookup


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
        pruning: which operations leave the supernet for good; None keeps all.
        stopping: reasons to end before the last epoch.
        discretize: how the cell is read off.
        settings: the method's own defaults of ``SearchSettings``.

    Raises:
        ValueError: if two components cannot work together; the message says why.
    """

    name: str
    about: str
    weighting: Weighting
    level: Level
    discretize: Discretize
    update: Update = update.adam
    regularizers: tuple[Regularizer, ...] = ()
    pruning: Pruning | None = None
    stopping: tuple[Stopping, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        gated = isinstance(self.weighting, Gates)
        if gated and _is(self.pruning, pruning.exact_zero):
            raise ValueError(
                "gates shut independently of each other, so exact-zero pruning could leave an edge without any "
                "operation. Prune gates with shut, which keeps the likeliest of each edge."
            )
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
        if _is(self.pruning, pruning.exact_zero) and not _sparse(self.weighting):
            raise ValueError(
                f"{describe(self.weighting)} never gives a weight of exactly zero, so exact-zero pruning would remove "
                "nothing. Use an entmax weighting, or no pruning."
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
        return f"{component.func.__name__}({options})"
    if isinstance(component, Level):
        return describe(component.step).removesuffix("_step")
    if isinstance(component, tuple):
        return "(" + ", ".join(describe(part) for part in component) + ")"
    if is_dataclass(component) and not isinstance(component, type):
        options = ", ".join(f"{part.name}={describe(getattr(component, part.name))}" for part in fields(component))
        return f"{type(component).__name__}({options})"
    if isinstance(component, nn.Module):
        return f"{type(component).__name__}({component.extra_repr()})"
    return component.__name__ if callable(component) and hasattr(component, "__name__") else repr(component)


def components(method: Method) -> dict[str, str]:
    """Every component of a method as text, by the name of its role."""
    roles = ("weighting", "level", "update", "regularizers", "pruning", "stopping", "discretize")
    return {role: describe(getattr(method, role)) for role in roles}


darts = Method(
    name="darts",
    about="DARTS, first order (Liu et al., 2019): softmax weights; alpha follows the loss on held-out pictures.",
    weighting=weighting.softmax,
    level=level.bilevel,
    discretize=discretize.strongest_inputs,
)

single_level = replace(
    darts,
    name="single-level",
    about="DARTS on a single level: alpha and the weights follow one training loss on the same batch.",
    level=level.single,
)

entmax3_single = Method(
    name="sparse",
    about=(
        "The sparse method (Bezirganyan & Akarmazyan, 2022): 3-entmax weights, one training loss, and an operation "
        "leaves the supernet for good once its weight is exactly zero. Each edge's winner stands, none included."
    ),
    weighting=partial(weighting.entmax, order=3.0),
    level=level.single,
    pruning=pruning.exact_zero,
    discretize=discretize.winners,
    settings={"epochs": 200},
)

sparse = entmax3_single

entmax2_single = replace(
    sparse,
    name="entmax2-single",
    about="The sparse method with 2-entmax (sparsemax): removes operations much later.",
    weighting=partial(weighting.entmax, order=2.0),
)

entmax3 = replace(
    sparse,
    name="entmax3",
    about="The sparse method on two levels, first order: alpha follows the loss on held-out pictures.",
    level=level.bilevel,
)

entmax2 = replace(
    entmax3,
    name="entmax2",
    about="The sparse method on two levels with 2-entmax (sparsemax).",
    weighting=partial(weighting.entmax, order=2.0),
)

sparse_progressive = replace(
    sparse,
    name="sparse-progressive",
    about=(
        "The sparse method with an order that rises from 1 (softmax) to 3 over the first 60% of the run, and nothing "
        "removed before it reaches 1.5: the future work of Bezirganyan & Akarmazyan (2022)."
    ),
    weighting=partial(weighting.entmax, order=partial(schedule.linear, start=1.0, stop=3.0, until=0.6)),
    pruning=partial(pruning.exact_zero, start=0.15),
)

# What is known of the training in the released search of Zhou et al. (2020); the paper's own is not.
_ZHOU_SETTINGS = {"epochs": 200, "batch": 250, "nesterov": True, "weight_decay": 5e-4}

_groups = partial(regularizer.group_sparsity, skip=0.01, rest=0.005)
_path = partial(regularizer.path_depth, weight=0.005)

gates = Method(
    name="gates",
    about=(
        "Independent hard-concrete gates alone, without penalties: the ablation of Path-regularized DARTS (Zhou et "
        "al., 2020). An operation leaves for good once its gate is more likely shut than open."
    ),
    weighting=HardConcrete(),
    level=level.bilevel,
    pruning=pruning.shut,
    discretize=partial(discretize.strongest_pairs, absent_below=0.5),
    settings=_ZHOU_SETTINGS,
)

gates_group = replace(
    gates,
    name="gates-group",
    about="Gates with the group-structured sparsity penalty, heavier on skips; an ablation of path-regularized.",
    regularizers=(_groups,),
)

gates_path = replace(
    gates,
    name="gates-path",
    about="Gates with the reward for deep chains of operations that learn; an ablation of path-regularized.",
    regularizers=(_path,),
)

path_regularized = replace(
    gates,
    name="path-regularized",
    about=(
        "Path-regularized DARTS (Zhou et al., 2020), the paper's form: independent hard-concrete gates, a sparsity "
        "penalty heavier on skips, and a reward for deep chains of operations that learn."
    ),
    regularizers=(_groups, _path),
)

path_regularized_released = replace(
    path_regularized,
    name="path-regularized-released",
    about=(
        "Path-regularized DARTS as its released code has it: two operations an edge at weight 1 with straight-through "
        "gradients, others excluded by chance, three groups with a hinge, its own path term; 6 cells."
    ),
    weighting=StrongestGates(),
    level=level.weights_first,
    pruning=None,
    discretize=partial(discretize.strongest_pairs, shares=True, absent_below=0.5),
    regularizers=(
        partial(regularizer.hinged_groups, skip=0.01, rest=0.005, margin=0.2),
        partial(regularizer.path_of_chosen, weight=0.005),
    ),
    settings={**_ZHOU_SETTINGS, "depth": 6},
)

gates_single = replace(
    gates,
    name="gates-single",
    about="Gates on a single level: they and the weights follow one training loss. In neither paper.",
    level=level.single,
)

sparse_path = replace(
    sparse,
    name="sparse-path",
    about="The sparse method with the reward for deep chains of Path-regularized DARTS. In neither paper.",
    regularizers=(partial(_path, joined="sum"),),
)

METHODS: dict[str, Method] = {
    "sparse": sparse,
    "entmax3-single": sparse,
    "entmax2-single": entmax2_single,
    "entmax3": entmax3,
    "entmax2": entmax2,
    "sparse-progressive": sparse_progressive,
    "darts": darts,
    "single-level": single_level,
    "path-regularized": path_regularized,
    "path-regularized-released": path_regularized_released,
    "gates": gates,
    "gates-group": gates_group,
    "gates-path": gates_path,
    "gates-single": gates_single,
    "sparse-path": sparse_path,
}


def _option(function: Callable[..., Any], *names: str) -> Callable[..., Any]:
    """What binds the options ``names`` of a function, all of them or none."""
    return lambda *values: partial(function, **dict(zip(names, values, strict=True))) if values else function


def _one(build: Callable[..., Any]) -> Callable[..., Any]:
    """The same as a tuple of one, for roles that take several."""
    return lambda *values: (build(*values),)


# What the command line may name in place of a method's own component: text -> builder, options after a colon.
COMPONENTS: dict[str, dict[str, Callable[..., Any]]] = {
    "weighting": {
        "softmax": _option(weighting.softmax, "temperature"),
        "entmax": _option(weighting.entmax, "order"),
        "learned-entmax": weighting.LearnedEntmax,
        "uniform": lambda: weighting.uniform,
        "gates": lambda *values: _option(HardConcrete, "temperature")(*values)(),
        "strongest-gates": lambda *values: _option(StrongestGates, "count")(*map(int, values))(),
    },
    "level": {
        "single": lambda: level.single,
        "bilevel": lambda: level.bilevel,
        "weights-first": lambda: level.weights_first,
    },
    "regularizers": {
        "none": lambda: (),
        "groups": _one(_option(regularizer.group_sparsity, "skip", "rest")),
        "path": _one(_option(regularizer.path_depth, "weight")),
        "path-sum": _one(_option(partial(regularizer.path_depth, joined="sum"), "weight")),
        "path-any": _one(_option(partial(regularizer.path_depth, joined="any"), "weight")),
        "hinged-groups": _one(_option(regularizer.hinged_groups, "skip", "rest")),
        "path-of-chosen": _one(_option(regularizer.path_of_chosen, "weight")),
    },
    "pruning": {
        "none": lambda: None,
        "exact-zero": _option(pruning.exact_zero, "start"),
        "shut": _option(pruning.shut, "below"),
    },
    "stopping": {"none": lambda: (), "all-decided": lambda: (stopping.all_decided,)},
    "discretize": {
        "winners": lambda: discretize.winners,
        "winners-without-none": lambda: partial(discretize.winners, none=False),
        "strongest-inputs": lambda: discretize.strongest_inputs,
        "strongest-pairs": _option(discretize.strongest_pairs, "absent_below"),
    },
}


def component(role: str, text: str) -> Any:
    """A component from its text, such as ``entmax:3``; several regularizers or stopping rules are joined by commas.

    Raises:
        ValueError: for a role or a name that is not in ``COMPONENTS``, or options it does not take.

    >>> describe(component("weighting", "entmax:2"))
    'entmax(order=2.0)'
    >>> describe(component("regularizers", "groups:0.2:0.1,path"))
    '(group_sparsity(skip=0.2, rest=0.1), path_depth)'
    """
    table = lookup("component", role, COMPONENTS)
    if role in ("regularizers", "stopping"):
        return tuple(part for each in text.split(",") for part in _build(role, each, table))
    return _build(role, text, table)


def _build(role: str, text: str, table: Mapping[str, Callable[..., Any]]) -> Any:
    name, *options = text.strip().split(":")
    build = lookup(role, name, table)
    try:
        return build(*(float(option) for option in options))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{role} {text!r} cannot be read: {error}.") from None


def compose(name: str, overrides: Mapping[str, str] | None = None) -> Method:
    """A method by name, with some components replaced by others, each given as text.

    >>> components(compose("darts", {"weighting": "entmax:2"}))["weighting"]
    'entmax(order=2.0)'
    """
    method = lookup("method", name, METHODS)
    parts = {role: component(role, text) for role, text in (overrides or {}).items()}
    return replace(method, **parts) if parts else method
