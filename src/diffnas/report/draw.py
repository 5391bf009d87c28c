"""Genotypes as pictures: SVG written here, PNG and PDF through matplotlib, all from one layout."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from diffnas.genotype import Genotype
from diffnas.report.layout import FONT, Box, Line, Picture, layout

_SUFFIXES = (".svg", ".png", ".pdf")
_INK = "#1f2937"
_ARROW = (8.0, 3.5)  # length, and half the width at its foot
_PIXELS_PER_INCH = 100
_POINT = 72 / _PIXELS_PER_INCH  # points in a pixel


class _Look(NamedTuple):
    fill: str
    stroke: str
    ink: str = _INK
    dashed: bool = False


# Light fills under dark ink, so that labels are legible in gray as well; hues that the color-blind can tell apart.
_BOXES = {
    "input": _Look("#ffffff", _INK),
    "node": _Look("#eef2f7", _INK),
    "output": _Look("#ffffff", _INK),
    "dead": _Look("#ffffff", "#9ca3af", ink="#6b7280", dashed=True),
    "skip": _Look("#e5e7eb", "#6b7280"),
    "max_pool": _Look("#bfdcf2", "#0072b2"),
    "avg_pool": _Look("#e0f2fc", "#3a9bd1"),
    "sep_conv": _Look("#fde3c3", "#d9822b"),
    "dil_conv": _Look("#f9d3c4", "#c4491a"),
    "conv": _Look("#fdf0b8", "#b8930b"),
    "other": _Look("#d9efe3", "#14805e"),
}
_LINES = {
    "flow": _Look("none", "#4b5563"),
    "join": _Look("none", "#8b95a5"),
    "dead": _Look("none", "#9ca3af", dashed=True),
}
_WIDTHS = {"flow": 1.4, "join": 1.1, "dead": 1.1}


def draw(genotype: Genotype, path: Path, *, title: str | None = None) -> list[Path]:
    """Draw all cells of a genotype into one picture, and say which files were written.

    Args:
        genotype: what to draw.
        path: a name ending in .svg, .png or .pdf; without an ending, all three are written.
        title: a line of text above the cells.

    Raises:
        ValueError: for another ending.
    """
    if path.suffix and path.suffix not in _SUFFIXES:
        raise ValueError(f"cannot draw into {path.name!r}: end its name in {', '.join(_SUFFIXES)}, or in nothing.")
    paths = [path] if path.suffix else [path.with_suffix(suffix) for suffix in _SUFFIXES]
    for each in paths:
        if each.suffix == ".svg":
            each.write_text(svg(genotype, title=title), encoding="utf-8")
        else:
            _paint(layout(genotype, title), each)
    return paths


def svg(genotype: Genotype, *, title: str | None = None) -> str:
    """The picture as SVG, to be put into a page or a file.

    >>> from diffnas.genotype import parse
    >>> svg(parse("|nor_conv_3x3~0|")).count("conv 3×3")
    1
    """
    picture = layout(genotype, title)
    width, height = f"{picture.width:.0f}", f"{picture.height:.0f}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="Helvetica, Arial, DejaVu Sans, sans-serif" font-size="{FONT:g}">',
        f"<title>{escape(title or 'The cells of a genotype')}</title>",
        f"<desc>{escape(_in_words(genotype))}</desc>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        *(
            f'<text x="{x:.1f}" y="{y:.1f}" font-weight="bold" fill="{_INK}">{escape(text)}</text>'
            for x, y, text in picture.headings
        ),
        *map(_svg_line, sorted(picture.lines, key=_rank)),
        *map(_svg_box, picture.boxes),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _in_words(genotype: Genotype) -> str:
    """What a reader who cannot see the picture hears."""
    return " ".join(
        f"{kind} cell: " + ", ".join(f"{op} from {source} to {target}" for op, source, target in cell.connections) + "."
        for kind, cell in genotype.cells.items()
    )


def _rank(line: Line) -> int:
    """Lines of values lie on top of those that only join the output."""
    return ("join", "dead", "flow").index(line.look)


def _svg_line(line: Line) -> str:
    look, (x1, y1, x2, y2) = _LINES[line.look], line[:4]
    length, half = _ARROW if line.arrow else (0.0, 0.0)
    middle = (x1 + x2 - length) / 2
    curve = f"M{x1:.1f} {y1:.1f}C{middle:.1f} {y1:.1f} {middle:.1f} {y2:.1f} {x2 - length:.1f} {y2:.1f}"
    dash = ' stroke-dasharray="4 3"' if look.dashed else ""
    drawn = f'<path d="{curve}" fill="none" stroke="{look.stroke}" stroke-width="{_WIDTHS[line.look]}"{dash}/>'
    if line.arrow:
        head = f"M{x2:.1f} {y2:.1f}l{-length} {-half}v{2 * half}z"
        drawn += f'<path d="{head}" fill="{look.stroke}"/>'
    return drawn


def _svg_box(box: Box) -> str:
    look = _BOXES[box.look]
    dash = ' stroke-dasharray="4 3"' if look.dashed else ""
    return (
        f'<rect x="{box.x - box.width / 2:.1f}" y="{box.y - box.height / 2:.1f}" width="{box.width:.1f}" '
        f'height="{box.height:g}" rx="{box.corner:g}" fill="{look.fill}" stroke="{look.stroke}"{dash}/>'
        f'<text x="{box.x:.1f}" y="{box.y + 0.35 * FONT:.1f}" text-anchor="middle" fill="{look.ink}">'
        f"{escape(box.text)}</text>"
    )


def _paint(picture: Picture, path: Path) -> None:
    from matplotlib import style
    from matplotlib.figure import Figure

    # Nothing of the user's own settings and no date: the same genotype gives the same bytes.
    # Font type 42: a PDF holds its text as text.
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
        undated = {"CreationDate": None} if path.suffix == ".pdf" else None
        figure.savefig(path, dpi=2 * _PIXELS_PER_INCH, metadata=undated)


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

    look, corner = _BOXES[box.look], (box.x - box.width / 2, box.y - box.height / 2)
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
