"""Checking values from outside: each value's bounds are declared once, beside its name, and checked here. No torch.

A field of a record declares its bounds in its type: ``epochs: Annotated[int, whole(1, 1000)] = 50``, a ``Literal``,
``bool``, or any of these ``| None``. The record then calls ``check_fields``. A single number is checked by its
``Number``. A field that is an option has a ``Heading`` in its type, and the docstring of its record has its purpose.
"""

from __future__ import annotations

import numbers
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache
from inspect import cleandoc
from pathlib import Path
from types import MappingProxyType, NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")

_WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


@dataclass(frozen=True, kw_only=True)
class Number:
    """The bounds of a number; ``whole`` and ``real`` make one.

    Attributes:
        low, high: the bounds, both finite, so that neither infinity nor NaN lies between them.
        whole: whether the number must be whole.
        above: whether ``low`` itself is excluded.
        below: whether ``high`` itself is excluded.
    """

    low: float
    high: float
    whole: bool
    above: bool = False
    below: bool = False

    def __str__(self) -> str:
        if self.whole:
            return f"a whole number from {self.low:,} to {self.high:,}"
        first, last = ("above", "and") if self.above else ("from", "to")
        last = f"{last} below" if self.below else "and up to" if self.above else last
        return f"a number {first} {self.low:,.12g} {last} {self.high:,.12g}"

    def check(self, name: str, given: object) -> Any:
        """The number, as an ``int`` if it must be whole, else as a ``float``.

        Raises:
            ValueError: if ``given`` is no number within the bounds; the message begins with ``name``.

        >>> whole(1, 1000).check("epochs", 1.5)
        Traceback (most recent call last):
        ...
        ValueError: epochs must be a whole number from 1 to 1,000, got 1.5.
        """
        kind = numbers.Integral if self.whole else numbers.Real
        # To Python, True and False are whole numbers; no user means them as numbers.
        if isinstance(given, bool) or not isinstance(given, kind) or not self._holds(given):
            raise ValueError(f"{name} must be {self}, got {_shown(given)}.")
        return int(given) if isinstance(given, numbers.Integral) and self.whole else float(given)

    def read(self, text: str) -> object:
        """The number that a text represents; if it represents none, the text itself, which ``check`` then refuses."""
        try:
            return int(text) if self.whole else float(text)
        except ValueError:
            return text

    def _holds(self, given: Any) -> bool:
        over = given > self.low if self.above else given >= self.low
        under = given < self.high if self.below else given <= self.high
        return bool(over and under)


def whole(low: int, high: int) -> Number:
    """The bounds of a whole number from ``low`` to ``high``, both included."""
    return Number(low=low, high=high, whole=True)


def real(low: float, high: float, *, above: bool = False, below: bool = False) -> Number:
    """The bounds of a number from ``low`` to ``high``; ``above`` excludes ``low``, and ``below`` excludes ``high``.

    >>> str(real(0, 1, below=True)), str(real(0, 1e6, above=True))
    ('a number from 0 to below 1', 'a number above 0 and up to 1,000,000')
    """
    return Number(low=low, high=high, whole=False, above=above, below=below)


SEED = whole(0, 2**63 - 1)
"""A seed that every generator of random numbers accepts."""

THREADS = whole(1, 1024)
"""A number of computing threads; far more of them would crash the process."""

PROCESSES = whole(1, 1024)
"""A number of processes that compute a run together, or of machines."""

PICTURES = whole(1, 10**12)
"""A number of pictures."""

FRACTION = real(0, 1, above=True, below=True)
"""A share that is neither nothing nor everything."""


@dataclass(frozen=True)
class Heading:
    """The heading of an option in lists, given in its field's type: ``Annotated[float, Heading("Rates")]``."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Help:
    """The purpose of an option.

    Attributes:
        text: sentences about its purpose; where there is room for one line, only the first is shown.
        heading: the heading of the option in lists.
    """

    text: str
    heading: Heading

    @property
    def line(self) -> str:
        """The first sentence.

        >>> Help(text="threshold:0.4, ... or none. What remains is kept.", heading=Heading("Pruning")).line
        'threshold:0.4, ... or none.'
        """
        return re.split(r"(?<=[^.]\.) ", self.text)[0]


def helps(record: type) -> dict[str, Help]:
    """The purposes of all fields of a record that have a heading, by name.

    They are read from the docstrings of the record and of the records from which it inherits.
    """
    texts: dict[str, str] = {}
    for each in reversed(record.__mro__):
        texts |= _attributes(each.__doc__ or "")
    headings = {
        name: [each for each in _members(kind) if isinstance(each, Heading)] for name, kind in kinds(record).items()
    }
    return {name: Help(text=texts.get(name, ""), heading=found[0]) for name, found in headings.items() if found}


def explained(record: type[T]) -> type[T]:
    """The record itself, after the fields that it inherits were added to its docstring."""
    if record.__doc__:
        own = _attributes(record.__doc__)
        told = [f"    {name}: {each.text}" for name, each in helps(record).items() if name not in own]
        record.__doc__ = "\n".join([cleandoc(record.__doc__), *told, ""])
    return record


def _attributes(docstring: str) -> dict[str, str]:
    """The text of each attribute in a docstring, on one line, by name.

    >>> _attributes("A rate.\\n\\n    Attributes:\\n        lr: Of the weights.\\n            At first.\\n    ")
    {'lr': 'Of the weights. At first.'}
    """
    # From Python 3.13 on, docstrings lose their common indent when they are compiled.
    section = cleandoc(docstring).partition("Attributes:\n")[2].split("\n\n")[0]
    found = re.findall(r"^ {4}(\w+): ((?:.|\n {8})*)", section, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}


def _kinds(record: type) -> Mapping[str, Any]:
    hints = get_type_hints(record, include_extras=True)
    return MappingProxyType({field.name: hints[field.name] for field in fields(record)})


kinds: Callable[[type], Mapping[str, Any]] = cache(_kinds)
"""The declared kind of each field of a record, by name."""


def check_fields(record: Any) -> None:
    """Check every field of a frozen record against its declared kind; numbers become plain ``int`` or ``float``.

    A field whose kind declares no bounds or choices is not checked.

    Raises:
        ValueError: for the first field that is not of its kind.
    """
    for name, kind in kinds(type(record)).items():
        object.__setattr__(record, name, checked(name, kind, getattr(record, name)))


def checked(name: str, kind: Any, given: Any) -> Any:
    """The value, once it is known to be of its declared kind; numbers become plain ``int`` or ``float``.

    Raises:
        ValueError: if it is of another kind; the message has its name and what would work.

    >>> checked("threads", Annotated[int, THREADS] | None, None)
    >>> checked("split", Literal["shuffled", "ordered"], "sorted")
    Traceback (most recent call last):
    ...
    ValueError: split must be 'shuffled' or 'ordered', got 'sorted'.
    """
    number, choices, optional = _parts(kind)
    if given is None and optional:
        return None
    if number is not None:
        return number.check(name, given)
    # The types are compared too, because 1 equals True but does not mean True.
    if choices and not any(given == choice and type(given) is type(choice) for choice in choices):
        raise ValueError(f"{name} must be {_listed(choices)}, got {_shown(given)}.")
    types = {each for each in _members(kind) if isinstance(each, type)} - {type(None)}
    if types == {str} and not isinstance(given, str):
        raise ValueError(f"{name} must be a text, got {_shown(given)}.")
    return given


def plain(kind: Any) -> Any:
    """The type to which a text for a value of this kind is first converted: ``int``, ``float``, ``bool``, ``Path`` or
    ``str``.

    >>> plain(Annotated[int, whole(1, 9)] | None), plain(Literal["cosine", "line"])
    (<class 'int'>, <class 'str'>)
    """
    members = list(_members(kind))
    return next((each for each in (bool, int, float, Path) if each in members), str)


def wanted(kind: Any) -> str:
    """The allowed values of this kind, in words.

    >>> wanted(Annotated[int, whole(1, 9)] | None), wanted(Literal["cosine", "line"]), wanted(str | None)
    ('a whole number from 1 to 9', "'cosine' or 'line'", 'a text')
    """
    number, given, _ = _parts(kind)
    if number is not None or given:
        return str(number) if number is not None else _listed(given)
    return {int: "a whole number", Path: "a file or folder"}.get(plain(kind), "a text")


def choices(kind: Any) -> tuple[str, ...]:
    """The texts among which a value of this kind is chosen; empty for a kind that is not a choice of texts.

    >>> choices(Literal["cosine", "line"])
    ('cosine', 'line')
    """
    return tuple(each for each in _parts(kind)[1] if isinstance(each, str))


def read(kind: Any, text: str) -> object:
    """The value of this kind that a text represents; if it represents none, the text itself.

    >>> read(Annotated[float, real(0, 1)], "1e-2"), read(bool, "yes"), read(Literal["cosine", "line"], "line")
    (0.01, True, 'line')
    """
    number, choices, _ = _parts(kind)
    if number is not None:
        return number.read(text)
    return _WORDS.get(text.lower(), text) if choices == (True, False) else text


def _parts(kind: Any) -> tuple[Number | None, tuple[Any, ...], bool]:
    """The bounds of a kind if it is a number, its choices if it has some, and whether None is allowed."""
    members = list(_members(kind))
    number = next((each for each in members if isinstance(each, Number)), None)
    choices = [choice for each in members if get_origin(each) is Literal for choice in get_args(each)]
    return number, tuple(choices + ([True, False] if bool in members else [])), NoneType in members


def _members(kind: Any) -> Iterator[Any]:
    """The types in a kind, and the notes of ``Annotated``, such as bounds."""
    if get_origin(kind) in (Union, UnionType):
        for member in get_args(kind):
            yield from _members(member)
    elif get_origin(kind) is Annotated:
        noted, *notes = get_args(kind)
        yield from notes
        yield from _members(noted)
    else:
        yield kind


def _listed(choices: tuple[Any, ...]) -> str:
    """Choices in words.

    >>> _listed((True, False)), _listed(("a", "b", "c"))
    ('True or False', "'a', 'b' or 'c'")
    """
    words = [repr(choice) for choice in choices]
    return f"{', '.join(words[:-1])} or {words[-1]}"


def _shown(given: object) -> str:
    """The value's representation in one line, shortened to 60 characters."""
    try:
        text = " ".join(repr(given).split())
    except ValueError:  # Python does not convert a number of thousands of digits into text.
        text = "a number of thousands of digits"
    return text if len(text) <= 60 else f"{text[:57]}..."
