"""A whole run: both phases, the contenders, the drawings and the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from diffnas.api import contest
from diffnas.api.notes import Data, recipe_on
from diffnas.api.options import by_record, takes, wanted_of
from diffnas.api.phases import evaluate, run_path, search
from diffnas.api.planning import Request, SearchPlan, plan_search
from diffnas.api.processes import Call, in_processes
from diffnas.api.targets import SIZES
from diffnas.engine.evaluate import EvaluateResult
from diffnas.engine.listen import Interrupted, Listener
from diffnas.engine.lock import owning
from diffnas.engine.search import SearchResult
from diffnas.engine.settings import (
    EvaluateSettings,
    Machine,
    SearchSettings,
    Source,
    Wanted,
    check_names,
    merge_settings,
)
from diffnas.genotype import Genotype
from diffnas.method import Method
from diffnas.recipes import recipe_of
from diffnas.report.verdict import Verdict
from diffnas.run_folder import RunFolder
from diffnas.space import SearchSpace
from diffnas.task import Task, classification
from diffnas.values import helps

DRAWINGS = ("cell.svg", "cell.png")
_SHARED = [name for record in (Source, Machine) for name in helps(record) if name != "train"]
"""The names of the options that both phases take."""


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """The result of a whole run.

    Attributes:
        search: the result of the search.
        evaluation: the result of the found network, trained from scratch.
        drawings: the files with drawings of the cells; empty without a run folder.
        report: the file of the report; None without a run folder.
        verdict: how the found network compares with its contenders; None if there were none.
    """

    search: SearchResult
    evaluation: EvaluateResult
    drawings: tuple[Path, ...]
    report: Path | None
    verdict: Verdict | None = None


@takes(Source, Wanted, Machine)
def run(
    data: Data = None,
    *,
    space: str | SearchSpace | None = None,
    method: str | Method | None = None,
    components: Mapping[str, str] | None = None,
    recipe: str | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    seed: int | None = None,
    flip: bool | None = None,
    search_settings: Mapping[str, Any] | None = None,
    evaluate_settings: Mapping[str, Any] | None = None,
    against: str | None = None,
    repeats: int | None = None,
    listener: Listener | None = None,
    task: Task | None = None,
    check_memory: bool = True,
    **options: Any,
) -> RunResult:
    """Search, evaluate the found network, draw its cells, and write a report.

    Args:
        data, space, method, components, task, check_memory: as in ``search``.
        recipe: a name in ``RECIPES``; by default that of the space, if it has one; else "digits" for the digits and
            "quick" for all other data.
        out: the run folder; None writes no files.
        resume: whether to resume the run in ``out``, in whichever phase it is.
        seed, flip: the settings of these names, for both phases.
        search_settings, evaluate_settings: settings of one phase, which replace those of the recipe.
        against: contenders, such as ``"random:3,resnet,mobilenet"``: networks with the cost of the found one, trained
            in the same way. A tenth of the training pictures is then set aside. ``predict`` and ``export`` take the
            network that is best on these pictures.
        repeats: how often each network is trained, from consecutive seeds.
        listener: hears how both phases go.
        options: the options below, and settings of the search.

    Raises:
        ValueError: if an argument cannot work; the error says what would work, and no file is changed.
    """
    recipe = recipe if recipe or resume else recipe_for(data, space, by_record(wanted_of(options)[1])[0])
    shared = _given(seed=seed, flip=flip)
    later = _checked(search_settings or {}, {**shared, **(evaluate_settings or {})})
    place = run_path(out, resume)
    machine, known = by_record(wanted_of(options)[1])[1], place if resume else None
    with in_processes(machine, place, listener, known) as call, owning(call.own, call.listener.warn):
        asked: dict[str, Any] = {"space": space, "method": method, "components": components, "task": task}
        found = search(
            data,
            **asked,
            recipe=recipe,
            out=call.place,
            resume=resume,
            listener=call.listener,
            evaluation=later or None,
            contenders=contest.noted(call.place, _contenders(against, task), repeats, resume=resume),
            check_memory=check_memory,
            **{**options, **shared, **(search_settings or {})},
        )
        return _trained(found, _after_landing(later, found), data, space, recipe, options, call, task)


def plan_run(
    data: Data = None,
    *,
    seed: int | None = None,
    flip: bool | None = None,
    search_settings: Mapping[str, Any] | None = None,
    evaluate_settings: Mapping[str, Any] | None = None,
    against: str | None = None,
    repeats: int | None = None,
    check_memory: bool = True,
    **options: Any,
) -> SearchPlan:
    """The plan of the search with which ``run`` begins, given the same arguments. Nothing is trained or written.

    Args:
        data, seed, flip, search_settings, evaluate_settings, against, repeats, check_memory, options: as in ``run``.

    Raises:
        ValueError: if an argument cannot work, as in ``run``; too little memory is no error.
    """
    shared = _given(seed=seed, flip=flip)
    later = _checked(search_settings or {}, {**shared, **(evaluate_settings or {})})
    named = {name: options.pop(name, None) for name in ("space", "method", "components", "recipe")}
    named["recipe"] = named["recipe"] or recipe_for(data, named["space"], by_record(wanted_of(options)[1])[0])
    request = Request.of(
        {**options, **shared, **(search_settings or {})},
        data=data,
        evaluation=later or None,
        contenders=contest.noted(Path(), against, repeats, resume=False),
        **named,
    )
    check_names(SearchSettings, request.settings)
    return plan_search(request)


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _after_landing(settings: Mapping[str, Any], found: SearchResult) -> Mapping[str, Any]:
    """The settings of the evaluation, without the size that the user gave if the search has landed at its own size."""
    return settings if found.landing is None else {k: v for k, v in settings.items() if k not in SIZES}


def _contenders(against: str | None, task: Task | None) -> str | None:
    """The name of the contenders, or None; a ValueError if the task has no accuracy by which they could be judged."""
    if against and isinstance(task, Task) and task != classification:
        raise ValueError(f"contenders are judged by accuracy, and the task is {task.name!r}. Leave against out.")
    return against


def _checked(search: Mapping[str, Any], evaluate: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings of the evaluation; an error for wrong ones of either phase comes before the long search."""
    check_names(SearchSettings, search)
    merge_settings(EvaluateSettings, evaluate)
    return evaluate


def _trained(
    found: SearchResult,
    settings: Mapping[str, Any],
    data: Data,
    space: str | SearchSpace | None,
    recipe: str | None,
    options: Mapping[str, Any],
    call: Call,
    task: Task | None,
) -> RunResult:
    """The result of a run after its search: evaluation (resumed if it has begun), contenders, drawings and report."""
    train: Callable[..., EvaluateResult] = partial(
        evaluate,
        data=data if data is not None or found.folder else "digits",
        recipe=recipe,
        listener=call.listener,
        task=task,
        **(space.own if isinstance(space, SearchSpace) else {}),
        **{name: options[name] for name in _SHARED if name in options},
    )
    source, *_ = by_record(wanted_of(options)[1])
    begun = call.ranks.broadcast(found.folder is not None and RunFolder(found.folder).evaluation.begun)
    try:
        result = train(found, resume=begun, **settings)
        verdict = contest.verdict(found, train, settings, data, source, space, call)
    except Interrupted as stop:
        # The user must resume the whole run, not only its second phase.
        raise Interrupted(stop.signal, found.folder) from None
    if found.folder is None or not call.ranks.first:
        return RunResult(search=found, evaluation=result, drawings=(), report=None, verdict=verdict)
    drawings = draw_into(found.folder, found.genotype)
    page = report_on(found.folder)
    return RunResult(search=found, evaluation=result, drawings=drawings, report=page, verdict=verdict)


def recipe_for(data: Data, space: str | SearchSpace | None = None, source: Source | None = None) -> str:
    """The default recipe of a whole run on ``data``: that of sequences, or of the space, if there is one."""
    found = recipe_of(space, recipe_on(data, source or Source()))
    if found is not None:
        return found
    return "digits" if data is None or (isinstance(data, str) and data == "digits") else "quick"


def draw_into(folder: Path, genotype: Genotype) -> tuple[Path, ...]:
    """The files of the cells' drawings, which are written to a run folder."""
    from diffnas.report.draw import draw

    return tuple(path for name in DRAWINGS for path in draw(genotype, folder / name))


def report_on(folder: Path) -> Path:
    """The file of a run's report, which is written to its folder."""
    from diffnas.report.page import write_report

    return write_report(folder)
