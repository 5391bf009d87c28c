"""What a table says of the runs of a sweep, on a terminal and on a page. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import mean
from typing import TYPE_CHECKING, Literal, TypeAlias

from diffnas.report.words import duration

if TYPE_CHECKING:
    from diffnas.report.sweep.status import Status

State: TypeAlias = Literal["done", "running", "stopped", "waiting", "failed"]
STATES: Mapping[State, str] = {
    "done": "over, with all its results",
    "running": "a process works on it",
    "stopped": "begun, and can go on from its checkpoint",
    "waiting": "not begun",
    "failed": "ended by an error",
}
HEADER = ("run", "state", "epoch", "score so far", "live ops", "left")


def row(each: Status) -> tuple[str, ...]:
    """What a table says of a run, a text for each title of ``HEADER``."""
    return (
        each.name,
        each.state,
        f"{each.phase} {each.epoch}/{each.epochs}" if each.phase else "",
        each.said,
        "" if each.live is None else str(each.live),
        "" if each.left is None else duration(each.left),
    )


def summary(statuses: Sequence[Status]) -> str:
    """How many runs are in which state, and how long the rest takes, in a line."""
    left = seconds_left(statuses)
    words = ", ".join(f"{count} {state}" for state, count in counts(statuses).items())
    return words + ("" if left is None else f"; about {duration(left)} left")


def counts(statuses: Sequence[Status]) -> dict[State, int]:
    """How many runs are in each state, without the states that no run has."""
    found = Counter(each.state for each in statuses)
    return {state: found[state] for state in STATES if found[state]}


def seconds_left(statuses: Sequence[Status]) -> float | None:
    """Seconds to the end of a sweep, if as many runs go on at once as now; None if nothing tells.

    A run that has not begun takes as long as those that are done. Of the others, only the running phase counts.
    """
    running = [each.left for each in statuses if each.state == "running" and each.left is not None]
    done = [each.seconds for each in statuses if each.state == "done"]
    waiting = sum(each.state in ("waiting", "stopped") for each in statuses)
    if not running or (waiting and not done):
        return None
    ahead = sum(running) + (waiting * mean(done) if waiting else 0.0)
    return max(*running, ahead / len(running))
