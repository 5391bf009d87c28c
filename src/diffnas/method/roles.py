"""Checks of a method's roles: each must hold a component that can be called with the arguments of its role."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from diffnas.components import contract
from diffnas.components.contract import check_callable, name_of, told
from diffnas.components.level import Level
from diffnas.components.pretext import Pretext
from diffnas.components.supernet_options import SupernetOptions

if TYPE_CHECKING:
    from diffnas.method.record import Method

# Roles that hold one component, and whether they may be None.
_SINGLE = {
    "weighting": (contract.WEIGHTING, False),
    "discretize": (contract.DISCRETIZE, False),
    "update": (contract.UPDATE, False),
    "edges": (contract.EDGES, True),
    "pruning": (contract.PRUNING, True),
    "stages": (contract.STAGES, False),
    "pick": (contract.PICK, False),
    "family": (contract.FAMILY, False),
    "initial": (contract.INITIAL, False),
}
# Roles that hold any number of components, in a tuple.
_SEVERAL = {"regularizers": contract.REGULARIZER, "stopping": contract.STOPPING}


def check(method: Method) -> None:
    """Raise an error if a role of a method does not hold a component of that role.

    Raises:
        ValueError: naming the role, what it holds, and what would work.
    """
    for name, (role, may_be_empty) in _SINGLE.items():
        component = getattr(method, name)
        if component is not None or not may_be_empty:
            # A class of optimizers is an update, because a call of the class makes an optimizer.
            check_callable(role, component, classes=role is contract.UPDATE)
    for name, role in _SEVERAL.items():
        several = getattr(method, name)
        if not isinstance(several, tuple):
            one = f": ({name_of(several)},)" if callable(several) else ""
            raise ValueError(f"{name} takes a tuple of components, not {told(several)}. Write a tuple{one}.")
        for component in several:
            check_callable(role, component)
    if not isinstance(method.level, Level):
        raise ValueError(
            f'a level is a Level, not {told(method.level)}. Write level.Level(step=..., data="halves") with a function '
            "of a step."
        )
    if not isinstance(method.supernet, SupernetOptions):
        raise ValueError(
            f"supernet takes SupernetOptions, not {told(method.supernet)}. Write supernet_options.SupernetOptions(...)."
        )
    if method.pretext is not None and not isinstance(method.pretext, Pretext):
        raise ValueError(f"pretext takes a Pretext or None, not {told(method.pretext)}. Write pretext.Pretext(...).")
    if not isinstance(method.settings, Mapping):
        raise ValueError(f"settings is a mapping of names to values, not {told(method.settings)}.")
