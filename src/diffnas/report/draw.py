"""Drawings of genotypes: SVG written by this file, PNG and PDF by matplotlib, all from one layout."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from diffnas.genotype import Cell, Genotype
from diffnas.report import palette
from diffnas.report.column import arranged
from diffnas.report.layout import FONT, Box, Line, Picture

_SUFFIXES = (".svg", ".png", ".pdf")
_INK = palette.INK
_ARROW = (8.0, 3.5)  # length, and half the width of its base
_PIXELS_PER_INCH = 100
_POINT = 72 / _PIXELS_PER_INCH  # points in a pixel
SOFTWARE = {"Software": "diffnas"}  # metadata of a PNG, by which the reader of pictures recognizes and skips it


class _Look(NamedTuple):
    fill: str
    stroke: str
    ink: str = _INK
    dashed: bool = False


# Light fills under dark ink, so that labels are legible in gray as well.
_BOXES = {
    "input": _Look("#ffffff", _INK),
    "node": _Look("#eef2f7", _INK),
    "output": _Look("#ffffff", _INK),
    "dead": _Look("#ffffff", "#9ca3af", ink="#6b7280", dashed=True),
}
_LINES = {
    "flow": _Look("none", "#4b5563"),
    "join": _Look("none", "#8b95a5"),
    "dead": _Look("none", "#9ca3af", dashed=True),
}
_WIDTHS = {"flow": 1.4, "join": 1.1, "dead": 1.1}


def draw(genotype: Genotype, path: Path, *, title: str | None = None) -> list[Path]:
    """Draw all cells of a genotype into one picture, and return the paths of the files.

    Args:
        genotype: what to draw.
        path: a name that ends in .svg, .png or .pdf; without a suffix, all three are written.
        title: a line of text above the cells.

    Raises:
        ValueError: for any other suffix, or a cell that is too large to be drawn.
    """
    if path.suffix and path.suffix not in _SUFFIXES:
        raise ValueError(f"cannot draw into {path.name!r}: end its name in {', '.join(_SUFFIXES)}, or in nothing.")
    paths = [path] if path.suffix else [path.with_suffix(suffix) for suffix in _SUFFIXES]
    for each in paths:
        if each.suffix == ".svg":
            each.write_text(svg(genotype, title=title), encoding="utf-8")
        else:
            _paint(arranged(genotype.cells, title), each)
    return paths


def svg(genotype: Genotype, *, title: str | None = None) -> str:
    """The drawing of a genotype as SVG, for a page or a file.

    >>> from diffnas.genotype import parse
    >>> svg(parse("|nor_conv_3x3~0|")).count("conv 3×3")
    1
    """
    return svg_of(genotype.cells, title=title)


def svg_of(cells: Mapping[str, Cell], *, title: str | None = None, classes: Mapping[str, str] | None = None) -> str:
    """The drawing of some cells as SVG.

    Args:
        cells: the cells to draw, by kind.
        title: a line of text above the cells.
        classes: for a page with its own style sheet, the CSS class of each operation. Then no element has a color; all
            other elements have their look as the class ("box node", "flow", ...).
    """
    picture = arranged(cells, title)
    width, height = f"{picture.width:.0f}", f"{picture.height:.0f}"
    fonts = "" if classes else f'font-family="Helvetica, Arial, DejaVu Sans, sans-serif" font-size="{FONT:g}"'
    named = f"The {' and '.join(cells)} cell{'s' * (len(cells) > 1)}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" {fonts}>',
        f"<title>{escape(title or named)}</title>",
        f"<desc>{escape(_in_words(cells))}</desc>",
        "" if classes else '<rect width="100%" height="100%" fill="#ffffff"/>',
        *(
            f'<text class="heading" x="{x:.1f}" y="{y:.1f}" font-weight="bold" fill="{_INK}">{escape(text)}</text>'
            for x, y, text in picture.headings
        ),
        *(_svg_line(line, classes) for line in sorted(picture.lines, key=_rank)),
        *(_svg_box(box, classes) for box in picture.boxes),
        "</svg>",
    ]
    return "\n".join(filter(None, parts)) + "\n"


def curve(line: Line) -> str:
    """A line as the data of an SVG path, without its arrowhead.

    >>> curve(Line(0, 0, 10, 4, "flow"))
    'M0.0 0.0C5.0 0.0 5.0 4.0 10.0 4.0'
    """
    x1, y1, x2, y2 = line[:4]
    x2 -= _ARROW[0] if line.arrow else 0.0
    middle = (x1 + x2) / 2
    return f"M{x1:.1f} {y1:.1f}C{middle:.1f} {y1:.1f} {middle:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"


def _in_words(cells: Mapping[str, Cell]) -> str:
    """The connections in words, for a reader who cannot see the picture."""
    return " ".join(
        f"{kind} cell: " + ", ".join(f"{op} from {source} to {target}" for op, source, target in cell.connections) + "."
        for kind, cell in cells.items()
    )


def _rank(line: Line) -> int:
    """The place of a line in the order of drawing: lines of values are drawn last, on top of those to the output."""
    return ("join", "dead", "flow").index(line.look)


def _svg_line(line: Line, classes: Mapping[str, str] | None) -> str:
    look = _LINES[line.look]
    dash = {"stroke-dasharray": "4 3"} if look.dashed else {}
    own = {"class": line.look} if classes else {"stroke": look.stroke, "stroke-width": _WIDTHS[line.look]}
    drawn = f"<path {_attributes(d=curve(line), fill='none', **own, **dash)}/>"
    if line.arrow:
        length, half = _ARROW
        head = f"M{line.x2:.1f} {line.y2:.1f}l{-length} {-half}v{2 * half}z"
        own = {"class": f"head {line.look}"} if classes else {"fill": look.stroke}
        drawn += f"<path {_attributes(d=head, **own)}/>"
    return drawn


def _svg_box(box: Box, classes: Mapping[str, str] | None) -> str:
    look = _look(box)
    edge: dict[str, object] = {"stroke-dasharray": "4 3"} if look.dashed else {}
    label: dict[str, object] = {"fill": look.ink}
    if classes is None:
        edge |= {"fill": look.fill, "stroke": look.stroke}
    else:
        edge["class"] = f"box {box.look} {classes.get(box.op, '')}".strip()
        label = {"class": box.look}
    corner = {"x": f"{box.x - box.width / 2:.1f}", "y": f"{box.y - box.height / 2:.1f}"}
    size = {"width": f"{box.width:.1f}", "height": f"{box.height:g}", "rx": f"{box.corner:g}"}
    label |= {"x": f"{box.x:.1f}", "y": f"{box.y + 0.35 * FONT:.1f}", "text-anchor": "middle"}
    return f"<rect {_attributes(**corner, **size, **edge)}/><text {_attributes(**label)}>{escape(box.text)}</text>"


def _attributes(**values: object) -> str:
    return " ".join(f'{name}="{value}"' for name, value in values.items())


def _look(box: Box) -> _Look:
    if box.look != "op":
        return _BOXES[box.look]
    color = palette.tone(box.op).light
    return _Look(palette.tint(color), color)


def _paint(picture: Picture, path: Path) -> None:
    from matplotlib import style
    from matplotlib.figure import Figure

    # Without the user's own settings and without a date, the same genotype gives the same bytes.
    # With font type 42, a PDF stores text as text.
    with style.context(["default", {"pdf.fonttype": 42}]):
        figure = Figure(figsize=(picture.width / _PIXELS_PER_INCH, picture.height / _PIXELS_PER_INCH))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, picture.width), ylim=(picture.height, 0))
        axes.axis("off")
        for x, y, text in picture.headings:
            axes.text(x, y, text, fontsize=FONT * _POINT, fontweight="bold", color=_INK, parse_math=False)
        for line in sorted(picture.lines, key=_rank):
            _paint_line(axes, line)
        for box in picture.boxes:
            _paint_box(axes, box)
        told = {"CreationDate": None} if path.suffix == ".pdf" else SOFTWARE
        figure.savefig(path, dpi=2 * _PIXELS_PER_INCH, metadata=told)


def _paint_line(axes: Any, line: Line) -> None:
    from matplotlib.patches import PathPatch, Polygon
    from matplotlib.path import Path as Curve

    look, (x1, y1, x2, y2) = _LINES[line.look], line[:4]
    length, half = _ARROW if line.arrow else (0.0, 0.0)
    middle = (x1 + x2 - length) / 2
    curve = Curve([(x1, y1), (middle, y1), (middle, y2), (x2 - length, y2)], [Curve.MOVETO, *[Curve.CURVE4] * 3])
    style = (0, (4, 3)) if look.dashed else "solid"
    axes.add_patch(PathPatch(curve, fill=False, ec=look.stroke, lw=_WIDTHS[line.look] * _POINT, ls=style))
    if line.arrow:
        axes.add_patch(Polygon([(x2, y2), (x2 - length, y2 - half), (x2 - length, y2 + half)], fc=look.stroke, lw=0))


def _paint_box(axes: Any, box: Box) -> None:
    from matplotlib.patches import FancyBboxPatch

    look, corner = _look(box), (box.x - box.width / 2, box.y - box.height / 2)
    shape = f"round,pad=0,rounding_size={box.corner}"
    style = (0, (4, 3)) if look.dashed else "solid"
    axes.add_patch(
        FancyBboxPatch(
            corner, box.width, box.height, boxstyle=shape, fc=look.fill, ec=look.stroke, lw=_POINT, ls=style, zorder=2
        )
    )
    axes.text(
        box.x,
        box.y,
        box.text,
        ha="center",
        va="center_baseline",
        fontsize=FONT * _POINT,
        color=look.ink,
        zorder=3,
        parse_math=False,
    )
