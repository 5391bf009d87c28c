"""Names of methods and components, for the command line. Python callers pass the methods and components themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from diffnas.catalog import CATALOG
from diffnas.components import (
    discretize,
    family,
    initial,
    level,
    pick,
    pretext,
    pruning,
    regularizer,
    schedule,
    stages,
    stopping,
    update,
    weighting,
)
from diffnas.components.gates import HardConcrete, Sigmoid, StrongestGates
from diffnas.components.perturbation import perturbation
from diffnas.components.replacement import replacement
from diffnas.components.supernet_options import FADING, SupernetOptions
from diffnas.lookup import lookup
from diffnas.method import (
    annealed,
    dense,
    drawn,
    entmax,
    gated,
    geometric,
    gradients,
    named,
    progressive,
    selected,
    sigmoid,
    stopped,
    supernets,
)
from diffnas.method.named import Named, NamedByPath, bound, bound_to, just, made, one, supernet_option
from diffnas.method.record import Method
from diffnas.nets import warm_start
from diffnas.nets.initial import fixup, zero_residual
from diffnas.values import real, whole

_FAMILIES = (
    entmax, dense, gated, gradients, drawn, annealed, sigmoid, geometric, stopped, selected, supernets, progressive
)  # fmt: skip
_found = named.values_of(Method, _FAMILIES)

METHODS: dict[str, Method] = {name: _found[name] for name in [*CATALOG, *_found]}
"""The methods by the names of their variables, aliases included, in the order of the catalog."""


# Bounds of the components' options: far wider than anybody needs, and narrow enough for exact computation.
EPOCHS = whole(1, 1_000_000)
COUNT = whole(0, 1_000)
SHARE = real(0, 1)
RATE = real(0, 1e30, above=True)
SCALE = real(-1e6, 1e6)
SIZE = real(0, 1e18)
TEMPERATURE = real(1e-6, 1e6)
ORDER = real(1, 16)


def _rekindled(**starts: float) -> Callable[..., float]:
    """A dropout with these starts, one for each stage; without any, those of P-DARTS."""
    return partial(schedule.rekindled, starts=tuple(starts.values()) or (0.0, 0.4, 0.7))


def _progressive(**left: int) -> Callable[..., Any]:
    """Progressive stages, with the number of operations that an edge keeps for each stage after the first."""
    return partial(stages.progressive, ops=tuple(left.values())) if left else stages.progressive


# The components that the command line may name in place of a method's own, and the options that follow after colons.
COMPONENTS: dict[str, dict[str, Named | NamedByPath]] = {
    "weighting": {
        "softmax": bound(weighting.softmax, temperature=TEMPERATURE),
        # The bounds of the factor are narrow, because the schedule raises it to the power of 50.
        "annealed": bound_to(
            weighting.softmax, "temperature", bound(weighting.ANNEALING, start=TEMPERATURE, factor=real(0.5, 2))
        ),
        "entmax": bound(weighting.entmax, order=ORDER),
        "learned-entmax": made(weighting.LearnedEntmax, order=ORDER),
        "gumbel": bound(weighting.gumbel, temperature=TEMPERATURE),
        "concrete": bound(weighting.concrete, temperature=TEMPERATURE),
        "simplex": just(weighting.simplex),
        "uniform": just(weighting.uniform),
        "sigmoid": made(Sigmoid),
        "gates": made(HardConcrete, temperature=TEMPERATURE),
        "strongest-gates": made(StrongestGates, count=whole(1, 1_000)),
    },
    "level": {
        "single": just(level.single),
        "bilevel": just(level.bilevel),
        "weights-first": just(level.weights_first),
        "weights-only": just(level.weights_only),
        "unrolled": named.level(level.unrolled, rate=real(0, 1e6)),
        "amended": named.level(level.amended, rate=real(0, 1e6)),
        "mixed": named.level(level.mixed, train_share=SCALE),
        "mixed-unrolled": named.level(level.mixed_unrolled, train_share=SCALE),
    },
    "update": {
        "adam": bound(update.adam, lr=RATE),
        "sgd": bound(update.sgd, lr=RATE),
        "exponentiated": bound(update.exponentiated, lr=RATE),
    },
    "regularizers": {
        "none": just(()),
        "groups": one(bound(regularizer.group_sparsity, skip=SCALE, rest=SCALE)),
        "path": one(bound(regularizer.path_depth, weight=SCALE)),
        "path-sum": one(bound(partial(regularizer.path_depth, joined="sum"), weight=SCALE)),
        "path-log": one(bound(partial(regularizer.path_depth, joined="log"), weight=SCALE)),
        "path-any": one(bound(partial(regularizer.path_depth, joined="any"), weight=SCALE)),
        "hinged-groups": one(bound(regularizer.hinged_groups, skip=SCALE, rest=SCALE)),
        "zero-one": one(bound(regularizer.zero_one, weight=SCALE)),
        "growing-resources": one(bound(regularizer.resources, mu=SCALE)),
        "resources": one(bound(regularizer.resources, weight=SCALE, mu=SCALE)),
        "expected-cost": one(bound(regularizer.expected_cost, weight=SCALE)),
        **{
            f"expected-cost-{name}": one(just(partial(regularizer.expected_cost, weight=weight)))
            for name, weight in regularizer.CONSTRAINTS.items()
        },
        "expected-cost-linear": one(bound(partial(regularizer.expected_cost, logarithm=False), weight=SCALE)),
        "path-of-chosen": one(bound(regularizer.path_of_chosen, weight=SCALE)),
    },
    "edges": {
        "none": just(None),
        "softmax": bound(weighting.softmax, temperature=TEMPERATURE),
        "entmax": bound(weighting.entmax, order=ORDER),
        "simplex": just(weighting.simplex),
    },
    "supernet": {
        "none": just({}),
        "partial-channels": supernet_option("one_in", made(lambda one_in=4: one_in, one_in=whole(1, 10_000))),
        "auxiliary-skip": supernet_option("auxiliary", bound(FADING, start=SCALE)),
        "auxiliary-skip-cosine": supernet_option(
            "auxiliary", bound(partial(schedule.cosine, start=1.0, stop=0.0), start=SCALE)
        ),
        "auxiliary-skip-late-cosine": supernet_option(
            "auxiliary", bound(partial(schedule.late_cosine, start=1.0, stop=0.0), start=SCALE)
        ),
        "auxiliary-skip-constant": supernet_option("auxiliary", made(lambda weight=1.0: weight, weight=SCALE)),
        "drawn-only": supernet_option("drawn", just(True)),
        "skip-dropout": supernet_option("dropout", made(lambda rate=0.3: rate, rate=SHARE)),
        "skip-dropout-rekindled": supernet_option("dropout", made(_rekindled, first=SHARE, second=SHARE, third=SHARE)),
    },
    "pruning": {
        "none": just(None),
        "exact-zero": bound(pruning.exact_zero, start=SHARE),
        "smallest-shares": bound(pruning.smallest_shares, least=SHARE, most=SHARE),
        "threshold": bound(pruning.threshold, share=SHARE),
        "shut": bound(pruning.shut, below=SHARE),
    },
    "stopping": {
        "none": just(()),
        "all-decided": just((stopping.all_decided,)),
        "skip-count": one(bound(stopping.skip_count, count=COUNT)),
        "stable-ranks": one(bound(stopping.stable_ranks, epochs=EPOCHS)),
        "stable-ranks-any": one(bound(partial(stopping.stable_ranks, edges="any"), epochs=EPOCHS)),
        "stable-ranks-full": one(bound(partial(stopping.stable_ranks, ranks="full"), epochs=EPOCHS)),
        "all-single": just((stopping.all_single,)),
        "macs-left": one(bound(stopping.macs_left, share=SHARE)),
        "macs": one(bound(stopping.few_macs, macs=SIZE)),
        "eigenvalue": one(bound(stopping.eigenvalue_growth, factor=RATE)),
        "after": one(bound(stopping.after, epochs=EPOCHS)),
        "size": one(bound(stopping.small_enough, parameters=SIZE)),
    },
    "stages": {
        "one": just(stages.one),
        # Two numbers, because an edge loses operations twice, between the three stages.
        "progressive": made(_progressive, first=whole(1, 1_000), second=whole(1, 1_000)),
        "replacement": just(replacement),
        "perturbation": bound(perturbation, every=whole(1, 10_000)),
        "perturbation-loss": bound(partial(perturbation, criterion="loss"), every=whole(1, 10_000)),
    },
    "pick": {
        "last": just(pick.last),
        "fewer-skips": bound(pick.fewer_skips, count=COUNT),
        "before-growth": bound(pick.before_eigenvalue_growth, factor=RATE),
        "best-held-out": just(pick.best_held_out),
    },
    "family": {
        "none": just(family.alone),
        "quiet": bound(family.quiet, epochs=EPOCHS),
    },
    "discretize": {
        "survivors": just(discretize.survivors),
        "winners": just(discretize.winners),
        "winners-without-none": just(partial(discretize.winners, none=False)),
        "strongest-inputs": just(discretize.strongest_inputs),
        "few-skips": bound(discretize.few_skips, most=COUNT),
        "sure-inputs": bound(discretize.sure_inputs, at_least=SHARE),
        "strongest-pairs": bound(discretize.strongest_pairs, absent_below=SHARE),
    },
    "initial": {
        "torch": just(initial.pytorch),
        "he": just(initial.he),
        "he-out": just(initial.he_out),
        "xavier": just(initial.xavier),
        "small": bound(initial.small, bound=RATE),
        "orthogonal": just(initial.orthogonal),
        "delta-orthogonal": just(initial.delta_orthogonal),
        "lsuv": just(initial.lsuv),
        "trunc": just(initial.trunc),
        "zero-residual": just(zero_residual),
        "fixup": just(fixup),
        "constant-sign": just(initial.constant_sign),
        "run": NamedByPath(make=lambda path: partial(warm_start.from_run, folder=path), wanted="the folder of a run"),
        "file": NamedByPath(make=lambda path: partial(warm_start.from_file, path=path), wanted="a checkpoint's path"),
    },
    "pretext": {
        "none": just(None),
        "rotation": made(pretext.rotation_of, turns=whole(1, 4)),
        "simclr": just(pretext.simclr),
        "barlow": just(pretext.barlow),
        "reconstruction": just(pretext.reconstruction),
    },
}


def component(role: str, text: str) -> Any:
    """A component from its text, such as ``entmax:3``.

    Several regularizers, stopping rules or options of the supernet are joined by commas.

    Raises:
        ValueError: if the role or the name is not in ``COMPONENTS``, or an option is not a number within the bounds
            that the table gives.

    >>> from diffnas.method import describe
    >>> describe(component("weighting", "entmax:2"))
    'entmax(order=2.0)'
    >>> describe(component("regularizers", "groups:0.2:0.1,path"))
    '(group_sparsity(skip=0.2, rest=0.1), path_depth)'
    """
    table = lookup("component", role, COMPONENTS)
    if role == "supernet":
        return _supernet_options(text, table)
    if role in ("regularizers", "stopping"):
        return tuple(part for each in text.split(",") for part in _build(role, each, table))
    return _build(role, text, table)


def _supernet_options(text: str, table: Mapping[str, Named | NamedByPath]) -> SupernetOptions:
    parts = [_build("supernet", each, table) for each in text.split(",")]
    names = [name for part in parts for name in part]
    if len(set(names)) < len(names):
        raise ValueError(f"supernet {text!r} gives one option twice; give each option once.")
    return SupernetOptions(**{name: option for part in parts for name, option in part.items()})


def _build(role: str, text: str, table: Mapping[str, Named | NamedByPath]) -> Any:
    name, *options = text.strip().split(":")
    try:
        build = lookup(role, name, table)
    except ValueError as error:
        raise ValueError(f"{error} Your own: in Python, replace(method, {role}=...).") from None
    try:
        return build(*options)
    except ValueError as error:
        raise ValueError(f"{role} {text!r} cannot be read: {str(error).removesuffix('.')}.") from None


def compose(name: str, overrides: Mapping[str, str] | None = None) -> Method:
    """A method by name, with some of its components replaced; each is given as text, by role.

    >>> from diffnas.method import components
    >>> components(compose("darts", {"weighting": "entmax:2"}))["weighting"]
    'entmax(order=2.0)'
    """
    method = lookup("method", name, METHODS)
    parts = {role: component(role, text) for role, text in (overrides or {}).items()}
    return replace(method, **parts) if parts else method
