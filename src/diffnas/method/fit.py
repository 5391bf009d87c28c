"""Which components fit together in a method: the needs that components declare, and what meets each need."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from torch import nn

from diffnas.components.traits import options_of, traits_of
from diffnas.method.text import describe

if TYPE_CHECKING:
    from diffnas.method.record import Method


class Need(NamedTuple):
    """What a component with a trait needs from its method.

    Attributes:
        met: whether a method meets the need.
        given: what a method has if it does not, with the names of roles in braces.
        why: why that cannot work.
        fix: what would work.
    """

    met: Callable[[Method], bool]
    given: str
    why: str
    fix: str


NEEDS: dict[str, Need] = {
    "needs_competition": Need(
        lambda method: traits_of(method.weighting).competes,
        "{weighting} declares competes=False",
        "its weights fall independently of each other, so an edge could lose all its operations, and the last one "
        "need not have weight 1",
        "Use weights that compete, such as softmax, or prune gates by shut, which keeps the likeliest operation of an "
        "edge.",
    ),
    "needs_gates": Need(
        lambda method: not traits_of(method.weighting).competes,
        "{weighting} has no gates (it declares no competes=False)",
        "the weights of an edge sum to 1, so an edge cannot lose its last operation and most weights are below 1/2",
        "Use gates or sigmoid weights; prune weights that compete by exact-zero or threshold.",
    ),
    "needs_alpha": Need(
        lambda method: traits_of(method.weighting).follows_alpha,
        "{weighting} declares follows_alpha=False",
        "its weights never fall below an even share, so nothing would be removed",
        "Use a weighting that follows alpha, such as annealed, or no pruning.",
    ),
    "needs_zeros": Need(
        lambda method: traits_of(method.weighting).gives_zeros,
        "{weighting} never gives a weight of exactly zero (it declares no gives_zeros)",
        "nothing would be removed",
        "Use an entmax weighting, or no pruning; a weighting of your own that gives zeros declares "
        "@traits(gives_zeros=True).",
    ),
    "needs_pruning": Need(
        lambda method: method.pruning is not None,
        "the method has no pruning",
        "without pruning, all operations survive",
        "Read off by another rule, or prune.",
    ),
    "needs_held_out": Need(
        lambda method: method.level.data == "halves",
        "the level {level} holds no pictures out",
        "there are no held-out pictures to measure",
        "Use a level with a held-out half, such as bilevel (or weights-only, which does not train alpha), or pick the "
        "last epoch.",
    ),
    "needs_last": Need(
        lambda method: traits_of(method.pick).takes_last,
        "{pick} may pick an earlier epoch (it declares no takes_last)",
        "it decides the cells in its last epoch",
        "Pick the last.",
    ),
    "needs_probabilities": Need(
        lambda method: method.edges is None,
        "the strengths of edges multiply the scores",
        "it takes scores for probabilities, and products are not probabilities",
        "Read off by strongest-inputs or strongest-pairs, or give no --edges.",
    ),
}


def check(method: Method) -> None:
    """Raise an error if components cannot work together.

    Raises:
        ValueError: naming the trait, what was given, and what would work.
    """
    for component in _components(method):
        traits = traits_of(component)
        if traits.complaint:
            raise ValueError(f"{describe(component)} cannot be: {traits.complaint}")
        for name, need in NEEDS.items():
            if getattr(traits, name) and not need.met(method):
                _refuse(method, component, name, need)
    if not traits_of(method.weighting).competes and traits_of(method.discretize).none_wins == "always":
        raise ValueError(
            f"{describe(method.discretize)} lets 'none' win an edge (none_wins), and {describe(method.weighting)} "
            "declares competes=False: a gate of 'none' multiplies zeros, so its value says nothing. Read gates off by "
            "strongest-pairs, strongest-inputs or winners-without-none."
        )
    _check_simplex(method)
    _check_edges(method)
    _check_undone(method)


def _components(method: Method) -> Iterator[Any]:
    yield from (method.pruning, method.stages, method.discretize, method.pick, method.family)
    yield from (*method.stopping, *method.regularizers)


def _refuse(method: Method, component: object, name: str, need: Need) -> NoReturn:
    roles = {role: describe(getattr(method, role)) for role in ("weighting", "level", "pick")}
    raise ValueError(f"{describe(component)} {name}, and {need.given.format(**roles)}: {need.why}. {need.fix}")


def _check_simplex(method: Method) -> None:
    weighting, update = method.weighting, method.update
    if traits_of(weighting).on_simplex == traits_of(update).on_simplex:
        return
    if traits_of(weighting).on_simplex:
        raise ValueError(
            f"{describe(weighting)} declares on_simplex and {describe(update)} does not: its gradients are for the "
            "weights, not for their logarithms in alpha. Add --update exponentiated, or use softmax."
        )
    raise ValueError(
        f"{describe(update)} declares on_simplex and {describe(weighting)} does not: this weighting makes its weights "
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
    if traits_of(method.edges).on_simplex != traits_of(method.update).on_simplex:
        raise ValueError(
            f"one update moves the weights of operations and the strengths of edges, but only one of the update "
            f"{describe(method.update)} and the edges {describe(method.edges)} declares on_simplex. Use simplex for "
            "both with exponentiated gradients, and for neither with adam."
        )


def _check_undone(method: Method) -> None:
    sign, options = traits_of(method.pick).undoes, options_of(method.pick)
    rules = [options_of(rule) for rule in method.stopping if traits_of(rule).stops_by == sign]
    if sign is not None and options not in rules:
        wanted = ":".join([sign, *(f"{each:g}" for each in options.values())])
        raise ValueError(
            f"{describe(method.pick)} undoes {sign}, so it needs the stopping rule for that growth, with the same "
            f"options. Stop by {wanted}, or pick the last."
        )
