"""Plans of searches: names become objects, and layers of settings are merged. Also the cost of a planned search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from diffnas.api.notes import Data, DataNote, Notes, left, load_noted, note_data, read_notes, recipe_named, recipe_on
from diffnas.api.options import by_record, takes, wanted_of
from diffnas.api.targets import aim_of, reachable
from diffnas.api.telling import tell
from diffnas.components.contract import told
from diffnas.data import DataSet, subsample
from diffnas.engine.aim import Aim
from diffnas.engine.ceiling import under_ceiling
from diffnas.engine.checks import with_cells_per_place
from diffnas.engine.cost import Cost, Prospect, estimate
from diffnas.engine.listen import Listener, Silent
from diffnas.engine.settings import Machine, SearchSettings, Source, Wanted, merge_settings
from diffnas.lookup import lookup
from diffnas.method import Method, compose
from diffnas.recipes import recipe_of
from diffnas.space import SPACES, SearchSpace


@dataclass(frozen=True, kw_only=True)
class Request:
    """The arguments of a search, as the user gave them; None for those that were not given.

    Attributes:
        data, space, method, components, recipe, evaluation, contenders: as in ``search``.
        wanted: the cost that the deployed network should have, as text, by option.
        listener: hears what is doubtful about a latency.
        source, machine, settings: all other options.
    """

    data: Data = None
    space: str | SearchSpace | None = None
    method: str | Method | None = None
    components: Mapping[str, str] | None = None
    recipe: str | None = None
    evaluation: Mapping[str, Any] | None = None
    contenders: Mapping[str, Any] | None = None
    wanted: Mapping[str, str] = field(default_factory=dict)
    listener: Listener | None = None
    source: Source = field(default_factory=Source)
    machine: Machine = field(default_factory=Machine)
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, options: Mapping[str, Any], **named: Any) -> Request:
        """The request of a call's ``**options`` and of its named arguments; a ValueError if a value is refused."""
        wanted, rest = wanted_of(options)
        source, machine, settings = by_record(rest)
        return cls(**named, wanted=wanted, source=source, machine=machine, settings=settings)


@dataclass(frozen=True, kw_only=True)
class SearchPlan:
    """A search whose names are resolved and whose settings are merged.

    Attributes:
        arguments: the arguments for the engine.
        notes: the notes for the run folder.
        whole: the data, before it is reduced to the pictures that the search sees.
        aim: the cost that the deployed network should have; None if there is no target.
    """

    arguments: dict[str, Any]
    notes: Notes
    whole: DataSet
    aim: Aim | None = None


def plan_search(request: Request, resumed: Path | None = None) -> SearchPlan:
    """The plan for a request; ``resumed`` is the folder of a run that is resumed."""
    _check_texts(request.components)
    source, recipe = request.source, request.recipe
    if resumed is None and recipe is None:
        recipe = recipe_of(request.space, recipe_on(request.data, source))
    kept, record = read_notes(resumed, "search") if resumed else (_fresh(request, recipe), None)
    recipes = [recipe_named(kept.recipe)] if record is None else [recipe_named(recipe)] if recipe else []
    names = {"recipe": request.recipe or recipe, "components": request.components, "evaluation": request.evaluation}
    notes = kept.but(train=source.train, **names, **request.wanted, **(request.contenders or {}))
    notes = notes.on(request.machine)
    method, notes = _method(request.method, notes)
    if record is None and request.space is None:
        notes = notes.but(space=_own_space(method, notes))
    space, notes = _space(request.space, notes)
    note = note_data(kept.data, request.data, source)
    whole = left(load_noted(note, request.data, source), notes)
    if record is None and notes.train is None:
        notes = notes.but(train=_cap(whole, recipes[0].train))
    first = method.settings if record is None else record["settings"]
    layers = first, *(each.without_depth(space.own_depth).search for each in recipes), request.settings
    arguments: dict[str, Any] = {
        "data": subsample(whole, notes.train, None),
        "space": space,
        "method": method,
        "settings": merge_settings(SearchSettings, *layers),
        **notes.computing,
    }
    laid, heard = with_cells_per_place(space, arguments["settings"]), request.listener or Silent()
    named = recipe_named(notes.recipe).without_depth(space.own_depth)
    aim = aim_of(notes, named, record, arguments["data"], laid, method, heard.warn)
    if aim is not None:
        arguments["space"] = under_ceiling(aim, space, arguments["data"], method)
    return SearchPlan(arguments=arguments, notes=notes.model_copy(update={"data": note}), whole=whole, aim=aim)


@takes(Source, Wanted, Machine, SearchSettings)
def cost(
    data: Data = None,
    *,
    space: str | SearchSpace | None = None,
    method: str | Method | None = None,
    components: Mapping[str, str] | None = None,
    recipe: str | None = None,
    listener: Listener | None = None,
    **options: Any,
) -> Cost:
    """What ``search`` with the same arguments will cost: operations, multiply-adds, memory and time.

    It measures a few steps, and writes no files. ``listener`` hears how the pictures were read.

    Raises:
        ValueError: if an argument cannot work. Too little memory is no error: see ``Cost.fits`` and ``Cost.advice``.

    >>> told = cost("digits", space="nas-bench-201", train=100, epochs=1, channels=4, depth=3)
    >>> told.edges, told.operations, told.fits
    (6, 30, True)
    """
    named = {"space": space, "method": method, "components": components, "recipe": recipe, "listener": listener}
    asked = plan_search(Request.of(options, data=data, **named))
    tell(asked.whole, listener)
    found = estimate(Prospect(**asked.arguments))
    if asked.aim is None:
        return found
    parts = asked.arguments
    laid = with_cells_per_place(parts["space"], parts["settings"])
    return replace(found, reachable=tuple(map(str, reachable(asked.aim, laid, parts["data"], parts["method"]))))


def _fresh(request: Request, recipe: str | None) -> Notes:
    """The notes of a search for which only the recipe is given.

    A method that the user names may not suit the recipe's space for targets, which is taken only without one.
    """
    name = recipe or "published"
    aimed = request.method is None and bool(request.wanted.keys() & {"target", "targets"})
    space = recipe_named(name).searched(request.settings, request.evaluation, target=aimed)
    return Notes(data=DataNote(what="digits"), recipe=name, space=space)


_GO_ON = "the run was begun with a {0} made in Python. Go on there: diffnas.search(out=..., resume=True, {0}=...)."


def _space(given: str | SearchSpace | None, notes: Notes) -> tuple[SearchSpace, Notes]:
    """The space, and notes with its name; the name is None for a space that was given as an object."""
    if isinstance(given, SearchSpace):
        return given, notes.model_copy(update={"space": None})
    name = given or notes.space
    if name is None:
        raise ValueError(_GO_ON.format("space"))
    return lookup("space", name, SPACES), notes.but(space=name)


def _own_space(method: Method, notes: Notes) -> str | None:
    """The name of the space for which a method is made, if it has the skeleton of the recipe's space; else None."""
    if method.space is None or notes.space is None:
        return None
    own, recipes = (lookup("space", name, SPACES) for name in (method.space, notes.space))
    return own.name if own.skeleton == recipes.skeleton else None


def _method(given: str | Method | None, notes: Notes) -> tuple[Method, Notes]:
    """The method, and notes with its name; the name is None for a method that was given as an object."""
    if isinstance(given, Method):
        if notes.components:
            raise ValueError("components= needs a method given by name; change a Method object with replace().")
        return given, notes.model_copy(update={"method": None})
    name = given or notes.method
    if name is None:
        raise ValueError(_GO_ON.format("method"))
    return compose(name, notes.components), notes.but(method=name)


def _check_texts(components: Any) -> None:
    """Raise an error if a component is not a text, before it is noted."""
    if components is not None and not isinstance(components, Mapping):
        raise ValueError(
            f'components is a mapping of roles to texts, such as {{"weighting": "entmax:2"}}, not {told(components)}.'
        )
    for role, text in (components or {}).items():
        if not isinstance(text, str):
            raise ValueError(
                f"components takes texts, such as 'entmax:2', but its {role!r} is {told(text)}. Pass that in a "
                f'method: method=dataclasses.replace(diffnas.METHODS["darts"], {role}=...).'
            )


def _cap(data: DataSet, most: int | None) -> int | None:
    """How many training pictures a search sees if its recipe wants at most ``most``; None for all."""
    if most is None or len(data.train) <= most:
        return None
    return most
