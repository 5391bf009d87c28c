"""Names of methods and components, for the command line: Python callers pass the values themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from diffnas.components import (
    discretize,
    family,
    level,
    pick,
    pruning,
    regularizer,
    schedule,
    stages,
    stopping,
    update,
    weighting,
)
from diffnas.components.changes import FADING, Changes
from diffnas.components.gates import HardConcrete, Sigmoid, StrongestGates
from diffnas.components.level import Level
from diffnas.components.perturbation import perturbation
from diffnas.components.replacement import replacement
from diffnas.lookup import lookup
from diffnas.method import (
    annealed,
    dense,
    drawn,
    entmax,
    gated,
    geometric,
    gradients,
    progressive,
    selected,
    sigmoid,
    stopped,
    supernets,
)
from diffnas.method.record import Method

METHODS: dict[str, Method] = {
    "sparse": entmax.sparse,
    "entmax3-single": entmax.sparse,
    "entmax2-single": entmax.entmax2_single,
    "entmax3": entmax.entmax3,
    "entmax2": entmax.entmax2,
    "sparse-progressive": entmax.sparse_progressive,
    "darts": dense.darts,
    "single-level": dense.single_level,
    "path-regularized": gated.path_regularized,
    "path-regularized-released": gated.path_regularized_released,
    "gates": gated.gates,
    "gates-group": gated.gates_group,
    "gates-path": gated.gates_path,
    "gates-single": gated.gates_single,
    "sparse-path": entmax.sparse_path,
    "darts-2nd": gradients.darts_2nd,
    "amended": gradients.amended,
    "milenas": gradients.milenas,
    "milenas-2nd": gradients.milenas_2nd,
    "gdas": drawn.gdas,
    "gdas-released": drawn.gdas_released,
    "snas": drawn.snas,
    "asap": annealed.asap,
    "gold-nas": sigmoid.gold_nas,
    "gaea": geometric.gaea,
    "gaea-single": geometric.gaea_single,
    "darts-plus": stopped.darts_plus,
    "darts-plus-ranks": stopped.darts_plus_ranks,
    "r-darts": stopped.r_darts,
    "darts-pt": selected.darts_pt,
    "darts-pt-fixed": selected.darts_pt_fixed,
    "fair-darts": sigmoid.fair_darts,
    "darts-minus": supernets.darts_minus,
    "pc-darts": supernets.pc_darts,
    "p-darts": progressive.p_darts,
    "prune-and-replace": progressive.prune_and_replace,
    "gaea-pc-darts": supernets.gaea_pc_darts,
    "single-level-sigmoid": sigmoid.single_level_sigmoid,
}


def _option(function: Callable[..., Any], *names: str) -> Callable[..., Any]:
    """What binds the options ``names`` of a function, all of them or none."""
    return lambda *values: partial(function, **dict(zip(names, values, strict=True))) if values else function


def _scheduled(
    function: Callable[..., Any], option: str, schedule: Callable[..., Any], *names: str
) -> Callable[..., Any]:
    """The same for one option that is a schedule with options ``names`` of its own."""
    return lambda *values: partial(function, **{option: _option(schedule, *names)(*values)})


def _whole(build: Callable[..., Any]) -> Callable[..., Any]:
    """The same for options that are whole numbers."""
    return lambda *values: build(*map(int, values))


def _level(of: Level, *names: str) -> Callable[..., Level]:
    """The same level with options of its step bound."""
    return lambda *values: replace(of, step=_option(of.step, *names)(*values))


def _one(build: Callable[..., Any]) -> Callable[..., Any]:
    """The same as a tuple of one, for roles that take several."""
    return lambda *values: (build(*values),)


def _progressive(*ops: float) -> Callable[..., Any]:
    """The options are how many operations an edge keeps, two numbers."""
    if len(ops) not in (0, 2):
        raise ValueError("it narrows the choice twice, so it takes two numbers, such as progressive:5:3, or none")
    return partial(stages.progressive, ops=tuple(map(int, ops))) if ops else stages.progressive


def _auxiliary(weight: Callable[..., Any]) -> Callable[..., dict[str, Any]]:
    """An auxiliary skip whose weight falls, from 1 or from the option."""
    return lambda *values: {"auxiliary": _option(weight, "start")(*values)}


# What the command line may name in place of a method's own component: text -> builder, options after a colon.
COMPONENTS: dict[str, dict[str, Callable[..., Any]]] = {
    "weighting": {
        "softmax": _option(weighting.softmax, "temperature"),
        "annealed": _scheduled(weighting.softmax, "temperature", weighting.ANNEALING, "start", "factor"),
        "entmax": _option(weighting.entmax, "order"),
        "learned-entmax": weighting.LearnedEntmax,
        "gumbel": _option(weighting.gumbel, "temperature"),
        "concrete": _option(weighting.concrete, "temperature"),
        "simplex": lambda: weighting.simplex,
        "uniform": lambda: weighting.uniform,
        "sigmoid": Sigmoid,
        "gates": lambda *values: _option(HardConcrete, "temperature")(*values)(),
        "strongest-gates": lambda *values: _option(StrongestGates, "count")(*map(int, values))(),
    },
    "level": {
        "single": lambda: level.single,
        "bilevel": lambda: level.bilevel,
        "weights-first": lambda: level.weights_first,
        "weights-only": lambda: level.weights_only,
        "unrolled": _level(level.unrolled, "rate"),
        "amended": _level(level.amended, "rate"),
        "mixed": _level(level.mixed, "train_share"),
        "mixed-unrolled": _level(level.mixed_unrolled, "train_share"),
    },
    "update": {
        "adam": _option(update.adam, "lr"),
        "sgd": _option(update.sgd, "lr"),
        "exponentiated": _option(update.exponentiated, "lr"),
    },
    "regularizers": {
        "none": lambda: (),
        "groups": _one(_option(regularizer.group_sparsity, "skip", "rest")),
        "path": _one(_option(regularizer.path_depth, "weight")),
        "path-sum": _one(_option(partial(regularizer.path_depth, joined="sum"), "weight")),
        "path-any": _one(_option(partial(regularizer.path_depth, joined="any"), "weight")),
        "hinged-groups": _one(_option(regularizer.hinged_groups, "skip", "rest")),
        "zero-one": _one(_option(regularizer.zero_one, "weight")),
        "growing-resources": _one(_option(regularizer.resources, "mu")),
        "resources": _one(_option(regularizer.resources, "weight", "mu")),
        "expected-cost": _one(_option(regularizer.expected_cost, "weight")),
        **{
            f"expected-cost-{name}": _one(_option(partial(regularizer.expected_cost, weight=weight)))
            for name, weight in regularizer.CONSTRAINTS.items()
        },
        "expected-cost-linear": _one(_option(partial(regularizer.expected_cost, logarithm=False), "weight")),
        "path-of-chosen": _one(_option(regularizer.path_of_chosen, "weight")),
    },
    "edges": {
        "none": lambda: None,
        "softmax": _option(weighting.softmax, "temperature"),
        "entmax": _option(weighting.entmax, "order"),
        "simplex": lambda: weighting.simplex,
    },
    "supernet": {
        "none": dict,
        "partial-channels": _whole(lambda share=4: {"share": share}),
        "auxiliary-skip": _auxiliary(FADING),
        "auxiliary-skip-cosine": _auxiliary(partial(schedule.cosine, start=1.0, stop=0.0)),
        "auxiliary-skip-late-cosine": _auxiliary(partial(schedule.late_cosine, start=1.0, stop=0.0)),
        "auxiliary-skip-constant": lambda weight=1.0: {"auxiliary": weight},
        "drawn-only": lambda: {"drawn": True},
        "skip-dropout": lambda rate=0.3: {"dropout": rate},
        "skip-dropout-rekindled": lambda *rates: {
            "dropout": partial(schedule.rekindled, starts=rates or (0.0, 0.4, 0.7))
        },
    },
    "pruning": {
        "none": lambda: None,
        "exact-zero": _option(pruning.exact_zero, "start"),
        "smallest-shares": _option(pruning.smallest_shares, "least", "most"),
        "threshold": _option(pruning.threshold, "share"),
        "shut": _option(pruning.shut, "below"),
    },
    "stopping": {
        "none": lambda: (),
        "all-decided": lambda: (stopping.all_decided,),
        "skip-count": _one(_whole(_option(stopping.skip_count, "count"))),
        "stable-ranks": _one(_whole(_option(stopping.stable_ranks, "epochs"))),
        "stable-ranks-any": _one(_whole(_option(partial(stopping.stable_ranks, edges="any"), "epochs"))),
        "stable-ranks-full": _one(_whole(_option(partial(stopping.stable_ranks, ranks="full"), "epochs"))),
        "all-single": lambda: (stopping.all_single,),
        "macs-left": _one(_option(stopping.macs_left, "share")),
        "macs": _one(_option(stopping.few_macs, "macs")),
        "eigenvalue": _one(_option(stopping.eigenvalue_growth, "factor")),
        "after": _one(_whole(_option(stopping.after, "epochs"))),
        "size": _one(_option(stopping.small_enough, "parameters")),
    },
    "stages": {
        "one": lambda: stages.one,
        "progressive": _progressive,
        "replacement": lambda: replacement,
        "perturbation": _whole(_option(perturbation, "every")),
        "perturbation-loss": _whole(_option(partial(perturbation, criterion="loss"), "every")),
    },
    "pick": {
        "last": lambda: pick.last,
        "fewer-skips": _whole(_option(pick.fewer_skips, "count")),
        "before-growth": _option(pick.before_eigenvalue_growth, "factor"),
        "best-held-out": lambda: pick.best_held_out,
    },
    "family": {
        "none": lambda: family.alone,
        "quiet": _whole(_option(family.quiet, "epochs")),
    },
    "discretize": {
        "survivors": lambda: discretize.survivors,
        "winners": lambda: discretize.winners,
        "winners-without-none": lambda: partial(discretize.winners, none=False),
        "strongest-inputs": lambda: discretize.strongest_inputs,
        "few-skips": _whole(_option(discretize.few_skips, "most")),
        "sure-inputs": _option(discretize.sure_inputs, "at_least"),
        "strongest-pairs": _option(discretize.strongest_pairs, "absent_below"),
    },
}


def component(role: str, text: str) -> Any:
    """A component from its text, such as ``entmax:3``.

    Several regularizers, changes of the supernet or stopping rules are joined by commas.

    Raises:
        ValueError: for a role or a name that is not in ``COMPONENTS``, or options it does not take.

    >>> from diffnas.method import describe
    >>> describe(component("weighting", "entmax:2"))
    'entmax(order=2.0)'
    >>> describe(component("regularizers", "groups:0.2:0.1,path"))
    '(group_sparsity(skip=0.2, rest=0.1), path_depth)'
    """
    table = lookup("component", role, COMPONENTS)
    if role == "supernet":
        return _changes(text, table)
    if role in ("regularizers", "stopping"):
        return tuple(part for each in text.split(",") for part in _build(role, each, table))
    return _build(role, text, table)


def _changes(text: str, table: Mapping[str, Callable[..., Any]]) -> Changes:
    parts = [_build("supernet", each, table) for each in text.split(",")]
    names = [name for part in parts for name in part]
    if len(set(names)) < len(names):
        raise ValueError(f"supernet {text!r} changes one thing twice; name each change once.")
    return Changes(**{name: option for part in parts for name, option in part.items()})


def _build(role: str, text: str, table: Mapping[str, Callable[..., Any]]) -> Any:
    name, *options = text.strip().split(":")
    build = lookup(role, name, table)
    try:
        return build(*(float(option) for option in options))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{role} {text!r} cannot be read: {error}.") from None


def compose(name: str, overrides: Mapping[str, str] | None = None) -> Method:
    """A method by name, with some components replaced by others, each given as text.

    >>> from diffnas.method import components
    >>> components(compose("darts", {"weighting": "entmax:2"}))["weighting"]
    'entmax(order=2.0)'
    """
    method = lookup("method", name, METHODS)
    parts = {role: component(role, text) for role, text in (overrides or {}).items()}
    return replace(method, **parts) if parts else method
