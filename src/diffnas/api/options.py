"""The options that the verbs take by name: to which record each belongs, and how a verb tells of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, TypeVar

from diffnas.engine.settings import Machine, Source
from diffnas.values import helps, kinds, plain

F = TypeVar("F", bound=Callable[..., Any])
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What was given by name.

    Attributes:
        source: what pictures are learned from.
        machine: where it is computed.
        settings: all the rest.
    """

    source: Source = Source()
    machine: Machine = Machine()
    settings: Mapping[str, Any] = MappingProxyType({})


def by_record(options: Mapping[str, Any], *, but: Collection[str] = ()) -> Options:
    """Options by the record that each belongs to; those called in ``but`` count as settings.

    Raises:
        ValueError: for a value that its record refuses.

    >>> by_record({"device": "cpu", "epochs": 3}).settings
    {'epochs': 3}
    """
    rest = dict(options)
    source, machine = _taken(Source, rest, but), _taken(Machine, rest, but)
    return Options(source=source, machine=machine, settings=rest)


def _taken(record: type[R], options: dict[str, Any], but: Collection[str]) -> R:
    """The record of the options that are its own, which leave ``options``."""
    return record(**{name: options.pop(name) for name in helps(record) if name in options and name not in but})


def takes(*records: type, but: Collection[str] = ()) -> Callable[[F], F]:
    """Gives a function of ``**options`` its true signature, and a docstring that tells of each option.

    Args:
        records: whose fields the options are.
        but: names of fields that are no options of this function.
    """

    def told(function: F) -> F:
        signature = inspect.signature(function)
        own = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
        named = {field.name: (record, field) for record in records for field in fields(record) if field.name not in but}
        options = [_parameter(record, field) for record, field in named.values()]
        function.__signature__ = signature.replace(parameters=[*own, *options])  # type: ignore[attr-defined]
        lines = [f"    {name}: {helps(record)[name].text}" for name, (record, _) in named.items()]
        function.__doc__ = "\n".join([inspect.getdoc(function) or "", "", "Options:", *lines, ""])
        return function

    return told


def _parameter(record: type, field: Any) -> inspect.Parameter:
    """A field as a parameter."""
    kind = plain(kinds(record)[field.name])
    optional = kind | None if field.default is None else kind
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=optional)
