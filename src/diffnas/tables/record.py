"""A table of measured cells, and the entry of one cell in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from diffnas.genotype import Genotype, canonical, parse, to_nas_bench_201
from diffnas.genotype.nas_bench_201 import MOST_NODES
from diffnas.genotype.record import OP_NAME
from diffnas.lookup import lookup

Numbers: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"
Groups: TypeAlias = "np.ndarray[Any, np.dtype[np.int32]]"


class Twin(NamedTuple):
    """A cell that computes the same as another, and its accuracy, which differs only by the chance in training."""

    cell: str
    accuracy: float


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What a table says about a cell.

    Attributes:
        cell: its architecture string.
        column: what was measured, such as ``cifar10_test_200``.
        accuracy: in percent.
        rank: 1 for the best; one more than the number of cells with a higher accuracy.
        of: how many cells the column measures.
        best_cell, best: the best of them (the first in case of a tie), and its accuracy.
        twins: the other measured cells that compute the same as this one, best first.
    """

    cell: str
    column: str
    accuracy: float
    rank: int
    of: int
    best_cell: str
    best: float
    twins: tuple[Twin, ...]

    @property
    def regret(self) -> float:
        """By how many percentage points the best cell is better."""
        return self.best - self.accuracy


@dataclass(frozen=True, kw_only=True)
class Table:
    """Cells in the form of NAS-Bench-201 (Dong & Yang, 2020), and their accuracies.

    Two cells are *equivalent* if their canonical strings are the same, by the rule of the benchmark's authors
    (``diffnas.genotype.canonical``). In that string a skip is written as the node it reads, ``none`` as ``#``, an
    operation on ``#`` as ``#``, and a node as its terms in alphabetical order. So cells are equivalent that differ only
    in the order of sums, in skips that copy a node, or in operations on zeros. The rule makes 6,466 classes of the
    15,625 cells. It does not find all equal cells: a ``#`` stays in its sum, so one more zero term makes another class.

    Attributes:
        cells: architecture strings with every edge written out.
        columns: by name, an accuracy in percent for each cell, ``(cells,)``, NaN where it is missing.
        groups: the class of each cell, ``(cells,)``; equivalent cells have the same number. Computed if None.

    Raises:
        ValueError: for a table whose parts do not fit together.

    >>> cells = ("|none~0|+|skip_connect~0|none~1|", "|none~0|+|none~0|none~1|", "|skip_connect~0|+|none~0|none~1|")
    >>> table = Table(cells=cells, columns={"test": np.array([54.3, 10.0, 10.2])})
    >>> entry = table.lookup(parse("|none~0|+|none~0|"))
    >>> entry.accuracy, entry.rank, entry.of, entry.twins
    (10.0, 3, 3, (Twin(cell='|skip_connect~0|+|none~0|none~1|', accuracy=10.2),))
    """

    cells: tuple[str, ...]
    columns: Mapping[str, Numbers]
    groups: Groups | None = None

    def __post_init__(self) -> None:
        if not self.cells or not self.columns:
            raise ValueError(f"a table needs cells and columns, got {len(self.cells)} and {len(self.columns)}.")
        wrong = next((cell for cell in self.cells if not _is_complete(cell)), None)
        if wrong is not None:
            raise ValueError(f"{wrong[:80]!r} is not a cell with every edge written out: |op~0|+|op~0|op~1|+...")
        if len(self._rows) != len(self.cells):
            raise ValueError(f"{len(self.cells) - len(self._rows)} rows repeat a cell; keep one row for each cell.")
        sized = {**self.columns, "groups": self.cells if self.groups is None else self.groups}
        for name, values in sized.items():
            if len(values) != len(self.cells):
                raise ValueError(f"{name} has {len(values)} numbers for {len(self.cells)} cells.")

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {cell: row for row, cell in enumerate(self.cells)}

    @cached_property
    def classes(self) -> Groups:
        """The class of each cell, ``(cells,)``: ``groups``, or computed from the canonical strings if that is None."""
        if self.groups is not None:
            return self.groups
        names: dict[str, int] = {}
        found = [names.setdefault(canonical(parse(cell)), len(names)) for cell in self.cells]
        return np.array(found, dtype=np.int32)

    @cached_property
    def _kin(self) -> dict[str, dict[int, list[Twin]]]:
        """For each column and class, the measured cells, best first."""
        found: dict[str, dict[int, list[Twin]]] = {}
        for name, values in self.columns.items():
            classes: dict[int, list[Twin]] = {}
            for row in np.argsort(-values, kind="stable")[: len(self._sorted[name])].tolist():
                classes.setdefault(int(self.classes[row]), []).append(Twin(self.cells[row], float(values[row])))
            found[name] = classes
        return found

    @cached_property
    def _sorted(self) -> dict[str, Numbers]:
        """The measured accuracies of each column, ascending."""
        return {name: np.sort(values[np.isfinite(values)]) for name, values in self.columns.items()}

    @cached_property
    def _best(self) -> dict[str, int]:
        """The row of the best cell in each column."""
        return {name: int(np.nanargmax(values)) for name, values in self.columns.items()}

    def lookup(self, genotype: Genotype, column: str | None = None) -> Entry:
        """What the table says about a cell; ``column`` may be left out if the table has only one.

        Raises:
            ValueError: if the cell is not of NAS-Bench-201's form or not in the table, or if there is no such column.
        """
        if column is None and len(self.columns) > 1:
            raise ValueError(f"say which column: {', '.join(self.columns)}.")
        name = next(iter(self.columns)) if column is None else column
        values = lookup("column", name, self.columns)
        cell = to_nas_bench_201(genotype)
        row = self._rows.get(cell)
        if row is None or not np.isfinite(values[row]):
            raise ValueError(f"the table has no {name} of {cell}. It holds {len(self._sorted[name])} cells.")
        ranked, accuracy, best = self._sorted[name], float(values[row]), self._best[name]
        return Entry(
            cell=cell,
            column=name,
            accuracy=accuracy,
            rank=1 + len(ranked) - int(np.searchsorted(ranked, accuracy, side="right")),
            of=len(ranked),
            best_cell=self.cells[best],
            best=float(values[best]),
            twins=tuple(twin for twin in self._kin[name][int(self.classes[row])] if twin.cell != cell),
        )


def _is_complete(cell: str) -> bool:
    """Whether a text names one operation for every edge, in order.

    >>> _is_complete("|skip_connect~0|+|none~0|skip_connect~1|"), _is_complete("|skip_connect~0|+|skip_connect~1|")
    (True, False)
    """
    nodes = cell.split("+", MOST_NODES)
    return len(nodes) < MOST_NODES and all(_is_node(node, target) for target, node in enumerate(nodes, start=1))


def _is_node(text: str, target: int) -> bool:
    """Whether a text names an operation for every edge into the node ``target``.

    >>> _is_node("|none~0|skip_connect~1|", 2)
    True
    """
    first, *edges, last = text.split("|", target + 2)
    if first or last or len(edges) != target:
        return False
    parts = (edge.rpartition("~") for edge in edges)
    return all(
        re.fullmatch(OP_NAME, op) is not None and node == str(source) for source, (op, _, node) in enumerate(parts)
    )
