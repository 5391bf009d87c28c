"""Signs of collapse in a search, and plain sentences on what they mean for this run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from diffnas.genotype import collapse
from diffnas.report import measure
from diffnas.report.reading import Search

Mark = Literal["fine", "look", "bad"]


class Finding(NamedTuple):
    """One indicator of a search, and what it means.

    Attributes:
        name: the name of the indicator.
        mark: "fine", "look" (it deserves a look) or "bad".
        value: the value in the last epoch, or in the epoch whose cells are the result, as text.
        text: what the value means, in a sentence or two.
        series: the value after each epoch; empty if there is no such series.
        top: the largest possible value, which scales a plot; None if it is unknown.
    """

    name: str
    mark: Mark
    value: str
    text: str
    series: Sequence[float | None] = ()
    top: float | None = None


def findings(search: Search) -> list[Finding]:
    """All findings on a search, the most important first; empty before the first epoch is over."""
    if not search.lines:
        return []
    said = [_problems(search), _skips(search), _depth(search), _none(search)]
    said += [_effective(search), _thrown_away(search), _last_change(search), *_eigenvalues(search)]
    return [finding for finding in said if finding is not None]


def _problems(search: Search) -> Finding | None:
    problems = search.cells.problems() if search.cells else ()
    if not problems:
        return None
    return Finding("Broken cells", "bad", str(len(problems)), " ".join(problem.capitalize() for problem in problems))


def _skips(search: Search) -> Finding | None:
    if collapse.SKIP not in search.ops:
        return None
    series = [float(sum(c.count(collapse.SKIP) for c in cells.cells.values())) for cells in search.genotypes]
    assert search.chosen is not None
    skips = int(series[search.chosen])
    of = sum(len(cell.connections) for cell in search.genotypes[search.chosen].cells.values())
    counted = f"{skips} of {of} connections {'is a skip' if skips == 1 else 'are skips'}"
    if collapse.too_many_skips(skips, of):
        mark, text = "bad", (
            f"{counted}, as in DARTS’ collapse. Skips win because a supernet trains fast with them, not because they "
            "make a good network. Expect this network to be worse than the supernet’s accuracy promises."
        )  # fmt: skip
    elif collapse.too_many_skips(skips, of, share=collapse.SKIPS.look):
        mark, text = "look", f"{counted}. At one half, a search counts as collapsed; this one is on the way."
    else:
        mark, text = "fine", f"{counted}. A search counts as collapsed at one half; this one is far from it."
    return Finding("Skip connections", mark, f"{skips} of {of}", text, series, float(of))  # type: ignore[arg-type]


def _depth(search: Search) -> Finding:
    assert search.chosen is not None
    courses = {kind.name: measure.depths(search, kind.name) for kind in search.kinds}
    ended = {kind: course[search.chosen] for kind, course in courses.items()}
    possible = max(kind.nodes - kind.inputs for kind in search.kinds)
    deepest = max(ended.values())
    each = ", ".join(f"{depth} in the {kind} cell" for kind, depth in ended.items())
    if len(ended) > 4:
        each = f"{min(ended.values())} to {deepest} over {len(ended)} kinds of cell"
    text = f"Operations that learn on the longest path through a cell: {each}. At most {possible} would fit."
    mark: Mark = "fine"
    if deepest <= collapse.DEPTH.bad:
        mark, text = "bad", "No path through any cell has an operation that learns."
    elif deepest <= collapse.DEPTH.look and possible > 1:
        mark = "look"
        text += " A wide, shallow cell trains faster than a deep one, so it can win a search though it is not better."
    course = [float(max(at)) for at in zip(*courses.values(), strict=True)]
    return Finding("Depth", mark, str(deepest), text, course, float(possible))


def _none(search: Search) -> Finding | None:
    if collapse.NONE not in search.ops:
        return None
    series = measure.indicator(search, "none_share")
    share = series[-1]
    if share is None:
        return None
    edges = sum(len(kind.edges) for kind in search.kinds)
    even = edges / measure.offered(search)
    text = f"‘none’ holds {share:.0%} of an edge’s weight, on average; an even share is {even:.0%}."
    mark: Mark = "fine"
    if collapse.switched_off(share):
        mark = "bad"
        text += " The search switches the cell off, and the operations that are left have hardly been trained."
    elif share > collapse.NONE_SHARE.look * even:
        mark = "look"
        text += " It wins though it computes nothing. Read the cells off by a rule that ignores it to avoid this."
    return Finding("Weight of none", mark, f"{share:.0%}", text, series, 1.0)


def _effective(search: Search) -> Finding:
    series: list[float | None] = list(measure.effective(search))
    assert search.chosen is not None
    ended = series[search.chosen] or 1.0
    most = measure.offered(search) / sum(len(kind.edges) for kind in search.kinds)
    text = f"An edge still mixes {ended:.1f} of {most:.2g} operations, on average."
    if ended > collapse.MIXED.look * most:
        mark: Mark = "look"
        text += " Hardly anything is decided: small differences chose the cells, and another seed may reverse them."
    elif ended > collapse.DECIDED:
        mark, text = "fine", text + " The search has preferences, but most edges are not decided."
    else:
        mark, text = "fine", text + " Nearly everything is decided: the supernet is close to the network that is built."
    return Finding("Operations mixed", mark, f"{ended:.1f}", text, series, most)


def _thrown_away(search: Search) -> Finding:
    series: list[float | None] = list(measure.thrown_away(search))
    assert search.chosen is not None
    lost = series[search.chosen] or 0.0
    text = f"{lost:.0%} of an edge’s weight, on average, is on operations that are not in the cells."
    if lost > collapse.THROWN_AWAY.look:
        text += " The network that is built is very different from the supernet that was trained."
    elif lost > collapse.KEPT:
        text += " The network that is built differs from the supernet by that much."
    else:
        text += " Little changed when the cells were read off."
    return Finding(
        "Weight thrown away", "look" if lost > collapse.THROWN_AWAY.look else "fine", f"{lost:.0%}", text, series, 1.0
    )


def _last_change(search: Search) -> Finding | None:
    epochs = len(search.lines)
    if epochs < 3:
        return None
    place = measure.last_change(search)
    if place >= epochs - max(1, epochs // 10):
        text = f"The cells still changed in epoch {place + 1} of {epochs}: more epochs may find other cells."
        return Finding("Last change", "look", f"epoch {place + 1}", text)
    text = f"The cells did not change after epoch {place + 1} of {epochs}."
    return Finding("Last change", "fine", f"epoch {place + 1}", text)


def _eigenvalues(search: Search) -> Iterator[Finding]:
    """Findings on eigenvalues, which rise before some collapses (Zela et al., 2020), and in other searches too."""
    for name in dict.fromkeys(name for line in search.lines for name in line.indicators if "eigenvalue" in name):
        series = measure.indicator(search, name)
        known = [value for value in series if value is not None]
        if not known:
            continue
        least, last = min(known), known[-1]
        ratio = last / least if least > 0 else 1.0
        text = (
            f"The largest curvature of the held-out loss along alpha is {last:.2g}, {ratio:.1f} times its least value."
        )
        rising = len(known) > 4 and ratio > collapse.EIGENVALUE.look
        text += (
            " It rose before the collapses of Zela et al. (2020), but it can rise without one: see what wins the edges."
            if rising
            else " It did not rise; a search can collapse all the same."
        )
        spoken = name.replace("_", " ").capitalize()
        yield Finding(spoken, "look" if rising else "fine", f"{last:.2g}", text, series)
