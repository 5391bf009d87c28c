"""What a recipe is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

PLAIN = {"drop_path": 0.0, "auxiliary": 0.0, "cutout": 0}
"""The settings of a training without drop-path, auxiliary head and cutout."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A recipe. It overrides the method's own defaults, and the user's settings override it.

    Attributes:
        about: its purpose, in words.
        space: the search space for which it is made.
        aimed: the space that is searched for a target, if neither a method nor a depth is named; None for ``space``.
        search: settings of the search (``SearchSettings``).
        evaluate: settings of the evaluation (``EvaluateSettings``).
        train: how many training pictures the search sees; None for all.
        threads: how many CPU threads compute; None for torch's own choice. For the smallest nets, one thread is faster
            than two.
    """

    about: str
    space: str = "darts"
    aimed: str | None = None
    search: Mapping[str, Any] = field(default_factory=dict)
    evaluate: Mapping[str, Any] = field(default_factory=dict)
    train: int | None = None
    threads: int | None = None

    def searched(self, *settings: Mapping[str, Any] | None, target: bool) -> str:
        """The name of the space that is searched, for a target or without one.

        ``settings`` are what the user has set: a depth among them may not suit the space for targets.
        """
        deep = any((given or {}).get("depth") is not None for given in settings)
        return self.aimed if target and self.aimed and not deep else self.space

    def without_depth(self, places: int | None) -> Recipe:
        """The recipe without ``depth``, for a space whose cells have their own places in the net and so fix the depth.

        ``places`` is the number of these cells; if it is None, the recipe itself is returned.
        """
        if places is None:
            return self
        search, evaluate = (
            {name: value for name, value in part.items() if name != "depth"} for part in (self.search, self.evaluate)
        )
        return replace(self, search=search, evaluate=evaluate)
