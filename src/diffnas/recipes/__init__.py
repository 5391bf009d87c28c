"""Recipes: named settings for a search and the evaluation after it, sized for a purpose."""

from __future__ import annotations

from diffnas.recipes import pictures, sequences, transformers
from diffnas.recipes.record import Recipe
from diffnas.skeleton import TRANSFORMER, TRANSFORMER_GRAPH, skeleton_of
from diffnas.space import SPACES, SearchSpace

__all__ = ["RECIPES", "Recipe", "recipe_of", "recipe_of_skeleton"]

RECIPES: dict[str, Recipe] = {**pictures.RECIPES, **sequences.RECIPES, **transformers.RECIPES}
"""The recipes by name."""

_OF_FRAMES = {TRANSFORMER.name: "vit-small", TRANSFORMER_GRAPH.name: "vit-graph"}
_OF_TRANSFORMERS = {
    "text-small": "text-transformer",
    "text-words": "text-transformer",
    "sequences-small": "sequences-transformer",
    "forecast-small": "forecast-transformer",
}


def recipe_of(space: str | SearchSpace | None, usual: str | None = None) -> str | None:
    """The recipe that a space has by default; None for a space that has none, or that is unknown.

    Args:
        space: the space, or its name.
        usual: the default recipe of the data, which sequences have.

    >>> recipe_of("transformer"), recipe_of("transformer", "text-small"), recipe_of("darts")
    ('vit-small', 'text-transformer', None)
    """
    known = SPACES.get(space) if isinstance(space, str) else space
    return usual if known is None else recipe_of_skeleton(known.skeleton, usual)


def recipe_of_skeleton(skeleton: str, usual: str | None = None) -> str | None:
    """The recipe that the spaces with a skeleton have by default, as ``recipe_of``."""
    if usual is None:
        return _OF_FRAMES.get(skeleton_of(skeleton).frame)
    return _OF_TRANSFORMERS.get(usual, usual) if skeleton_of(skeleton).tokens else usual
