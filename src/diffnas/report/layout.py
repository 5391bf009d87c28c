"""Where everything stands in the drawing of a genotype: boxes and lines in pixels, no colors and no file format.

A cell is drawn from left to right in columns: its inputs, then a column of operations and one of nodes in turn,
then its output. A line that passes a column on its way gets a lane of its own there, so no line runs through a
box and no two labels overlap, however many connections there are.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import NamedTuple

from diffnas.genotype import Cell, Genotype
from diffnas.report import layered

FONT = 12.0
_CHARACTER = 0.62 * FONT  # a generous mean: labels must fit in any sans-serif font
_OP_HEIGHT, _NODE_HEIGHT, _LANE_HEIGHT = 22.0, 30.0, 4.0
_SPACE = 8.0  # between two things in a column
_GAP = 44.0  # between two columns, where the lines bend
_MARGIN = 16.0
_HEADING = 30.0


class Box(NamedTuple):
    """A label in a box with rounded corners; ``look`` is "input", "node", "output", "dead" or a family."""

    x: float  # of its center
    y: float
    width: float
    height: float
    corner: float
    text: str
    look: str


class Line(NamedTuple):
    """A curve that leaves its start and reaches its end level; ``look`` is "flow", "join" or "dead"."""

    x1: float
    y1: float
    x2: float
    y2: float
    look: str
    arrow: bool = False


class Heading(NamedTuple):
    """A line of text that starts at ``x`` on the base line ``y``."""

    x: float
    y: float
    text: str


class Picture(NamedTuple):
    """All there is to draw, in an area of ``width`` by ``height``; boxes lie on lines."""

    width: float
    height: float
    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]
    headings: tuple[Heading, ...]


class _Item(NamedTuple):
    """What takes a place in a column: a node, the operation of a connection, or a lane where a value passes."""

    kind: str  # "node", "op", "lane" (towards operations) or "join" (towards the output)
    number: int  # of the node, or of the connection
    column: int


class _Graph(NamedTuple):
    columns: list[list[_Item]]
    links: list[tuple[_Item, _Item]]


def short(op: str) -> str:
    """The name of an operation as people say it.

    >>> short("sep_conv_3x3"), short("nor_conv_1x1"), short("skip_connect"), short("conv_7x1_1x7")
    ('sep conv 3×3', 'conv 1×1', 'skip', 'conv 7×1 1×7')
    """
    spoken = op.removeprefix("nor_").removesuffix("_connect").replace("_", " ")
    return re.sub(r"(?<=\d)x(?=\d)", "×", spoken)


def family(op: str) -> str:
    """The family of an operation, which decides its color.

    >>> family("dil_conv_5x5"), family("nor_conv_1x1"), family("noise")
    ('dil_conv', 'conv', 'other')
    """
    known = ("skip", "max_pool", "avg_pool", "sep_conv", "dil_conv", "conv")
    return next((name for name in known if name in op), "other")


def layout(genotype: Genotype, title: str | None = None) -> Picture:
    """All cells of a genotype in one picture, one below the other, under a title if there is one."""
    headings: list[Heading] = []
    boxes: list[Box] = []
    lines: list[Line] = []
    width, top = 0.0, _MARGIN
    if title is not None:
        headings.append(Heading(_MARGIN, top + FONT, title))
        width, top = 2 * _MARGIN + len(title) * _CHARACTER, top + _HEADING
    for kind, cell in genotype.cells.items():
        if len(genotype.cells) > 1:
            headings.append(Heading(_MARGIN, top + FONT, f"{kind} cell"))
            top += _HEADING
        cell_boxes, cell_lines, right, bottom = _panel(cell, top)
        boxes += cell_boxes
        lines += cell_lines
        width, top = max(width, right + _MARGIN), bottom + _MARGIN
    return Picture(width, top, tuple(boxes), tuple(lines), tuple(headings))


def _panel(cell: Cell, top: float) -> tuple[list[Box], list[Line], float, float]:
    """One cell's boxes and lines below ``top``, its right end and its lower end."""
    graph = _graph(cell)
    columns = layered.ordered(graph.columns, graph.links)
    size = {item: _size(cell, item) for column in columns for item in column}
    straight = [link for link in graph.links if {item.kind for item in link} <= {"lane", "join"}]
    pulls = graph.links + 4 * straight  # a lane rather bends where it leaves its node than on its way
    y = layered.heights(columns, pulls, {item: height for item, (_, height) in size.items()}, _SPACE)
    lift = top - min(y[item] - size[item][1] / 2 for item in size)
    boxes, lines, left = [], [], _MARGIN
    ends: dict[_Item, tuple[float, float, float]] = {}  # where links reach and leave a thing: left, right, height
    for column in columns:
        width = max(size[item][0] for item in column)
        for item in column:
            center, height = left + width / 2, y[item] + lift
            half = size[item][0] / 2 if item.kind == "node" else width / 2
            ends[item] = (center - half, center + half, height)
            if item.kind in ("node", "op"):
                corner = 7.0 if item.kind == "node" else _OP_HEIGHT / 2
                boxes.append(Box(center, height, *size[item], corner, _text(cell, item), _look(cell, item)))
            if item.kind != "node":  # beside a narrow label, or all along a lane, the line runs level
                lines.append(Line(left, height, left + width, height, _line_look(cell, item)))
        left += width + _GAP
    for start, end in graph.links:
        (_, x1, y1), (x2, _, y2) = ends[start], ends[end]
        look = _line_look(cell, start if end.kind == "node" else end)
        lines.append(Line(x1, y1, x2, y2, look, arrow=end.kind == "node"))
    return boxes, lines, left - _GAP, max(y[item] + lift + size[item][1] / 2 for item in size)


def _graph(cell: Cell) -> _Graph:
    """The things in each column and the links between neighboring columns. The output is one node more."""
    depth = _depths(cell)
    output = _Item("node", cell.nodes, 2 * max(depth) + 1)
    nodes = [_Item("node", index, 2 * level) for index, level in enumerate(depth)]
    ops = [_Item("op", index, nodes[c.target].column - 1) for index, c in enumerate(cell.connections)]
    ways = [_way("lane", nodes[c.source], op) for op, c in zip(ops, cell.connections, strict=True)]
    ways += [[op, nodes[c.target]] for op, c in zip(ops, cell.connections, strict=True)]
    ways += [_way("join", nodes[index], output) for index in cell.joined]
    # Dictionaries for their order: connections that read the same value share its lane.
    links = list(dict.fromkeys(link for way in ways for link in pairwise(way)))
    items = dict.fromkeys([*nodes, output, *(item for way in ways for item in way)])
    columns = [[item for item in items if item.column == column] for column in range(output.column + 1)]
    return _Graph([column for column in columns if column], links)  # no operations: an empty column


def _way(kind: str, start: _Item, end: _Item) -> list[_Item]:
    """From a node to a thing in a later column, by a lane in each column between."""
    return [start, *(_Item(kind, start.number, column) for column in range(start.column + 1, end.column)), end]


def _depths(cell: Cell) -> list[int]:
    """How deep each node stands: 0 for the inputs, else one more than the deepest node it reads."""
    depth = [0] * cell.inputs
    for node in range(cell.inputs, cell.nodes):
        depth.append(1 + max((depth[connection.source] for connection in cell.incoming(node)), default=0))
    return depth


def _size(cell: Cell, item: _Item) -> tuple[float, float]:
    if item.kind in ("lane", "join"):
        return 0.0, _LANE_HEIGHT
    height = _NODE_HEIGHT if item.kind == "node" else _OP_HEIGHT
    return max(len(_text(cell, item)) * _CHARACTER + 14, height), height


def _text(cell: Cell, item: _Item) -> str:
    if item.kind == "op":
        return short(cell.connections[item.number].op)
    # Nodes have the numbers that genotypes, their texts and their problems know them by; inputs come first.
    ends = {0: "input", cell.nodes: "output"} if cell.inputs == 1 else {0: "cₖ₋₂", 1: "cₖ₋₁", cell.nodes: "cₖ"}
    return ends.get(item.number, str(item.number))


def _look(cell: Cell, item: _Item) -> str:
    if item.kind == "op":
        return "dead" if _line_look(cell, item) == "dead" else family(cell.connections[item.number].op)
    if item.number < cell.inputs:
        return "input"
    if item.number == cell.nodes:
        return "output" if cell.joined else "dead"
    return "node" if item.number in cell.live else "dead"


def _line_look(cell: Cell, item: _Item) -> str:
    """The look of the line through an operation or a lane, or of one that leads from a node straight to the output."""
    if item.kind in ("node", "join"):
        return "join"
    source = cell.connections[item.number].source if item.kind == "op" else item.number
    return "flow" if source < cell.inputs or source in cell.live else "dead"
