"""The grid of a sweep: its axes, and the cells that they make. No torch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from diffnas.names import showable
from diffnas.values import whole

LARGEST = whole(1, 10_000)
"""The number of runs in a sweep."""

_ALWAYS = ("method", "seed")
_LONGEST = 100  # letters in the name of a folder


def cells(axes: Mapping[str, Sequence[Any]]) -> dict[str, dict[str, Any]]:
    """The cells of a grid, by the names of their run folders: for each, a value of every axis, by the axis' name.

    The seed varies fastest. A name has the method, the value of each axis that has several, and the seed.

    Raises:
        ValueError: if an axis is empty or has a value twice, or if there are too many cells.

    >>> list(cells({"method": ["sparse", "darts"], "epochs": [3], "seed": range(2)}))
    ['sparse-seed0', 'sparse-seed1', 'darts-seed0', 'darts-seed1']
    >>> cells({"method": ["darts"], "search.lr": [0.1, 0.2]})["darts-lr0.2"]
    {'method': 'darts', 'search.lr': 0.2}
    """
    ordered = {"method": ["sparse"], **axes}
    ordered["seed"] = ordered.pop("seed", [0])
    count = 1
    for name, values in ordered.items():
        _check(name, values)
        count *= len(values)
    LARGEST.check("the number of runs in a sweep", count)
    varying = [name for name, values in ordered.items() if name in _ALWAYS or len(values) > 1]
    shown = [name for name in varying if name in axes or name not in _ALWAYS]
    found: dict[str, dict[str, Any]] = {}
    for values in product(*ordered.values()):
        cell = dict(zip(ordered, values, strict=True))
        found[_unused(_named(cell, shown or ["method"]), found)] = {name: cell[name] for name in axes}
    return found


def _check(name: str, values: Sequence[Any]) -> None:
    if not values:
        raise ValueError(f"a sweep needs a value for {name}, and its list is empty.")
    twice = next((value for place, value in enumerate(values) if value in values[:place]), None)
    if twice is not None:
        raise ValueError(f"a sweep runs each cell once, and {name} has {showable(str(twice))!r} twice. Name it once.")


def _named(cell: Mapping[str, Any], names: Sequence[str]) -> str:
    return "-".join(_words(cell, names))[:_LONGEST].strip("-.") or "run"


def _words(cell: Mapping[str, Any], names: Sequence[str]) -> Iterator[str]:
    """The words of a cell's name: the values of its axes; a number or a flag follows the name of its axis."""
    for name in names:
        value = cell[name]
        text = re.sub(r"[^\w.-]+", "-", str(value).rstrip("/").rpartition("/")[2]).strip("-.")
        alone = not isinstance(value, bool) and re.match(r"[A-Za-z_]", text)
        yield text if alone else f"{name.rpartition('.')[2].replace('_', '-')}{text}"


def _unused(name: str, taken: Mapping[str, Any]) -> str:
    """The name, with a number if it is taken."""
    count, free = 1, name
    while free in taken:
        count += 1
        free = f"{name}-{count}"
    return free


def texts(name: str, text: str, *, whole_numbers: bool, commas: bool) -> list[str]:
    """The values that a text names: several are joined by commas, and ``0:5`` is 0, 1, 2, 3, 4.

    Args:
        name: the name of the option, for errors.
        text: what was typed.
        whole_numbers: whether the values are whole numbers, so that ranges can be read.
        commas: whether commas separate values; else they are part of one.

    Raises:
        ValueError: if a value is missing, or a range is empty.

    >>> texts("seeds", "0:3,7", whole_numbers=True, commas=True)
    ['0', '1', '2', '7']
    """
    parts = [part.strip() for part in text.split(",")] if commas else [text]
    if not all(parts):
        raise ValueError(f"--{name} {text!r} has an empty value; write such as --{name} A,B.")
    found: list[str] = []
    for part in parts:
        ends = re.fullmatch(r"(\d{1,18}):(\d{1,18})", part) if whole_numbers else None
        found += [part] if ends is None else _range(name, part, int(ends[1]), int(ends[2]))
    return found


def _range(name: str, text: str, first: int, end: int) -> list[str]:
    if first >= end:
        raise ValueError(f"--{name} {text} is empty: a range goes from its first number to before its last, as in 0:5.")
    LARGEST.check(f"the number of values in --{name} {text}", end - first)
    return [str(number) for number in range(first, end)]
