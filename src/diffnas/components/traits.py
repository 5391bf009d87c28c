"""Traits: what a component is and what it needs, declared on the component itself.

A method is checked only by traits, so users' components are treated in the same way as ours. ``traits`` declares them
on a function, a class or an object. A ``partial`` has the traits of its function, and a subclass those of its base.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Literal, TypeVar

from diffnas.lookup import lookup

T = TypeVar("T")

_PLACE = "_diffnas_traits"


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What a component is, and what it needs from the other components. The defaults hold for all that is not declared.

    Attributes:
        gives_zeros: a weighting that gives exactly 0 to operations that lose.
        competes: a weighting whose weights sum to 1 on each edge; False for gates.
        follows_alpha: a weighting whose weights depend on alpha.
        draws: a weighting whose weights in a step are a sample; its weights at rest are the probabilities.
        on_simplex: a weighting whose alpha holds logarithms of weights, but whose gradients are those of the weights;
            or an update for such parameters.
        needs_zeros: a rule that does nothing unless the weighting gives zeros.
        needs_competition: a rule that could empty an edge unless the edge's operations compete.
        needs_gates: a rule that makes no sense if operations compete.
        needs_alpha: a rule that does nothing unless the weights follow alpha.
        needs_pruning: a discretize rule that takes all operations that pruning left.
        needs_probabilities: a discretize rule that takes scores for probabilities.
        needs_skips: a rule for skip connections, which makes no sense in a space that can have none.
        needs_held_out: a component that reads results on held-out pictures.
        needs_last: stages that decide the cells in the last epoch.
        takes_last: a pick that always takes the last epoch.
        none_wins: when a discretize rule compares ``none`` with the other operations of an edge.
        reads_eigenvalue: a component that reads the measured eigenvalue.
        steps_as_sgd: the step of a level that looks ahead by a step of SGD.
        stops_by: the quantity by which a stopping rule ends a search.
        undoes: the ``stops_by`` of a stopping rule that acts late; the pick then takes an earlier epoch.
        complaint: what is wrong with the bound options, as a sentence; None if nothing is wrong.
    """

    gives_zeros: bool = False
    competes: bool = True
    follows_alpha: bool = True
    draws: bool = False
    on_simplex: bool = False
    needs_zeros: bool = False
    needs_competition: bool = False
    needs_gates: bool = False
    needs_alpha: bool = False
    needs_pruning: bool = False
    needs_probabilities: bool = False
    needs_skips: bool = False
    needs_held_out: bool = False
    needs_last: bool = False
    takes_last: bool = False
    none_wins: Literal["never", "always", "without an in-degree"] = "never"
    reads_eigenvalue: bool = False
    steps_as_sgd: bool = False
    stops_by: str | None = None
    undoes: str | None = None
    complaint: str | None = None


_KINDS = {each.name: type(each.default) for each in fields(Traits)}


def traits(**declared: Any) -> Callable[[T], T]:
    """A decorator that declares traits on a component and returns the component. It can also be called on an object.

    Args:
        declared: traits by name. A value may be a function of options of the component, such as ``lambda order=2.0:
            order != 1``. It is called with those of its options that are bound.

    Raises:
        ValueError: if a trait is unknown or has a wrong value, or if the component cannot have attributes.

    >>> @traits(gives_zeros=lambda order=2.0: order != 1)
    ... def mine(alpha, keep, moment, *, order=2.0): ...
    >>> traits_of(mine).gives_zeros, traits_of(partial(mine, order=1)).gives_zeros
    (True, False)
    """
    for name, value in declared.items():
        kind = lookup("trait", name, _KINDS)
        if kind is bool and not isinstance(value, bool) and not callable(value):
            raise ValueError(f"the trait {name} is True or False, not {value!r}; or a function of the bound options.")

    def declare(component: T) -> T:
        try:
            setattr(component, _PLACE, {**getattr(component, _PLACE, {}), **declared})
        except (AttributeError, TypeError):
            raise ValueError(
                f"{component!r} cannot hold traits. Declare them on a partial of it, or on its class."
            ) from None
        return component

    return declare


def traits_of(component: object) -> Traits:
    """The traits of a component with its bound options."""
    declared: dict[str, Any] = dict(getattr(component, _PLACE, {}))
    options: dict[str, Any] = {}
    while isinstance(component, partial):
        options = {**component.keywords, **options}
        component = component.func
        declared = {**getattr(component, _PLACE, {}), **declared}
    return Traits(**{name: _settled(value, options) for name, value in declared.items()})


def _settled(value: Any, options: dict[str, Any]) -> Any:
    if not callable(value):
        return value
    return value(**{name: options[name] for name in inspect.signature(value).parameters if name in options})


def options_of(component: object) -> dict[str, Any]:
    """The options that are bound to a component."""
    return dict(component.keywords) if isinstance(component, partial) else {}
