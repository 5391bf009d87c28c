"""What a search has been asked to do: names become objects, layers of settings are merged. And what it will cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from diffnas.api.notes import Data, DataNote, Notes, left, load_noted, note_data, read_notes, recipe_named
from diffnas.api.options import by_record, takes, wanted_of
from diffnas.api.targets import aim_of, reachable
from diffnas.api.telling import tell
from diffnas.components.contract import told
from diffnas.data import DataSet, subsample
from diffnas.engine.aim import Aim
from diffnas.engine.cost import Cost, Prospect, estimate
from diffnas.engine.listen import Listener, Silent
from diffnas.engine.request import laid_out
from diffnas.engine.settings import Machine, SearchSettings, Source, Wanted, settle
from diffnas.lookup import lookup
from diffnas.method import Method, compose
from diffnas.space import SPACES, SearchSpace


@dataclass(frozen=True, kw_only=True)
class Request:
    """A search as it was asked for; None is what was not said.

    Attributes:
        data, space, method, components, recipe, evaluation, contenders: as ``search`` takes them.
        wanted: what the deployed network shall cost, as text.
        listener: hears what is doubtful about a latency.
        source, machine, settings: all others.
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


@dataclass(frozen=True, kw_only=True)
class SearchPlan:
    """What a search has been asked to do, names and layers of settings resolved.

    Attributes:
        arguments: what the engine takes.
        notes: what the run folder will note.
        whole: the data, before the search was given its share.
        aim: what the deployed network shall cost; None if that is open.
    """

    arguments: dict[str, Any]
    notes: Notes
    whole: DataSet
    aim: Aim | None = None


def plan_search(request: Request, resumed: Path | None = None) -> SearchPlan:
    """What a request comes to; ``resumed`` is the folder of a run that goes on."""
    _check_texts(request.components)
    source, recipe = request.source, request.recipe
    kept, record = read_notes(resumed, "search") if resumed else (_fresh(recipe), None)
    recipes = [recipe_named(kept.recipe)] if record is None else [recipe_named(recipe)] if recipe else []
    names = {"recipe": recipe, "components": request.components, "evaluation": request.evaluation}
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
        "settings": settle(SearchSettings, *layers),
        "device": notes.device,
        "precision": notes.precision,
        "threads": notes.threads,
    }
    laid, heard = laid_out(space, arguments["settings"]), request.listener or Silent()
    named = recipe_named(notes.recipe).without_depth(space.own_depth)
    aim = aim_of(notes, named, record, arguments["data"], laid, method, heard.warn)
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

    A few steps are taken to measure it; nothing is written. ``listener`` hears how the pictures were read.

    Raises:
        ValueError: for anything that cannot work, but not for want of memory: see ``Cost.fits`` and ``Cost.advice``.

    >>> told = cost("digits", space="nas-bench-201", train=100, epochs=1, channels=4, depth=3)
    >>> told.edges, told.operations, told.fits
    (6, 30, True)
    """
    wanted, rest = wanted_of(options)
    source, machine, settings = by_record(rest)
    request = Request(
        data=data,
        space=space,
        method=method,
        components=components,
        recipe=recipe,
        wanted=wanted,
        listener=listener,
        source=source,
        machine=machine,
        settings=settings,
    )
    asked = plan_search(request)
    tell(asked.whole, listener)
    found = estimate(Prospect(**asked.arguments))
    if asked.aim is None:
        return found
    parts = asked.arguments
    laid = laid_out(parts["space"], parts["settings"])
    return replace(found, reachable=tuple(map(str, reachable(asked.aim, laid, parts["data"], parts["method"]))))


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
