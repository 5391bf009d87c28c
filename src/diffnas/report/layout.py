"""The layout of a genotype's drawing: boxes and lines in pixels, without colors and file format.

A cell is drawn from left to right in columns: its inputs, then columns of operations and of nodes in turn, then its
output. A line that crosses a column has a lane of its own there. So no line runs through a box, and no two labels
overlap, however many connections there are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

from diffnas.genotype import Cell
from diffnas.report import layered

FONT = 12.0
_CHARACTER = 0.62 * FONT  # a generous mean width, so that labels fit in any sans-serif font
_OP_HEIGHT, _NODE_HEIGHT, _LANE_HEIGHT = 22.0, 30.0, 4.0
_SPACE = 8.0  # between two things in a column
_GAP = 44.0  # between two columns, where the lines bend
_MARGIN = 16.0
_HEADING = 30.0
_MOST = 20_000  # nodes and connections, times depth; a larger drawing takes minutes, and nobody can read it


class Box(NamedTuple):
    """A label in a box with rounded corners.

    ``look`` is "input", "node", "output", "dead" or "op". A box of an operation has its name in ``op``.
    """

    x: float  # of the center
    y: float
    width: float
    height: float
    corner: float
    text: str
    look: str
    op: str = ""


class Line(NamedTuple):
    """A curve that is horizontal at both ends; ``look`` is "flow", "join" or "dead"."""

    x1: float
    y1: float
    x2: float
    y2: float
    look: str
    arrow: bool = False


class Heading(NamedTuple):
    """A line of text that starts at ``x``, with its baseline at ``y``."""

    x: float
    y: float
    text: str


class Picture(NamedTuple):
    """A whole drawing in an area of ``width`` by ``height``; boxes are drawn over lines."""

    width: float
    height: float
    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]
    headings: tuple[Heading, ...]


class Route(NamedTuple):
    """A connection: the box of its operation, and the lines from its source through that box to its target."""

    box: Box
    lines: tuple[Line, ...]


class Plan(NamedTuple):
    """The layout of one cell: boxes of its nodes, a route for each connection, and ``joins``, lines to the output."""

    width: float
    height: float
    nodes: tuple[Box, ...]
    routes: tuple[Route, ...]
    joins: tuple[Line, ...]


class _Item(NamedTuple):
    """A thing with a place in a column: a node, the operation of a connection, or a lane through which a line passes.

    ``kind`` is "node", "op", "lane" (for a line to operations) or "join" (for a line to the output).
    """

    kind: str
    number: int  # of the connection for an operation, else of the node; for a lane, the node where its line starts
    column: int


class _Graph(NamedTuple):
    columns: list[list[_Item]]
    links: list[tuple[_Item, _Item]]


class _Spot(NamedTuple):
    """The place of a thing in the drawing.

    Attributes:
        left, width: of its column, in which lines run horizontally.
        start, end: where lines reach and leave the thing, in pixels from the left.
        y: height of its center.
    """

    left: float
    width: float
    start: float
    end: float
    y: float


def short(op: str) -> str:
    """The name of an operation in words.

    >>> short("sep_conv_3x3"), short("nor_conv_1x1"), short("skip_connect"), short("conv_7x1_1x7")
    ('sep conv 3×3', 'conv 1×1', 'skip', 'conv 7×1 1×7')
    >>> short("sep_conv_5x5_layers1"), short("dil_conv_3x3_layers2_width4")
    ('sep conv 5×5, 1 layer', 'dil conv 3×3, layers 2, width 4')
    """
    spoken = op.removeprefix("nor_").removesuffix("_connect")
    spoken = re.sub(r"_(layers|width)(\d)", r", \1 \2", spoken).replace("_", " ").replace("layers 1", "1 layer")
    return re.sub(r"(?<=\d)x(?=\d)", "×", spoken)


def layout(cells: Mapping[str, Cell], title: str | None = None) -> Picture:
    """The layout of cells in one picture, one below the other; several cells have headings with their kinds."""
    headings: list[Heading] = []
    boxes: list[Box] = []
    lines: list[Line] = []
    width, top = 0.0, _MARGIN
    if title is not None:
        headings.append(Heading(_MARGIN, top + FONT, title))
        width, top = 2 * _MARGIN + len(title) * _CHARACTER, top + _HEADING
    for kind, cell in cells.items():
        if len(cells) > 1:
            headings.append(Heading(_MARGIN, top + FONT, f"{kind} cell"))
            top += _HEADING
        cell_boxes, cell_lines, right, bottom = _panel(cell, top)
        boxes += cell_boxes
        lines += cell_lines
        width, top = max(width, right + _MARGIN), bottom + _MARGIN
    return Picture(width, top, tuple(boxes), tuple(lines), tuple(headings))


def plan(cell: Cell) -> Plan:
    """The layout of one cell, with all lines of each connection together.

    >>> from diffnas.genotype import parse
    >>> cell = parse("|skip_connect~0|").cells["normal"]
    >>> [(route.box.text, len(route.lines)) for route in plan(cell).routes]
    [('skip', 3)]
    """
    _, spots, right = _placed(cell, _MARGIN)
    nodes = sorted(item for item in spots if item.kind == "node")
    output = nodes[-1]
    routes = []
    for number, connection in enumerate(cell.connections):
        op = next(item for item in spots if item.kind == "op" and item.number == number)
        way = [*_way("lane", nodes[connection.source], op), nodes[connection.target]]
        routes.append(Route(_box(cell, op, spots[op]), _along(cell, way, spots)))
    joins = [line for index in cell.joined for line in _along(cell, _way("join", nodes[index], output), spots)]
    bottom = max(spot.y + _size(cell, item)[1] / 2 for item, spot in spots.items())
    boxes = tuple(_box(cell, item, spots[item]) for item in nodes)
    return Plan(right + _MARGIN, bottom + _MARGIN, boxes, tuple(routes), tuple(dict.fromkeys(joins)))


def _along(cell: Cell, way: list[_Item], spots: dict[_Item, _Spot]) -> tuple[Line, ...]:
    """The lines along a way: horizontal through operations and lanes, and curved between things."""
    lines = []
    for start, end in pairwise(way):
        if start.kind != "node":
            lines.append(_through(cell, start, spots[start]))
        lines.append(_between(cell, start, end, spots))
    return tuple(lines)


def _panel(cell: Cell, top: float) -> tuple[list[Box], list[Line], float, float]:
    """The boxes and lines of one cell below ``top``, and its right and lower ends."""
    graph, spots, right = _placed(cell, top)
    boxes = [_box(cell, item, spot) for item, spot in spots.items() if item.kind in ("node", "op")]
    # A line is horizontal beside a narrow label, and all along a lane.
    lines = [_through(cell, item, spot) for item, spot in spots.items() if item.kind != "node"]
    lines += [_between(cell, start, end, spots) for start, end in graph.links]
    return boxes, lines, right, max(spot.y + _size(cell, item)[1] / 2 for item, spot in spots.items())


def _placed(cell: Cell, top: float) -> tuple[_Graph, dict[_Item, _Spot], float]:
    """The graph of a cell, the place of each thing below ``top``, and the right end of the last column."""
    graph = _graph(cell)
    columns = layered.ordered(graph.columns, graph.links)
    size = {item: _size(cell, item) for column in columns for item in column}
    straight = [link for link in graph.links if {item.kind for item in link} <= {"lane", "join"}]
    pulls = graph.links + 4 * straight  # so that a long line bends near its ends and not between its lanes
    y = layered.heights(columns, pulls, {item: height for item, (_, height) in size.items()}, _SPACE)
    lift = top - min(y[item] - size[item][1] / 2 for item in size)
    spots, left = {}, _MARGIN
    for column in columns:
        width = max(size[item][0] for item in column)
        for item in column:
            half = size[item][0] / 2 if item.kind == "node" else width / 2
            center = left + width / 2
            spots[item] = _Spot(left, width, center - half, center + half, y[item] + lift)
        left += width + _GAP
    return graph, spots, left - _GAP


def _box(cell: Cell, item: _Item, spot: _Spot) -> Box:
    corner = 7.0 if item.kind == "node" else _OP_HEIGHT / 2
    op = cell.connections[item.number].op if item.kind == "op" else ""
    x = spot.left + spot.width / 2
    return Box(x, spot.y, *_size(cell, item), corner, _text(cell, item), _look(cell, item), op)


def _through(cell: Cell, item: _Item, spot: _Spot) -> Line:
    return Line(spot.left, spot.y, spot.left + spot.width, spot.y, _line_look(cell, item))


def _between(cell: Cell, start: _Item, end: _Item, spots: dict[_Item, _Spot]) -> Line:
    look = _line_look(cell, start if end.kind == "node" else end)
    return Line(spots[start].end, spots[start].y, spots[end].start, spots[end].y, look, arrow=end.kind == "node")


def _graph(cell: Cell) -> _Graph:
    """The things in each column, and the links between adjacent columns. The output is an additional node."""
    depth = _depths(cell)
    if (len(cell.connections) + cell.nodes) * max(depth) > _MOST:
        raise ValueError(
            f"a cell of {cell.nodes} nodes and {len(cell.connections)} connections with paths of {max(depth)} nodes is "
            "too large to be drawn."
        )
    output = _Item("node", cell.nodes, 2 * max(depth) + 1)
    nodes = [_Item("node", index, 2 * level) for index, level in enumerate(depth)]
    ops = [_Item("op", index, nodes[c.target].column - 1) for index, c in enumerate(cell.connections)]
    ways = [_way("lane", nodes[c.source], op) for op, c in zip(ops, cell.connections, strict=True)]
    ways += [[op, nodes[c.target]] for op, c in zip(ops, cell.connections, strict=True)]
    ways += [_way("join", nodes[index], output) for index in cell.joined]
    # Dictionaries keep the order and drop duplicates: connections that read one node share its lanes.
    links = list(dict.fromkeys(link for way in ways for link in pairwise(way)))
    items = dict.fromkeys([*nodes, output, *(item for way in ways for item in way)])
    columns = [[item for item in items if item.column == column] for column in range(output.column + 1)]
    return _Graph([column for column in columns if column], links)  # a column is empty if a cell has no operations


def _way(kind: str, start: _Item, end: _Item) -> list[_Item]:
    """The things on the way from a node to a thing in a later column: both ends, and a lane in each column between."""
    return [start, *(_Item(kind, start.number, column) for column in range(start.column + 1, end.column)), end]


def _depths(cell: Cell) -> list[int]:
    """The depth of each node: 0 for inputs, else one more than that of the deepest node it reads."""
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
    return node_name(cell.inputs, item.number, cell.nodes)


def node_name(inputs: int, node: int, nodes: int | None = None) -> str:
    """The name of a node in drawings: its number in the genotype, or a symbol for inputs and the output.

    >>> node_name(2, 0), node_name(2, 1), node_name(2, 2), node_name(1, 0)
    ('cₖ₋₂', 'cₖ₋₁', '2', 'input')
    """
    ends = {0: "input", nodes: "output"} if inputs == 1 else {0: "cₖ₋₂", 1: "cₖ₋₁", nodes: "cₖ"}
    return ends.get(node, str(node))


def _look(cell: Cell, item: _Item) -> str:
    if item.kind == "op":
        return "dead" if _line_look(cell, item) == "dead" else "op"
    if item.number < cell.inputs:
        return "input"
    if item.number == cell.nodes:
        return "output" if cell.joined else "dead"
    return "node" if item.number in cell.live else "dead"


def _line_look(cell: Cell, item: _Item) -> str:
    """The look of the line through an operation or a lane, or of the line from a node directly to the output."""
    if item.kind in ("node", "join"):
        return "join"
    source = cell.connections[item.number].source if item.kind == "op" else item.number
    return "flow" if source < cell.inputs or source in cell.live else "dead"
