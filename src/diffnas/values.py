"""Checking values from outside: each value's bounds are declared once, beside its name, and checked here. No torch.

A field of a record declares its bounds in its type: ``epochs: Annotated[int, whole(1, 1000)] = 50``, a ``Literal``,
``bool``, or any of these ``| None``. The record then calls ``check_fields``. A single number is checked by its
``Number``.
"""

from __future__ import annotations

import numbers
from dataclasses import dataclass, fields
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

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

PICTURES = whole(1, 10**12)
"""A number of pictures."""

FRACTION = real(0, 1, above=True, below=True)
"""A share that is neither nothing nor everything."""


def kinds(record: type) -> dict[str, Any]:
    """The declared kind of each field of a record, by name."""
    hints = get_type_hints(record, include_extras=True)
    return {field.name: hints[field.name] for field in fields(record)}


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
    return given


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
    members = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    optional = NoneType in members
    number, choices = None, list[Any]()
    for member in members:
        if get_origin(member) is Annotated:
            number = next((each for each in get_args(member)[1:] if isinstance(each, Number)), number)
        elif get_origin(member) is Literal:
            choices += get_args(member)
        elif member is bool:
            choices += (True, False)
    return number, tuple(choices), optional


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
    except ValueError:  # Python refuses to print a number of thousands of digits.
        text = "a number of thousands of digits"
    return text if len(text) <= 60 else f"{text[:57]}..."
