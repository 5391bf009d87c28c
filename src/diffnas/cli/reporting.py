"""The command ``diffnas report``: a run as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders, finished or not.")],
    out: Annotated[Path | None, typer.Option(help="The page of one run. Default: RUN/report.html.")] = None,
) -> None:
    """Write the report of a run: one HTML page that needs nothing but a browser."""
    from diffnas.report.page import write_report

    if out is not None and len(runs) > 1:
        raise ValueError(f"--out {out} is one file, and {len(runs)} runs were given; report on them one by one.")
    for run in runs:
        print(write_report(run, out))
