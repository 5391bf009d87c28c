"""What is known about a published method beside its components: plain text, for its page."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the page of a method says beside its components.

    Attributes:
        source: who published it, when, and under which title.
        equations: in plain text, one in each line.
        published: results that others reported, one in each text; we did not measure them.
        doubts: what is unclear, contradicted or easily misread, one in each text.
        tabular: whether the method can search NAS-Bench-201, whose cells have one operation on each edge.
        more: a longer page in ``docs/``, if there is one.
    """

    source: str
    equations: str
    published: tuple[str, ...]
    doubts: tuple[str, ...]
    tabular: bool = True
    more: str | None = None
