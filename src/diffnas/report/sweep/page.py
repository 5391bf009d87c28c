"""The page of a sweep: how far each run has come, and how the methods compare so far."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from diffnas.names import showable
from diffnas.report.compare import Grid, differences_grid, group_grid, grouped, read_found
from diffnas.report.page import asset, environment
from diffnas.report.sweep.record import SweepRecord
from diffnas.report.sweep.rows import HEADER, STATES, counts, row, summary
from diffnas.report.sweep.status import Status, SweepView

_SCRIPTS = ("theme.js", "live.js", "sweep.js")


class SweepPage:
    """Makes the page of a sweep, and reads its runs again only if they have changed."""

    def __init__(self, path: Path) -> None:
        self.path, self.view = path, SweepView(path)
        self._compared: tuple[tuple[str, ...], list[Grid]] = (), []

    def version(self) -> str:
        """A text that changes whenever a run changes."""
        return self.view.version()

    def html(self, version: str) -> str:
        """The present page, which asks its server for versions newer than ``version``.

        Raises:
            ValueError: if the results of a run that is done are damaged.
        """
        statuses = self.view.statuses()
        template = environment().get_template("sweep.html.j2")
        return template.render(
            name=showable(self.path.resolve().name),
            path=showable(str(self.path)),
            live=version,
            style=Markup(asset("style.css")),
            script=Markup("\n".join(map(asset, _SCRIPTS))),
            summary=summary(statuses),
            counts=counts(statuses),
            states=STATES,
            done=counts(statuses).get("done", 0),
            axes=axes(self.view.record),
            header=HEADER,
            rows=[
                {"texts": row(each), "state": each.state, "reason": each.reason, "about": _about(each)}
                for each in statuses
            ],
            grids=self._grids([each.name for each in statuses if each.state == "done"]),
        )

    def _grids(self, done: Sequence[str]) -> list[Grid]:
        """Tables of the runs that are done. The last tables are given again until another run is done."""
        if tuple(done) != self._compared[0]:
            groups = grouped(read_found(self.path / name) for name in done)
            grids = [group_grid(groups), differences_grid(groups)]
            self._compared = tuple(done), [grid for grid in grids if grid.rows]
        return self._compared[1]


def axes(record: SweepRecord) -> str:
    """The axes of a grid that have several values, in words, such as ``method (2) and seed (5)``."""
    cells = [cell.values for cell in record.cells.values()]
    several = {name: len({cell.get(name) for cell in cells}) for name in cells[0]}
    words = [f"{name} ({count})" for name, count in several.items() if count > 1]
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]])) or "one cell of the grid"


def _about(each: Status) -> str:
    return ", ".join(f"{name} {value}" for name, value in each.values.items())
