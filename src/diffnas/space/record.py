"""A search space: kinds of cell, their operations, and the skeleton that stacks the cells."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from diffnas.skeleton import DARTS, Own, Place, skeleton_of
from diffnas.space.graph import CellGraph, Edge

# The names that all text forms of a genotype can hold.
_NAME = re.compile(r"[\w.-]+")


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """Kinds of cell, their operations, and the skeleton that stacks the cells.

    Attributes:
        name: its name on the command line and in run folders.
        cells: the kinds of cell, by name, in the order of alpha's rows. Or a separate cell for each place in the net
            (``with_own_cells``), which fixes ``depth``.
        ops: all operations, in the order of alpha's columns.
        skeleton: the name of a skeleton (:mod:`diffnas.skeleton`). In "darts", cells read the two cells before them;
            cells of the kind "reduce" stand at a third and at two thirds of the depth. In "nas-bench-201", cells keep
            the channels, and fixed residual blocks halve the resolution.
        channels: the default number of channels of the supernet's first cells.
        depth: the default number of cells of the supernet, residual blocks included.
        in_degree: how many inputs a node of the final cell has by the space's rule (2 in DARTS). None if every edge
            stays with its operation (NAS-Bench-201). Only discretize rules that follow it read it.
        factories: the user's operations by name, each a ``diffnas.nets.slot.OpFactory``. All other names must be in
            ``diffnas.nets.ops``.
        frame: the user's ``diffnas.nets.frames.FrameFactory``, which builds a net around its cells. Its skeleton is
            written "own:NAME", or "own:NAME:mean" if the output of a cell is the mean of its nodes.

    Raises:
        ValueError: if no net can be built from the space; the error says which part is wrong, and why.
    """

    name: str
    cells: Mapping[str, CellGraph]
    ops: tuple[str, ...]
    skeleton: str = DARTS.name
    channels: int = 16
    depth: int = 8
    in_degree: int | None = None
    factories: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)
    frame: Callable[[Any, Any], Any] | None = None

    def __post_init__(self) -> None:
        offered = {op for cell in self.cells.values() for names in cell.ops for op in names}
        if not self.cells and skeleton_of(self.skeleton).kinds:
            raise ValueError(f"space {self.name!r} has no cells.")
        if len(set(self.ops)) != len(self.ops) or offered != set(self.ops):
            raise ValueError(f"space {self.name!r}: ops must list each of {sorted(offered)} once, got {self.ops}.")
        skeleton = skeleton_of(self.skeleton)
        if isinstance(skeleton, Own) != (self.frame is not None):
            raise ValueError(
                f"space {self.name!r} has the skeleton {self.skeleton!r} and {'a' if self.frame else 'no'} frame. Your "
                "own frame and a skeleton own:NAME go together: SearchSpace(skeleton='own:NAME', frame=...)."
            )
        skeleton.own_depth(list(self.cells))
        for cell in self.cells.values():
            skeleton.check_cell(cell.inputs, cell.nodes, cell.output)
        if bad := [op for op in self.ops if not _NAME.fullmatch(op)]:
            raise ValueError(f"operation {bad[0]!r}: a name is made of letters, digits, '_', '.' and '-'.")

    @cached_property
    def rows(self) -> dict[str, slice]:
        """The rows of alpha of each kind of cell, by name."""
        slices, start = {}, 0
        for kind, cell in self.cells.items():
            slices[kind] = slice(start, start + len(cell.edges))
            start += len(cell.edges)
        return slices

    @property
    def edges(self) -> tuple[tuple[str, Edge], ...]:
        """The kind of cell and the edge of each row of alpha."""
        return tuple((kind, edge) for kind, cell in self.cells.items() for edge in cell.edges)

    @property
    def offered(self) -> list[list[bool]]:
        """Which operations each edge offers, ``(edges, ops)``; the initial ``keep``."""
        return [[op in names for op in self.ops] for cell in self.cells.values() for names in cell.ops]

    @property
    def own(self) -> dict[str, Any]:
        """The user's operations and frame, as all that builds networks takes them."""
        return {"factories": self.factories, "frame": self.frame}

    def column(self, op: str) -> int | None:
        """The column of an operation; None if the space does not have it."""
        return self.ops.index(op) if op in self.ops else None

    def places(self, depth: int | None = None) -> tuple[Place, ...]:
        """The kind of each cell in a net of ``depth`` cells; of the default depth if None."""
        return skeleton_of(self.skeleton).places(self.depth if depth is None else depth)

    @property
    def own_depth(self) -> int | None:
        """The depth of the only net that fits, if each cell has its own place; None if kinds of cell repeat."""
        return skeleton_of(self.skeleton).own_depth(list(self.cells))

    @property
    def normal_cells(self) -> list[str]:
        """The names of the cells that keep the resolution."""
        return skeleton_of(self.skeleton).normal_cells(list(self.cells))


def with_own_cells(space: SearchSpace, depth: int | None = None) -> SearchSpace:
    """The space in which each cell of a net of ``depth`` cells has its own operations and its own rows of alpha.

    GOLD-NAS (Bi et al., 2020) searches such spaces. The rows of alpha are the edges of all cells, one cell after the
    other.

    Raises:
        ValueError: if the cells already have their own places, in a net of another depth.

    >>> from diffnas.space import darts
    >>> whole = with_own_cells(darts, depth=5)
    >>> list(whole.cells), len(whole.edges), whole.depth
    (['cell0', 'cell1', 'cell2', 'cell3', 'cell4'], 70, 5)
    """
    depth = space.depth if depth is None else depth
    fixed = space.own_depth
    if fixed is not None:
        if fixed != depth:
            raise ValueError(
                f"space {space.name!r} has a cell of its own for each of {fixed} places, not of {depth}. Take --depth "
                f"{fixed}, or a recipe that says nothing of the depth."
            )
        return space
    cells = {
        name: space.cells[place.kind]
        for name, place in skeleton_of(space.skeleton).own_cells(depth).items()
        if place.kind is not None
    }
    return replace(space, cells=cells, depth=depth)


def without(space: SearchSpace, op: str) -> SearchSpace:
    """The space without one operation, on all edges.

    >>> from diffnas.space import nas_bench_201
    >>> without(nas_bench_201, "none").ops
    ('skip_connect', 'nor_conv_1x1', 'nor_conv_3x3', 'avg_pool_3x3')
    """
    if op not in space.ops:
        raise ValueError(f"space {space.name!r} has no operation {op!r}; it has {', '.join(space.ops)}.")
    cells = {
        kind: replace(cell, ops=tuple(tuple(name for name in names if name != op) for names in cell.ops))
        for kind, cell in space.cells.items()
    }
    name = f"{space.name}-without-{op}"
    return replace(space, name=name, cells=cells, ops=tuple(name for name in space.ops if name != op))
