"""Targets: the wanted costs of the network that will be deployed, as a user writes them.

``macs=20M`` is met by costs within 5 % of 20 million, ``macs<=20M`` by costs of at most 20 million. Commas join several
targets.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import NamedTuple

from diffnas.lookup import lookup

TOLERANCE = 0.05
"""The largest difference of a cost from its target, as a share of the target."""


class Unit(NamedTuple):
    """How a cost is written.

    Attributes:
        words: the words that follow a number in a sentence.
        suffixes: the suffixes that a number may have, each with its factor; "" is a number without one.
        example: a target for this cost.
    """

    words: str
    suffixes: dict[str, float]
    example: str


_COUNTS = {"G": 1e9, "M": 1e6, "k": 1e3, "": 1.0}

COSTS = {
    "macs": Unit("multiply-adds", _COUNTS, "macs=20M"),
    "params": Unit("parameters", _COUNTS, "params=500k"),
    "memory": Unit("of memory", {"GiB": 2.0**30, "MiB": 2.0**20, "KiB": 2.0**10}, "memory=8MiB"),
    "latency": Unit("of latency", {"s": 1.0, "ms": 1e-3, "us": 1e-6}, "latency=5ms"),
}
"""The costs that a target may name: multiply-adds, parameters, peak activation memory in bytes, seconds."""

_FORM = re.compile(r"\s*(?P<name>[^<>=]*?)\s*(?P<sign><=|=)\s*(?P<amount>.*?)\s*")
_AMOUNT = re.compile(r"(?P<number>[-+]?(?:[\d_.]+(?:[eE][-+]?\d+)?|nan|inf))\s*(?P<suffix>[^\d\s]*)")


@dataclass(frozen=True, kw_only=True)
class Target:
    """The wanted value of one cost of the deployed network.

    Attributes:
        cost: a name in ``COSTS``.
        value: multiply-adds, parameters, bytes or seconds.
        ceiling: whether ``value`` is an upper limit.
    """

    cost: str
    value: float
    ceiling: bool = False

    def __str__(self) -> str:
        """The target as text that ``parse`` reads."""
        return f"{self.cost}{'<=' if self.ceiling else '='}{_short(self.cost, self.value)}"

    def miss(self, cost: float) -> float:
        """How far a cost is above the target, as a share of the target; negative if it is below."""
        return cost / self.value - 1

    def met(self, cost: float) -> bool:
        """Whether a cost meets the target.

        >>> [parse("macs=20M")[0].met(each) for each in (18.9e6, 19.1e6, 21e6)]
        [False, True, True]
        >>> [parse("macs<=20M")[0].met(each) for each in (10e6, 20.1e6)]
        [True, False]
        """
        miss = self.miss(cost)
        return miss <= 0 if self.ceiling else abs(miss) <= TOLERANCE + 1e-9

    def distance(self, cost: float) -> float:
        """How far a cost is from the target, 0 or more. A broken ceiling counts more than any cost below a target."""
        miss = self.miss(cost)
        return 10 + miss if self.ceiling and miss > 0 else abs(miss)


def parse(text: str) -> tuple[Target, ...]:
    """The targets in a text.

    Raises:
        ValueError: for an unknown cost, a cost that is named twice, a wrong unit, or a number that is not positive.

    >>> [str(target) for target in parse("macs=20M, params<=0.5M")]
    ['macs=20M', 'params<=500k']
    """
    found = tuple(_one(part) for part in text.split(","))
    names = [target.cost for target in found]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"the target {text!r} names {name} twice; name each cost once.")
    return found


def parse_family(text: str) -> tuple[Target, ...]:
    """Several targets for one cost, in ascending order, from a text such as ``params=100k,200k``.

    The first amount may name the cost. ``2M,5M,10M`` means multiply-adds.

    Raises:
        ValueError: as ``parse``, and for fewer than two amounts.

    >>> [str(target) for target in parse_family("params=100k,200k")]
    ['params=100k', 'params=200k']
    """
    first, *rest = (part.strip() for part in text.split(","))
    name = first.partition("=")[0].strip() if "=" in first else "macs"
    amounts = [first.partition("=")[2] if "=" in first else first, *rest]
    if len(amounts) < 2 or any("=" in amount for amount in amounts):
        raise ValueError(f"the targets {text!r} cannot be read; write two or more for one cost: macs=2M,5M,10M.")
    return tuple(sorted((_one(f"{name}={amount}") for amount in amounts), key=lambda target: target.value))


def _one(text: str) -> Target:
    form = _FORM.fullmatch(text)
    if form is None:
        examples = ", ".join(unit.example for unit in COSTS.values())
        raise ValueError(f"the target {text.strip()!r} cannot be read; write {examples}, or <= for a ceiling.")
    name = form["name"]
    value = _amount(text.strip(), name, lookup("cost", name, COSTS), form["amount"])
    return Target(cost=name, value=value, ceiling=form["sign"] == "<=")


def _amount(text: str, name: str, unit: Unit, amount: str) -> float:
    """The value of an amount such as ``20M``. ``text`` is the whole target, for errors."""
    read = _AMOUNT.fullmatch(amount)
    known = ", ".join(suffix for suffix in unit.suffixes if suffix)
    if read is None or read["suffix"] not in unit.suffixes:
        alone = " or nothing" if "" in unit.suffixes else ""
        raise ValueError(
            f"the target {text!r} cannot be read: {name} takes a number with {known}{alone} after it, "
            f"such as {unit.example}."
        )
    try:
        number = float(read["number"])
    except ValueError:
        number = math.nan
    value = number * unit.suffixes[read["suffix"]]
    if not 0 < value < 1e18:
        raise ValueError(f"the target {text!r} must be a number above 0, such as {unit.example}.")
    return value


def amount(cost: str, value: float) -> str:
    """A cost in words.

    >>> amount("macs", 19_812_345), amount("latency", 0.00512), amount("memory", 3 * 2**19), amount("params", 0)
    ('19.8 M multiply-adds', '5.12 ms of latency', '1.5 MiB of memory', '0 parameters')
    """
    return f"{_scaled(cost, value, ' ')} {COSTS[cost].words}"


def _short(cost: str, value: float) -> str:
    return _scaled(cost, value, "", digits=12)


def _scaled(cost: str, value: float, gap: str, digits: int = 3) -> str:
    suffixes = COSTS[cost].suffixes
    # The largest unit in which the number is 1 or more.
    suffix = next((name for name, worth in suffixes.items() if abs(value) >= worth), list(suffixes)[-1])
    number = value / suffixes[suffix]
    text = f"{number:,.0f}" if digits == 3 and number >= 1000 else f"{number:.{digits}g}"
    return f"{text}{gap}{suffix}".rstrip()
