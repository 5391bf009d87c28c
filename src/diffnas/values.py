"""Values from outside: what each may be is said once, where it is named, and checked here. No torch.

A field of a record says it in its type: ``epochs: Annotated[int, whole(1, 1000)] = 50``, a ``Literal``, ``bool``, or
any of these ``| None``. The record then calls ``check_fields``. A number on its own is checked by its ``Number``.
"""

from __future__ import annotations

import numbers
from dataclasses import dataclass, fields
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

_WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


@dataclass(frozen=True, kw_only=True)
class Number:
    """What a number may be; ``whole`` and ``real`` make one.

    Attributes:
        low, high: its bounds, both finite, so that neither infinity nor NaN lies between them.
        whole: whether it is a whole number.
        above, below: whether ``low``, and ``high``, are themselves left out.
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
        """The number itself, an ``int`` where whole numbers are meant and else a ``float``.

        Raises:
            ValueError: if it is no such number, with the name of what it was given for.

        >>> whole(1, 1000).check("epochs", 1.5)
        Traceback (most recent call last):
        ...
        ValueError: epochs must be a whole number from 1 to 1,000, got 1.5.
        """
        kind = numbers.Integral if self.whole else numbers.Real
        # True and False are whole numbers to Python; nobody means them so.
        if isinstance(given, bool) or not isinstance(given, kind) or not self._holds(given):
            raise ValueError(f"{name} must be {self}, got {_shown(given)}.")
        return int(given) if isinstance(given, numbers.Integral) and self.whole else float(given)

    def read(self, text: str) -> object:
        """The number that a text stands for; the text itself, for ``check`` to refuse, where it stands for none."""
        try:
            return int(text) if self.whole else float(text)
        except ValueError:
            return text

    def _holds(self, given: Any) -> bool:
        over = given > self.low if self.above else given >= self.low
        under = given < self.high if self.below else given <= self.high
        return bool(over and under)


def whole(low: int, high: int) -> Number:
    """A whole number of at least ``low`` and at most ``high``."""
    return Number(low=low, high=high, whole=True)


def real(low: float, high: float, *, above: bool = False, below: bool = False) -> Number:
    """A number of at least ``low`` and at most ``high``; or above the one, and below the other.

    >>> str(real(0, 1, below=True)), str(real(0, 1e6, above=True))
    ('a number from 0 to below 1', 'a number above 0 and up to 1,000,000')
    """
    return Number(low=low, high=high, whole=False, above=above, below=below)


SEED = whole(0, 2**63 - 1)
"""Seeds: what every generator of random numbers takes."""

THREADS = whole(1, 1024)
"""Threads that compute; far more of them end the process."""

PICTURES = whole(1, 10**12)
"""How many pictures."""

FRACTION = real(0, 1, above=True, below=True)
"""A share that leaves something on either side."""


def kinds(record: type) -> dict[str, Any]:
    """The declared kind of each field of a record, by name."""
    hints = get_type_hints(record, include_extras=True)
    return {field.name: hints[field.name] for field in fields(record)}


def check_fields(record: Any) -> None:
    """Check every field of a frozen record against its declared kind; numbers become plain ``int`` or ``float``.

    Fields of other kinds are left alone.

    Raises:
        ValueError: for the first field that is not of its kind.
    """
    for name, kind in kinds(type(record)).items():
        object.__setattr__(record, name, checked(name, kind, getattr(record, name)))


def checked(name: str, kind: Any, given: Any) -> Any:
    """A value that is of its declared kind.

    Raises:
        ValueError: if it is not, with its name and what would work.

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
    # By type too: 1 equals True, and stands for it nowhere.
    if choices and not any(given == choice and type(given) is type(choice) for choice in choices):
        raise ValueError(f"{name} must be {_listed(choices)}, got {_shown(given)}.")
    return given


def read(kind: Any, text: str) -> object:
    """What a text stands for where a value of this kind is wanted; where it stands for none, the text itself.

    >>> read(Annotated[float, real(0, 1)], "1e-2"), read(bool, "yes"), read(Literal["cosine", "line"], "line")
    (0.01, True, 'line')
    """
    number, choices, _ = _parts(kind)
    if number is not None:
        return number.read(text)
    return _WORDS.get(text.lower(), text) if choices == (True, False) else text


def _parts(kind: Any) -> tuple[Number | None, tuple[Any, ...], bool]:
    """The number that a kind is, or the choices that it has, and whether None is one of its values."""
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
    """A value as it was given, cut where it is long."""
    try:
        text = " ".join(repr(given).split())
    except ValueError:  # Python writes out no number of thousands of digits.
        text = "a number of thousands of digits"
    return text if len(text) <= 60 else f"{text[:57]}..."
