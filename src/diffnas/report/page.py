"""The report of a run: one HTML file that needs nothing but a browser."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from diffnas.files import write_atomically
from diffnas.genotype import Genotype, to_text
from diffnas.genotype.chain import is_chain
from diffnas.report import facts, palette
from diffnas.report.beginning import beginning, pretext_plot
from diffnas.report.contest import read_verdict
from diffnas.report.contest_plot import plot, rows
from diffnas.report.draw import svg_of
from diffnas.report.findings import findings
from diffnas.report.pack import pack
from diffnas.report.reading import Run, read_run
from diffnas.run_files import REPORT
from diffnas.skeleton import skeleton_of

_SCRIPTS = ("theme.js", "base.js", "chart.js", "weights.js", "forming.js", "live.js", "page.js")


def write_report(path: str | Path, out: str | Path | None = None) -> Path:
    """Write the report of a run folder, and return the path of the file.

    Args:
        path: the folder of a run, finished or not.
        out: the file to write; ``report.html`` in the run folder if None.

    Raises:
        ValueError: if there is no run, or it is damaged; then nothing is written.
    """
    place = Path(path) / REPORT if out is None else Path(out)
    write_atomically(place, page(read_run(path)))
    return place


def page(run: Run, *, live: str | None = None) -> str:
    """The report of a run, as HTML.

    Args:
        run: the run as read from its folder.
        live: the version of this page, for a page that asks its server for newer versions; None for a file.
    """
    ops = _ops(run)
    classes = {op: f"o{number}" for number, op in enumerate(ops)}
    search, evaluation = run.search, run.evaluation
    said = read_verdict(run.path)
    cells = search.cells if search else evaluation.genotype if evaluation else None
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            run=run,
            live=live,
            style=Markup(asset("style.css")),
            script=Markup("\n".join(asset(name) for name in _SCRIPTS)),
            tones={name: palette.tone(op) for op, name in classes.items()},
            status=facts.status(run),
            subtitle=facts.subtitle(run),
            numbers=facts.numbers(run),
            cells=drawings(cells, classes) if cells else {},
            cells_text=to_text(cells) if cells else "",
            layers=cells is not None and is_chain(cells),
            averages=cells is not None and skeleton_of(cells.skeleton).averages,
            findings=findings(search) if search else [],
            beginning=beginning(search) if search else [],
            pretext_plot=pretext_plot(search) if search else "",
            scores=facts.scores(run),
            gap=facts.gap(run),
            phases=facts.phases(run),
            verdict=said,
            contest_plot=plot(said.contenders) if said else "",
            contenders=rows(said) if said else [],
            data=pack(run),
        )
    )


def _ops(run: Run) -> list[str]:
    """The names of all operations in a run: first those of the search, in its order, then those of the evaluation."""
    found = list(run.search.ops) if run.search else []
    if run.evaluation:
        found += [c.op for cell in run.evaluation.genotype.cells.values() for c in cell.connections]
    return list(dict.fromkeys(found))


def drawings(genotype: Genotype, classes: Mapping[str, str]) -> dict[str, Markup]:
    """The drawing of each kind of cell, by kind. Equal cells share one drawing, and so do the layers of a chain."""
    if is_chain(genotype):
        return {"chain": Markup(svg_of(genotype.cells, classes=classes))}
    drawn: dict[Any, list[str]] = {}
    for kind, cell in genotype.cells.items():
        drawn.setdefault(cell, []).append(kind)
    return {
        ", ".join(kinds): Markup(svg_of({", ".join(kinds): cell}, classes=classes))
        for cell, kinds in drawn.items()
    }  # fmt: skip


@cache
def environment() -> Environment:
    """The Jinja environment that fills in the templates of all pages."""
    return Environment(
        loader=PackageLoader("diffnas.report", "assets"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )


def asset(name: str) -> str:
    """The text of a style sheet or script in the package's assets."""
    loader = environment().loader
    assert loader is not None
    return loader.get_source(environment(), name)[0]
