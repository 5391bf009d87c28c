"""How a sweep goes, on the standard error stream: a live table on a terminal, else a line for each change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.table import Table

from diffnas.names import showable
from diffnas.report.sweep.rows import HEADER, row, summary

if TYPE_CHECKING:
    from diffnas.report.sweep.status import Status

_STYLES = {"done": "green", "running": "cyan", "stopped": "yellow", "failed": "red", "waiting": "dim"}
_SPARE = 8  # lines of a terminal that are not rows of the table


class Board:
    """Shows the states of the runs of a sweep while it goes on.

    Args:
        console: the console of the standard error stream.
        quiet: whether to show nothing.
    """

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self.console, self.quiet = console, quiet
        self.live = Live(console=console, auto_refresh=False, transient=True)
        self.told: dict[str, str] = {}

    def __enter__(self) -> Board:
        if self.console.is_terminal and not self.quiet:
            self.live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.live.stop()

    def show(self, statuses: Sequence[Status]) -> None:
        """Show the states as they are now."""
        if self.quiet:
            return
        if self.live.is_started:
            self.live.update(table(statuses, most=max(1, self.console.height - _SPARE)), refresh=True)
            return
        for each in statuses:
            if each.state != self.told.get(each.name, "waiting"):
                reason = f": {each.reason}" if each.reason else ""
                self.console.print(
                    f"{each.name} is {each.state}{reason}", highlight=False, markup=False, soft_wrap=True
                )
            self.told[each.name] = each.state


def table(statuses: Sequence[Status], *, most: int | None = None) -> Table:
    """The runs of a sweep as a table.

    Args:
        statuses: the states of the runs.
        most: how many rows fit. Runs that are done, and then those that wait, are left out first.
    """
    shown = _chosen(statuses, most)
    caption = None if len(shown) == len(statuses) else f"and {len(statuses) - len(shown)} runs more"
    made = Table(box=SIMPLE_HEAD, title=summary(statuses), title_justify="left", pad_edge=False, caption=caption)
    for title in HEADER:
        made.add_column(title, no_wrap=True, justify="left" if title in HEADER[:2] else "right")
    for each in shown:
        made.add_row(*map(showable, row(each)), style=_STYLES[each.state])
    return made


def show_runs(console: Console, statuses: Sequence[Status]) -> None:
    """Print the runs as they ended, and why some failed."""
    console.print(table(statuses), highlight=False)
    for each in statuses:
        if each.reason:
            told = f"{each.name}: {each.reason}"
            console.print(told, style="red", highlight=False, markup=False, soft_wrap=True)


def _chosen(statuses: Sequence[Status], most: int | None) -> list[Status]:
    if most is None or len(statuses) <= most:
        return list(statuses)
    rank = {"failed": 0, "running": 1, "stopped": 2, "waiting": 3, "done": 4}
    first = sorted(range(len(statuses)), key=lambda place: rank[statuses[place].state])[:most]
    return [statuses[place] for place in sorted(first)]
