"""Recipes: named settings for a search and the evaluation after it, sized for a purpose."""

from __future__ import annotations

from diffnas.recipes import pictures, sequences, transformers
from diffnas.recipes.record import Recipe
from diffnas.skeleton import TRANSFORMER, TRANSFORMER_GRAPH, skeleton_of
from diffnas.space import SPACES, SearchSpace

__all__ = ["RECIPES", "Recipe", "for_sequences", "recipe_of", "recipe_of_skeleton"]

RECIPES: dict[str, Recipe] = {**pictures.RECIPES, **sequences.RECIPES, **transformers.RECIPES}
"""The recipes by name."""

_OF_FRAMES = {TRANSFORMER.name: "vit-small", TRANSFORMER_GRAPH.name: "vit-graph"}
_OF_RECURRENT = {"text-transformer": "text-small"}
_OF_TRANSFORMERS = {
    "text-words": "text-transformer",
    "sequences-small": "sequences-transformer",
    "forecast-small": "forecast-transformer",
}


def recipe_of(space: str | SearchSpace | None, usual: str | None = None) -> str | None:
    """The recipe that a space has by default; None for a space that has none, or that is unknown.

    Args:
        space: the space, or its name.
        usual: the default recipe of the data, which sequences have.

    >>> recipe_of("transformer"), recipe_of("recurrent", "text-transformer"), recipe_of("darts")
    ('vit-small', 'text-small', None)
    """
    known = SPACES.get(space) if isinstance(space, str) else space
    return usual if known is None else recipe_of_skeleton(known.skeleton, usual)


def recipe_of_skeleton(skeleton: str, usual: str | None = None) -> str | None:
    """The recipe that the spaces with a skeleton have by default, as ``recipe_of``."""
    kind = skeleton_of(skeleton)
    if usual is None:
        return _OF_FRAMES.get(kind.frame)
    return (_OF_TRANSFORMERS if kind.tokens else _OF_RECURRENT).get(usual, usual)


def for_sequences(name: str | None) -> bool:
    """Whether the recipe of this name is for texts and other sequences.

    >>> for_sequences("text-transformer"), for_sequences("vit-small"), for_sequences(None)
    (True, False, False)
    """
    return name in sequences.RECIPES
