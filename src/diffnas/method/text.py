"""Components as text."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from functools import partial

from torch import nn

from diffnas.components.contract import name_of
from diffnas.components.level import Level
from diffnas.components.pretext import Pretext
from diffnas.components.supernet_options import SupernetOptions


def describe(component: object) -> str:
    """A component with its options, as text. Run folders hold this text, and two runs are compared by it.

    >>> from diffnas.components import weighting
    >>> describe(partial(weighting.entmax, order=3.0))
    'entmax(order=3.0)'
    """
    if isinstance(component, partial):
        options = ", ".join(f"{name}={describe(option)}" for name, option in component.keywords.items())
        return f"{name_of(component)}({options})"
    if isinstance(component, Level):
        return describe(component.step).replace("_step", "", 1)
    if isinstance(component, Pretext):
        return component.name + describe(component.batch).removeprefix(name_of(component.batch))
    if isinstance(component, SupernetOptions):
        changed = ", ".join(f"{name}={describe(option)}" for name, option in component.changed.items())
        return f"SupernetOptions({changed})" if changed else "None"
    if isinstance(component, tuple):
        return "(" + ", ".join(describe(part) for part in component) + ")"
    if is_dataclass(component) and not isinstance(component, type):
        options = ", ".join(f"{part.name}={describe(getattr(component, part.name))}" for part in fields(component))
        return f"{type(component).__name__}({options})"
    if isinstance(component, nn.Module):
        return f"{type(component).__name__}({component.extra_repr()})"
    return name_of(component) if callable(component) else repr(component)
