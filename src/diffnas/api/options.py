"""The options that functions of the API take by name: their records, and their signatures and docstrings."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import fields
from typing import Any, TypeVar

from diffnas.components.contract import told
from diffnas.engine.settings import Machine, Source, Wanted
from diffnas.values import helps, kinds, plain

F = TypeVar("F", bound=Callable[..., Any])
R = TypeVar("R")


def by_record(options: Mapping[str, Any], *, but: Collection[str] = ()) -> tuple[Source, Machine, dict[str, Any]]:
    """The options in three parts: about the pictures, about the machine, and all others.

    Options with a name in ``but`` count as others.

    Raises:
        ValueError: if a record refuses a value.

    >>> by_record({"device": "cpu", "epochs": 3})[2]
    {'epochs': 3}
    """
    rest = dict(options)
    return _taken(Source, rest, but), _taken(Machine, rest, but), rest


def wanted_of(options: Mapping[str, Any], *, but: Collection[str] = ()) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options about the cost of the network that were given (not None), and all other options.

    Those called in ``but`` are among the others.

    Raises:
        ValueError: if a value is not a text.

    >>> wanted_of({"target": "macs=20M", "width": None, "epochs": 3})
    ({'target': 'macs=20M'}, {'epochs': 3})
    """
    names = helps(Wanted).keys() - set(but)
    said = {name: value for name, value in options.items() if name in names and value is not None}
    for name, value in said.items():
        if not isinstance(value, str):
            raise ValueError(
                f"{name} takes a text, as on the command line, such as target='macs=20M'; got {told(value)}."
            )
    return said, {name: value for name, value in options.items() if name not in names}


def _taken(record: type[R], options: dict[str, Any], but: Collection[str]) -> R:
    """A record made from its options, which are removed from ``options``."""
    return record(**{name: options.pop(name) for name in helps(record) if name in options and name not in but})


def takes(*records: type, but: Collection[str] = ()) -> Callable[[F], F]:
    """A decorator that gives a function of ``**options`` a full signature, and a docstring with each option.

    Args:
        records: the records whose fields are the options.
        but: the names of fields that are not options of this function.
    """

    def taking(function: F) -> F:
        signature = inspect.signature(function)
        own = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
        named = [each for record in records for each in _parameters(record) if each.name not in but]
        function.__signature__ = signature.replace(parameters=[*own, *named])  # type: ignore[attr-defined]
        texts = {name: each.text for record in records for name, each in helps(record).items()}
        lines = [f"    {each.name}: {texts[each.name]}" for each in named]
        function.__doc__ = "\n".join([inspect.getdoc(function) or "", "", "Options:", *lines, ""])
        return function

    return taking


def _parameters(record: type) -> Iterator[inspect.Parameter]:
    """The fields of a record as parameters."""
    for each in fields(record):
        kind = plain(kinds(record)[each.name])
        optional = kind | None if each.default is None else kind
        yield inspect.Parameter(each.name, inspect.Parameter.KEYWORD_ONLY, default=each.default, annotation=optional)
