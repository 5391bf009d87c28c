"""How a search began: where its weights came from, the variances of its nodes, and what a pretext learned."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup, escape

from diffnas.report.reading import Search
from diffnas.report.records import SearchLine

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _EDGE = 520, 130, 46, 46, 18


def beginning(search: Search) -> list[str]:
    """What is worth telling of the beginning of a search, a sentence each; empty for a run of a former version."""
    start = search.start
    if start is None:
        return []
    said = [f"Weights: {search.record.method.get('initial', 'pytorch')}.", start.initial, start.alpha]
    if start.variances:
        kinds = [f"{kind} {', '.join(f'{value:.2f}' for value in row)}" for kind, row in start.variances.items()][:4]
        said.append(
            f"Variances of the nodes before the first step: {'; '.join(kinds)}. Sums that vanish or explode show in "
            "numbers far from 1."
        )
    return [text for text in (*said, _learned(search.pretext)) if text]


def _learned(lines: Sequence[SearchLine]) -> str | None:
    """What the pretext learned, in a sentence; None without one."""
    if not lines:
        return None
    first, last = lines[0].train, lines[-1].train
    numbers = [f"{name} from {first[name]:.3g} to {last[name]:.3g}" for name in last if name in first]
    return f"Before the search, {len(lines)} epochs of {lines[0].pretext}: {', '.join(numbers)}."


def pretext_plot(search: Search) -> Markup:
    """The loss of the pretext over its epochs, as SVG; empty with fewer than two epochs."""
    values = [line.train.get("loss", 0.0) for line in search.pretext]
    if len(values) < 2:
        return Markup("")
    low, high = min(values), max(values)
    span = high - low or 1.0
    points = " ".join(
        f"{_LEFT + place * (_WIDTH - _LEFT - _RIGHT) / (len(values) - 1):.1f},"
        f"{_EDGE + (high - value) / span * (_HEIGHT - 2 * _EDGE):.1f}"
        for place, value in enumerate(values)
    )
    name = escape(search.pretext[0].pretext or "")
    return Markup(
        f'<svg class="contest" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="Loss of {name}, from '
        f'{values[0]:.3g} to {values[-1]:.3g}"><polyline points="{points}" fill="none" stroke="currentColor" '
        f'stroke-width="1.6"/><text class="tick" x="{_LEFT - 6}" y="{_EDGE + 4}" text-anchor="end">{high:.3g}</text>'
        f'<text class="tick" x="{_LEFT - 6}" y="{_HEIGHT - _EDGE + 4}" text-anchor="end">{low:.3g}</text>'
        f'<text class="tick" x="{_LEFT}" y="{_HEIGHT - 2}">1</text><text class="tick" x="{_WIDTH - _RIGHT}" '
        f'y="{_HEIGHT - 2}" text-anchor="end">{len(values)}</text></svg>'
    )
