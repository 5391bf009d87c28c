"""The commands ``diffnas report`` and ``diffnas watch``, which show a run as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diffnas.names import showable


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders, finished or not.")],
    out: Annotated[Path | None, typer.Option(help="The page of one run. Default: RUN/report.html.")] = None,
    figures: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write figures of one run for a paper, as SVG and PNG, instead.")
    ] = None,
) -> None:
    """Write the report of a run: one HTML page that needs only a browser."""
    for option, place in (("--out", out), ("--figures", figures)):
        if place is not None and len(runs) > 1:
            raise ValueError(f"{option} {place} is for one run, and {len(runs)} were given. Give one run at a time.")
    if figures is not None:
        from diffnas.report.plots import write_figures

        for path in write_figures(runs[0], figures):
            print(showable(str(path)))
        return
    from diffnas.report.page import write_report

    for run in runs:
        print(showable(str(write_report(run, out))))


def watch(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run or of a sweep, in progress or not.")],
    port: Annotated[int, typer.Option(help="The port on this machine; 0 for any free port.")] = 8470,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Show a run or a sweep in a browser while it goes on. Ctrl-C ends the display, not the run."""
    import webbrowser

    from diffnas.report.watch import serving

    with serving(run, port) as server:
        address = f"http://{server.server_address[0]!s}:{server.server_port}/"
        print(f"{address}  shows {showable(str(run))} until Ctrl-C", flush=True)
        if open_browser:
            webbrowser.open(address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return
