"""The published cells, by name."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib.resources import files
from typing import NamedTuple

from diffnas.genotype.record import Genotype
from diffnas.genotype.text import parse
from diffnas.lookup import lookup


class Published(NamedTuple):
    """A published cell: its text, who published it, and a note for whoever uses it (often empty)."""

    text: str
    source: str
    note: str


SEQUENCES = "_RNN"
"""The end of the names of published recurrent cells. On sequences it is left out: there, DARTS_V2 is DARTS_V2_RNN."""

ALIASES = {"SNAS": "SNAS_mild"}
"""Other names of published cells, each with the name that the authors gave."""


class _Shelf(Mapping[str, Published]):
    """The published cells, read from the package's own file at the first use; aliases are found but not listed."""

    @cached_property
    def _cells(self) -> dict[str, Published]:
        record = json.loads((files("diffnas.genotype") / "cells.json").read_text(encoding="utf-8"))
        return {name: Published(**cell) for name, cell in record.items()}

    def __getitem__(self, name: str) -> Published:
        return self._cells[ALIASES.get(name, name)]

    def __iter__(self) -> Iterator[str]:
        return iter(self._cells)

    def __len__(self) -> int:
        return len(self._cells)


PUBLISHED: Mapping[str, Published] = _Shelf()
"""The published cells by name."""


def published(name: str) -> Genotype:
    """The genotype of the published cell called ``name``, one of ``PUBLISHED``.

    >>> published("DARTS_V2").cells["normal"].count("sep_conv_3x3")
    5
    """
    return parse(lookup("genotype", name, PUBLISHED).text)
