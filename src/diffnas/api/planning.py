"""What a search has been asked to do: names become objects, layers of settings are merged. And what it will cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from diffnas.api.notes import Data, DataNote, Notes, left, load_noted, note_data, read_notes, settings_of
from diffnas.api.telling import tell
from diffnas.components.contract import told
from diffnas.data import DataSet, subsample
from diffnas.engine.cost import Cost, estimate
from diffnas.engine.listen import Listener
from diffnas.engine.settings import SearchSettings
from diffnas.lookup import lookup
from diffnas.method import Method, compose
from diffnas.recipes import RECIPES, Recipe
from diffnas.space import SPACES, SearchSpace
from diffnas.values import THREADS


@dataclass(frozen=True, kw_only=True)
class SearchPlan:
    """What a search has been asked to do, names and layers of settings resolved.

    Attributes:
        arguments: what the engine takes.
        notes: what the run folder will note.
        whole: the data, before the search was given its share.
    """

    arguments: dict[str, Any]
    notes: Notes
    whole: DataSet


def plan_search(
    data: Data = None,
    *,
    space: str | SearchSpace | None = None,
    method: str | Method | None = None,
    components: Mapping[str, str] | None = None,
    recipe: str | None = None,
    resumed: Path | None = None,
    data_dir: str | Path | None = None,
    size: int | None = None,
    train: int | None = None,
    download: bool = False,
    device: str | None = None,
    precision: str | None = None,
    threads: int | None = None,
    evaluation: Mapping[str, Any] | None = None,
    contest: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any],
) -> SearchPlan:
    """What the arguments of ``search`` come to; ``resumed`` is the folder of a run that goes on."""
    _check_texts(components)
    kept, record = read_notes(resumed, "search") if resumed else (_fresh(recipe), None)
    recipes = [recipe_named(kept.recipe)] if record is None else [recipe_named(recipe)] if recipe else []
    notes = kept.but(
        train=train, recipe=recipe, components=components, evaluation=evaluation, device=device, precision=precision
    )
    notes = notes.but(threads=threads_for(threads, notes), **(contest or {}))
    chosen_method, notes = _method(method, notes)
    if record is None and space is None:
        notes = notes.but(space=_own_space(chosen_method, notes))
    chosen_space, notes = _space(space, notes)
    note = note_data(kept.data, data, data_dir, size)
    whole = left(load_noted(note, data, size, download), notes)
    if record is None and notes.train is None:
        notes = notes.but(train=_cap(whole, recipes[0].train))
    notes = notes.model_copy(update={"data": note})
    first = chosen_method.settings if record is None else record["settings"]
    arguments = {
        "data": subsample(whole, notes.train, None),
        "space": chosen_space,
        "method": chosen_method,
        "settings": settings_of(SearchSettings, first, *(recipe.search for recipe in recipes), settings),
        "device": notes.device,
        "precision": notes.precision,
        "threads": notes.threads,
    }
    return SearchPlan(arguments=arguments, notes=notes, whole=whole)


def cost(
    data: Data = None,
    *,
    space: str | SearchSpace | None = None,
    method: str | Method | None = None,
    components: Mapping[str, str] | None = None,
    recipe: str | None = None,
    data_dir: str | Path | None = None,
    size: int | None = None,
    train: int | None = None,
    download: bool = False,
    device: str | None = None,
    precision: str | None = None,
    threads: int | None = None,
    listener: Listener | None = None,
    **settings: Any,
) -> Cost:
    """What ``search`` with the same arguments will cost: operations, multiply-adds, memory and time.

    A few steps are taken to measure it; nothing is written. ``listener`` hears how the pictures were read.

    Raises:
        ValueError: for anything that cannot work, but not for want of memory: see ``Cost.fits`` and ``Cost.advice``.

    >>> told = cost("digits", space="nas-bench-201", train=100, epochs=1, channels=4, depth=3)
    >>> told.edges, told.operations, told.fits
    (6, 30, True)
    """
    asked = plan_search(
        data,
        space=space,
        method=method,
        components=components,
        recipe=recipe,
        data_dir=data_dir,
        size=size,
        train=train,
        download=download,
        device=device,
        precision=precision,
        threads=threads,
        settings=settings,
    )
    tell(asked.whole, listener)
    return estimate(**asked.arguments)


def recipe_named(name: str) -> Recipe:
    """The recipe of that name; a ValueError that helps if there is none."""
    return lookup("recipe", name, RECIPES)


def threads_for(asked: int | None, notes: Notes) -> int:
    """How many threads compute: as asked, else as the run began, else the recipe's number, else torch's."""
    if asked is not None:
        return int(THREADS.check("threads", asked))
    return notes.threads or recipe_named(notes.recipe).threads or torch.get_num_threads()


def _fresh(recipe: str | None) -> Notes:
    """The notes of a search of which nothing has been said but the recipe."""
    name = recipe or "published"
    return Notes(data=DataNote(what="digits"), recipe=name, space=recipe_named(name).space)


def _space(given: str | SearchSpace | None, notes: Notes) -> tuple[SearchSpace, Notes]:
    """The space, and notes that name it if it can be named."""
    if isinstance(given, SearchSpace):
        return given, notes.model_copy(update={"space": None})
    name = given or notes.space
    if name is None:
        raise ValueError("the run was begun with a space made in Python; pass it again to resume.")
    return lookup("space", name, SPACES), notes.but(space=name)


def _own_space(method: Method, notes: Notes) -> str | None:
    """The space that a method is made for, if it has the skeleton that the recipe is sized for."""
    if method.space is None or notes.space is None:
        return None
    own, recipes = (lookup("space", name, SPACES) for name in (method.space, notes.space))
    return own.name if own.skeleton == recipes.skeleton else None


def _method(given: str | Method | None, notes: Notes) -> tuple[Method, Notes]:
    """The method, and notes that name it if it can be named."""
    if isinstance(given, Method):
        if notes.components:
            raise ValueError("components replace those of a method given by name; change a Method with replace().")
        return given, notes.model_copy(update={"method": None})
    name = given or notes.method
    if name is None:
        raise ValueError("the run was begun with a method made in Python; pass it again to resume.")
    return compose(name, notes.components), notes.but(method=name)


def _check_texts(components: Any) -> None:
    """Refuse what is not text, before it is noted."""
    if components is not None and not isinstance(components, Mapping):
        raise ValueError(
            f'components is a mapping of roles to texts, such as {{"weighting": "entmax:2"}}, not {told(components)}.'
        )
    for role, text in (components or {}).items():
        if not isinstance(text, str):
            raise ValueError(
                f"components takes texts, such as 'entmax:2', and its {role!r} is {told(text)}. Pass that in a "
                f'method: method=dataclasses.replace(diffnas.METHODS["darts"], {role}=...).'
            )


def _cap(data: DataSet, most: int | None) -> int | None:
    """How many training pictures a recipe that wants ``most`` leaves to a search: None where there are no more."""
    if most is None or len(data.train) <= most:
        return None
    return most
