"""A contest as a plot of accuracy against cost, in SVG with the colors of the page, and as a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

from diffnas.report.verdict import Contender, Verdict
from diffnas.report.words import count, duration

_WIDTH, _HEIGHT = 680, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 150, 12, 40
_APART = 15  # least distance between the names of two dots, in pixels


def plot(contenders: Sequence[Contender]) -> Markup:
    """A plot with a dot for each network, its accuracy against its multiply-adds. Bars are intervals of accuracy."""
    spans = [each.span() for each in contenders]
    macs = [each.macs for each in contenders]
    # The axis spans at least a fifth of the largest cost, so that nearly equal costs look nearly equal.
    x = _axis(macs, _LEFT, _WIDTH - _RIGHT, least=0.2 * max(macs))
    y = _axis([edge for span in spans for edge in span], _HEIGHT - _BOTTOM, _TOP)
    ticks = "".join(
        f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(v):.1f}" y2="{y(v):.1f}"/>'
        f'<text class="tick" x="{_LEFT - 6}" y="{y(v) + 3.5:.1f}" text-anchor="end">{v:.0%}</text>'
        for v in _ticks(min(low for low, _ in spans), max(high for _, high in spans))
    )
    dots = "".join(
        f'<g class="{each.kind}"><line class="bar" x1="{x(each.macs):.1f}" x2="{x(each.macs):.1f}" y1="{y(low):.1f}" '
        f'y2="{y(high):.1f}"/><circle cx="{x(each.macs):.1f}" cy="{y(each.accuracy):.1f}" r="4.5"><title>'
        f"{escape(each.name)}: {each.accuracy:.1%}, {count(each.macs)} multiply-adds</title></circle></g>"
        for each, (low, high) in zip(contenders, spans, strict=True)
    )
    names = "".join(
        f'<text class="label {each.kind}" x="{_WIDTH - _RIGHT + 12}" y="{at + 3.5:.1f}">{escape(each.name)}</text>'
        f'<line class="lead" x1="{x(each.macs) + 6:.1f}" y1="{y(each.accuracy):.1f}" x2="{_WIDTH - _RIGHT + 8}" '
        f'y2="{at:.1f}"/>'
        for each, at in _placed(contenders, y)
    )
    ends = "".join(
        f'<text class="tick" x="{at}" y="{_HEIGHT - 19}" text-anchor="{anchor}">{count(round(value))}</text>'
        for at, value, anchor in ((_LEFT, x.low, "start"), (_WIDTH - _RIGHT, x.low + x.span, "end"))
    )
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    told = "; ".join(f"{each.name} {each.accuracy:.1%}" for each in contenders)
    return Markup(
        f'<svg class="contest" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="Test accuracy against '
        f'multiply-adds: {escape(told)}">{ticks}{names}{dots}{ends}<text class="tick" x="{middle}" '
        f'y="{_HEIGHT - 4}" text-anchor="middle">multiply-adds</text></svg>'
    )


class Row(NamedTuple):
    """A network's row of the table below the plot; ``handed`` says whether the user is handed this network."""

    cells: tuple[str, ...]
    handed: bool


def rows(said: Verdict) -> list[Row]:
    """The rows of a contest's table, the best network on held-out pictures first."""
    ordered = sorted(said.contenders, key=lambda each: -each.chosen_by)
    return [
        Row(
            (
                each.name,
                f"{each.accuracy:.1%}",
                f"{each.chosen_by:.1%}",
                count(each.macs),
                count(each.parameters),
                duration(each.seconds),
            ),
            handed=each.name == said.handed,
        )
        for each in ordered
    ]


class _axis:  # noqa: N801 - called like a function
    """A map from values to pixels, with a margin around the values; ``least`` is the smallest span of the axis."""

    def __init__(self, values: Sequence[float], start: float, end: float, least: float = 0.02) -> None:
        low, high = min(values), max(values)
        self.span = max(1.16 * (high - low), least)
        self.low, self.start, self.end = (low + high - self.span) / 2, start, end

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / self.span * (self.end - self.start)


def _ticks(low: float, high: float) -> list[float]:
    """The ticks of an axis from ``low`` to ``high``: round shares that are 1, 2, 5, 10 or 20 points apart."""
    step = next(step for step in (0.01, 0.02, 0.05, 0.1, 0.2) if (high - low) / step <= 7)
    return [step * number for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _placed(contenders: Sequence[Contender], y: _axis) -> list[tuple[Contender, float]]:
    """The height of each name, in pixels, from top to bottom. Names that would touch are moved down."""
    ordered = sorted(contenders, key=lambda each: -each.accuracy)
    at = [y(each.accuracy) for each in ordered]
    for place in range(1, len(at)):
        at[place] = max(at[place], at[place - 1] + _APART)
    over = max(0.0, at[-1] - (_HEIGHT - _BOTTOM))
    return [(each, height - over) for each, height in zip(ordered, at, strict=True)]
