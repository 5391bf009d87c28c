"""What is known of a published method beside the value that it is here: plain text, for its page."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the page of a method says and its components cannot.

    Attributes:
        source: who published it, when and where.
        equations: in plain text, a line each.
        published: results that others reported, one to a text; we did not measure them.
        doubts: what is unclear, contradicted or easily misread, one to a text.
        tabular: whether it searches NAS-Bench-201, whose cells have one operation on every edge.
        more: a longer page in ``docs/``, if there is one.
    """

    source: str
    equations: str
    published: tuple[str, ...]
    doubts: tuple[str, ...]
    tabular: bool = True
    more: str | None = None
