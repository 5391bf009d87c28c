"""The command ``diffnas report``: a run as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders, finished or not.")],
    out: Annotated[Path | None, typer.Option(help="The page of one run. Default: RUN/report.html.")] = None,
    figures: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Draw one run for a paper, as SVG and PNG, instead.")
    ] = None,
) -> None:
    """Write the report of a run: one HTML page that needs nothing but a browser."""
    for option, place in (("--out", out), ("--figures", figures)):
        if place is not None and len(runs) > 1:
            raise ValueError(f"{option} {place} is for one run, and {len(runs)} were given; report on them one by one.")
    if figures is not None:
        from diffnas.report.plots import write_figures

        for path in write_figures(runs[0], figures):
            print(path)
        return
    from diffnas.report.page import write_report

    for run in runs:
        print(write_report(run, out))
