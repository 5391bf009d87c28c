"""The comparison of runs, as one HTML file that needs nothing but a browser."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from markupsafe import Markup

from diffnas.files import write_atomically
from diffnas.genotype import Genotype, to_text
from diffnas.report import palette
from diffnas.report.compare.columns import COLUMNS, Column, metric_columns
from diffnas.report.compare.found import Found
from diffnas.report.compare.grids import Grid
from diffnas.report.compare.groups import Group
from diffnas.report.page import asset, drawings, environment
from diffnas.report.words import titled

# The columns that are drawn, and the titles of the drawings.
_PLOTTED = {
    "benchmark": "Accuracy in the table",
    "parameters": "Parameters",
    "seconds": "Time of the search",
}


def write_page(groups: Sequence[Group], grids: Sequence[Grid], path: Path) -> None:
    """Write the page about groups of runs, with tables about them."""
    write_atomically(path, page(groups, grids))


def page(groups: Sequence[Group], grids: Sequence[Grid]) -> str:
    """The page about groups of runs, as HTML."""
    runs = [run for group in groups for run in group.runs]
    ops = {c.op for run in runs for cell in run.genotype.cells.values() for c in cell.connections}
    classes = {op: f"o{number}" for number, op in enumerate(sorted(ops))}
    told = [", ".join(sorted({getattr(run, name) for run in runs} - {""})) for name in ("space", "data")]
    template = environment().get_template("compare.html.j2")
    return template.render(
        count=len(runs),
        groups=groups,
        subtitle=" on ".join(text for text in told if text),
        style=Markup(asset("style.css")),
        script=Markup(asset("theme.js")),
        tones={name: palette.tone(op) for op, name in classes.items()},
        strips=[strip for column, title in _plotted(runs) if (strip := _strip(groups, column, title))],
        grids=[grid for grid in grids if grid.rows],
        cells=list(_cells(groups, classes)),
    )


def _plotted(runs: Sequence[Found]) -> Iterator[tuple[Column, str]]:
    for column in metric_columns(runs).values():
        yield column, titled(column.title)
    for name, title in _PLOTTED.items():
        yield COLUMNS[name], title


def _strip(groups: Sequence[Group], column: Column, title: str) -> dict[str, Any] | None:
    """The data of a drawing in which the runs of each group are marks on a line; None without two different numbers."""
    values = {g.label: [v for run in g.runs if (v := column.value(run)) is not None] for g in groups}
    every = [value for listed in values.values() for value in listed]
    if len(set(every)) < 2:
        return None
    low, high = min(every), max(every)

    def place(value: float) -> str:
        return f"{100 * (value - low) / (high - low):.2f}"

    rows = [
        {
            "label": label,
            "said": f"{label}: {', '.join(map(column.say, listed))}",
            "at": [place(value) for value in listed],
            "mean": place(mean(listed)),
        }
        for label, listed in values.items()
        if listed
    ]
    return {"title": title, "rows": rows, "low": column.say(low), "high": column.say(high)}


def _cells(groups: Sequence[Group], classes: dict[str, str]) -> Iterator[dict[str, Any]]:
    """For each group, the drawing of the cell that most of its runs found; the first one of several."""
    for group in groups:
        found: dict[str, list[str]] = {}
        cells: dict[str, Genotype] = {}
        for run in group.runs:
            text = to_text(run.genotype)
            found.setdefault(text, []).append(run.name)
            cells.setdefault(text, run.genotype)
        text = max(found, key=lambda each: len(found[each]))
        told = f"found by {', '.join(found[text])}"
        if len(found) > 1:
            told += f"; {len(found) - 1} other cell{'s' * (len(found) > 2)} in this group"
        yield {"label": group.label, "runs": told, "text": text, "drawings": drawings(cells[text], classes)}
