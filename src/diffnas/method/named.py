"""Values by name: those that modules define, and components that are built from a text such as ``entmax:3``."""

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
    """The values of a type that modules define, by their variables' names: ``darts_2nd`` is called ``darts-2nd``."""
    return {
        name.replace("_", "-"): value
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, kind) and not name.startswith("_")
    }


@dataclass(frozen=True, kw_only=True)
class Named:
    """A builder of a component from the texts of its options.

    Attributes:
        make: a function from options by name to the component. Without options it makes the default component.
        options: the type and the bounds of each option, by name, in the order of the text.

    >>> from diffnas.components import stopping
    >>> from diffnas.values import whole
    >>> bound(stopping.after, epochs=whole(1, 100))("25").keywords
    {'epochs': 25}
    """

    make: Callable[..., Any]
    options: Mapping[str, Number] = field(default_factory=dict)

    def __call__(self, *texts: str) -> Any:
        """The component with these options: all options are given, or none.

        Raises:
            ValueError: if only some options are given, or too many, or if one is out of its bounds.
        """
        if texts and len(texts) != len(self.options):
            numbers = (
                f"{len(self.options)} after its name, {':'.join(self.options)}, or none" if self.options else "none"
            )
            raise ValueError(f"of numbers it takes {numbers}, not {len(texts)}")
        given = zip(self.options.items(), texts, strict=False)
        return self.make(**{name: number.check(name, number.read(text)) for (name, number), text in given})


@dataclass(frozen=True, kw_only=True)
class NamedByPath:
    """A builder of a component from a path, which may have colons, such as ``run:RUNS/OLD``.

    Attributes:
        make: a function of the path.
        wanted: the path in words, for an error: "the folder of a run".
    """

    make: Callable[[str], Any]
    wanted: str
    options: Mapping[str, Number] = field(default_factory=dict)

    def __call__(self, *texts: str) -> Any:
        """The component; a ValueError without a path."""
        path = ":".join(texts)
        if not path.strip():
            raise ValueError(f"write {self.wanted} after its name and a colon")
        return self.make(path)


def just(component: Any) -> Named:
    """A builder of one component, without options."""
    return Named(make=lambda: component)


def made(make: Callable[..., Any], **options: Number) -> Named:
    """A builder that calls ``make`` with the options."""
    return Named(make=make, options=options)


def bound(function: Callable[..., Any], **options: Number) -> Named:
    """A builder of a function with options bound."""
    return Named(make=partial(_bind, function), options=options)


def bound_to(function: Callable[..., Any], option: str, named: Named) -> Named:
    """A builder of a function whose one option is bound to what another builder makes, such as a schedule."""
    return replace(named, make=lambda **values: partial(function, **{option: named.make(**values)}))


def level(of: Level, **options: Number) -> Named:
    """A builder of a level with options of its step bound."""
    return Named(make=lambda **values: replace(of, step=_bind(of.step, **values)), options=options)


def one(named: Named) -> Named:
    """A builder of a tuple with the one component that ``named`` builds, for roles that take several."""
    return replace(named, make=lambda **values: (named.make(**values),))


def supernet_option(name: str, named: Named) -> Named:
    """A builder of an option of the supernet, ``{name: value}``, with the value that ``named`` builds."""
    return replace(named, make=lambda **values: {name: named.make(**values)})


def _bind(function: Callable[..., Any], /, **values: Any) -> Callable[..., Any]:
    return partial(function, **values) if values else function
