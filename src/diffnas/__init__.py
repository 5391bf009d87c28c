"""Differentiable neural architecture search: published methods as compositions of a few components.

>>> import diffnas
>>> diffnas.read("DARTS_V2").skeleton
'darts'
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from diffnas.version import VERSION

if TYPE_CHECKING:
    from diffnas.api import Exported, RunResult, continue_text, cost, evaluate, export, load, run, search
    from diffnas.api.vote import Vote, vote
    from diffnas.data import DataSet, from_dataset, from_sequences, from_tensors
    from diffnas.data import load as load_data
    from diffnas.engine.evaluate import EvaluateResult
    from diffnas.engine.listen import Interrupted, Listener, NotFinite
    from diffnas.engine.search import SearchResult
    from diffnas.engine.settings import EvaluateSettings, SearchSettings
    from diffnas.genotype import PUBLISHED, Genotype, read
    from diffnas.method import METHODS, Method, compose
    from diffnas.nets.trained import Trained
    from diffnas.recipes import RECIPES, Recipe
    from diffnas.report.draw import draw
    from diffnas.space import SPACES, SearchSpace, dense_cell
    from diffnas.sweeps.sweep import SweepResult, sweep

__version__ = VERSION

__all__ = [
    "METHODS",
    "PUBLISHED",
    "RECIPES",
    "SPACES",
    "DataSet",
    "EvaluateResult",
    "EvaluateSettings",
    "Exported",
    "Genotype",
    "Interrupted",
    "Listener",
    "Method",
    "NotFinite",
    "Recipe",
    "RunResult",
    "SearchResult",
    "SearchSettings",
    "SearchSpace",
    "SweepResult",
    "Trained",
    "Vote",
    "compose",
    "continue_text",
    "cost",
    "dense_cell",
    "draw",
    "evaluate",
    "export",
    "from_dataset",
    "from_sequences",
    "from_tensors",
    "load",
    "load_data",
    "read",
    "run",
    "search",
    "sweep",
    "vote",
]

# Where each name lives. They are imported when first used, so that `import diffnas` does not wait for torch.
_HOMES = {
    "diffnas.api": ("Exported", "RunResult", "continue_text", "cost", "evaluate", "export", "load", "run", "search"),
    "diffnas.api.vote": ("Vote", "vote"),
    "diffnas.data": ("DataSet", "from_dataset", "from_sequences", "from_tensors"),
    "diffnas.engine.evaluate": ("EvaluateResult",),
    "diffnas.engine.listen": ("Interrupted", "Listener", "NotFinite"),
    "diffnas.engine.search": ("SearchResult",),
    "diffnas.engine.settings": ("EvaluateSettings", "SearchSettings"),
    "diffnas.nets.trained": ("Trained",),
    "diffnas.genotype": ("PUBLISHED", "Genotype", "read"),
    "diffnas.method": ("METHODS", "Method", "compose"),
    "diffnas.recipes": ("RECIPES", "Recipe"),
    "diffnas.report.draw": ("draw",),
    "diffnas.space": ("SPACES", "SearchSpace", "dense_cell"),
    "diffnas.sweeps.sweep": ("SweepResult", "sweep"),
}
_PLACES = {name: (home, name) for home, names in _HOMES.items() for name in names}
_PLACES["load_data"] = ("diffnas.data", "load")


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'diffnas' has no attribute {name!r}")
    home, there = _PLACES[name]
    return getattr(import_module(home), there)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
