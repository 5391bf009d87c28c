"""The layout of a chain: its layers in a column, a box each, with the line of the shortcut beside it."""

from __future__ import annotations

from collections.abc import Mapping

from diffnas.genotype import Cell
from diffnas.report.layout import FONT, Box, Heading, Line, Picture, layout, short

_MARGIN, _HEADING, _PITCH, _HEIGHT = 16.0, 30.0, 40.0, 24.0
_CHARACTER = 0.62 * FONT
_BESIDE = 22.0  # from a box to the line of its shortcut


def arranged(cells: Mapping[str, Cell], title: str | None = None) -> Picture:
    """The layout of cells in one picture: a column if they are layers of one edge each, else one below the other."""
    layers = len(cells) > 1 and all((cell.inputs, cell.nodes) == (1, 2) for cell in cells.values())
    return column(cells, title) if layers else layout(cells, title)


def column(cells: Mapping[str, Cell], title: str | None = None) -> Picture:
    """The layout of a chain. A layer without an operation is a dashed box, and its shortcut alone goes on.

    >>> from diffnas.genotype import parse
    >>> [box.text for box in column(parse("chain:1-1-1 | res_3 | none | mb_3_6").cells).boxes]
    ['input', 'res 3', 'absent', 'mb 3 6', 'output']
    """
    texts = {kind: " + ".join(short(op) for op, _, _ in cell.connections) or "absent" for kind, cell in cells.items()}
    wide = max(len(text) for text in ("output", *texts.values())) * _CHARACTER + 20
    named = max(map(len, cells)) * _CHARACTER + 12
    top = _MARGIN + (_HEADING if title else 0.0)
    x, beside = _MARGIN + named + wide / 2, _MARGIN + named + wide + _BESIDE
    headings = [Heading(_MARGIN, _MARGIN + FONT, title)] if title else []
    y = top + _HEIGHT / 2
    half = _PITCH / 2
    boxes, lines = [Box(x, y, wide, _HEIGHT, 7.0, "input", "input")], [Line(x, y, x, y + half, "flow")]
    for kind, cell in cells.items():
        y += _PITCH
        lines += _beside(x, beside, y)
        op = cell.connections[0].op if cell.connections else ""
        look = "flow" if op else "dead"
        boxes.append(Box(x, y, wide, _HEIGHT, _HEIGHT / 2, texts[kind], "op" if op else "dead", op))
        lines += [Line(x, y - half, x, y, look), Line(x, y, x, y + half, look)]
        headings.append(Heading(_MARGIN, y + 0.35 * FONT, kind))
    y += _PITCH
    lines.append(Line(x, y - half, x, y, "flow"))
    boxes.append(Box(x, y, wide, _HEIGHT, 7.0, "output", "output"))
    width = max(beside + _MARGIN, 2 * _MARGIN + len(title or "") * _CHARACTER)
    return Picture(width, y + _HEIGHT / 2 + _MARGIN, tuple(boxes), tuple(lines), tuple(headings))


def _beside(x: float, beside: float, y: float) -> list[Line]:
    """The lines of the shortcut of a layer, from above its box to below it."""
    above, below = y - _PITCH / 2, y + _PITCH / 2
    return [
        Line(x, above, beside, above, "join"),
        Line(beside, above, beside, below, "join"),
        Line(x, below, beside, below, "join"),
    ]
