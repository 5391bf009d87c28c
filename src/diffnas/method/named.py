"""Values by name: what modules define, and what builds a component from a text such as ``entmax:3``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from types import ModuleType
from typing import Any, TypeVar

from diffnas.components.level import Level
from diffnas.values import Number

T = TypeVar("T")


def values_of(kind: type[T], modules: Iterable[ModuleType]) -> dict[str, T]:
    """The values of a kind that modules define, by the names of their variables, ``darts_2nd`` as ``darts-2nd``."""
    return {
        name.replace("_", "-"): value
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, kind) and not name.startswith("_")
    }


@dataclass(frozen=True, kw_only=True)
class Named:
    """What builds a component from the texts of its options.

    Attributes:
        make: takes the options by name; without any it makes the component as it is by default.
        options: what each option may be, by name, in the order of the text.

    >>> from diffnas.components import stopping
    >>> from diffnas.values import whole
    >>> bound(stopping.after, epochs=whole(1, 100))("25").keywords
    {'epochs': 25}
    """

    make: Callable[..., Any]
    options: Mapping[str, Number] = field(default_factory=dict)

    def __call__(self, *texts: str) -> Any:
        """The component with these options, all of them or none.

        Raises:
            ValueError: for another number of options, or one that is out of its bounds.
        """
        if texts and len(texts) != len(self.options):
            numbers = (
                f"{len(self.options)} after its name, {':'.join(self.options)}, or none" if self.options else "none"
            )
            raise ValueError(f"of numbers it takes {numbers}, not {len(texts)}")
        given = zip(self.options.items(), texts, strict=False)
        return self.make(**{name: number.check(name, number.read(text)) for (name, number), text in given})


def just(component: Any) -> Named:
    """One component, without options."""
    return Named(make=lambda: component)


def made(make: Callable[..., Any], **options: Number) -> Named:
    """What ``make`` gives for the options."""
    return Named(make=make, options=options)


def bound(function: Callable[..., Any], **options: Number) -> Named:
    """A function, with options bound."""
    return Named(make=partial(_bind, function), options=options)


def bound_to(function: Callable[..., Any], option: str, named: Named) -> Named:
    """A function with one option bound to something that is named itself, such as a schedule."""
    return replace(named, make=lambda **values: partial(function, **{option: named.make(**values)}))


def level(of: Level, **options: Number) -> Named:
    """A level, with options of its step bound."""
    return Named(make=lambda **values: replace(of, step=_bind(of.step, **values)), options=options)


def one(named: Named) -> Named:
    """The same as a tuple of one, for roles that take several."""
    return replace(named, make=lambda **values: (named.make(**values),))


def supernet_option(name: str, named: Named) -> Named:
    """The same as an option of the supernet: ``{name: value}``."""
    return replace(named, make=lambda **values: {name: named.make(**values)})


def _bind(function: Callable[..., Any], /, **values: Any) -> Callable[..., Any]:
    return partial(function, **values) if values else function
