"""Search, evaluate, and both in a row, with names where the engine wants objects."""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from diffnas.api import contest
from diffnas.api.notes import Data, Notes, left, load_noted, note_data, read_notes, recipe_named
from diffnas.api.options import by_record, takes
from diffnas.api.planning import Request, SearchPlan, plan_search
from diffnas.api.telling import told
from diffnas.data import DataSet, subsample
from diffnas.engine.cost import require_memory, what_fits
from diffnas.engine.evaluate import EvaluateResult, require_later
from diffnas.engine.evaluate import evaluate as run_evaluation
from diffnas.engine.listen import Interrupted, Listener, OutOfMemory, Silent
from diffnas.engine.lock import owning
from diffnas.engine.request import laid_out
from diffnas.engine.run import RECORD
from diffnas.engine.search import SearchResult
from diffnas.engine.search import search as run_search
from diffnas.engine.settings import EvaluateSettings, Machine, SearchSettings, Source, check_names, settle
from diffnas.genotype import Genotype, from_json, read
from diffnas.method import Method
from diffnas.report.contest import handed
from diffnas.report.verdict import Verdict
from diffnas.space import OpFactory, SearchSpace
from diffnas.values import helps

EVALUATION = "evaluation"
DRAWINGS = ("cell.svg", "cell.png")
SHARED = [name for record in (Source, Machine) for name in helps(record) if name != "train"]


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What a whole run gave.

    Attributes:
        search: what was found.
        evaluation: what the found network, trained from scratch, scores.
        drawings: the pictures of the cells; empty without a run folder.
        report: the page that shows all of it; None without a run folder.
        verdict: what its contenders say of the found network; None if there were none.
    """

    search: SearchResult
    evaluation: EvaluateResult
    drawings: tuple[Path, ...]
    report: Path | None
    verdict: Verdict | None = None


@takes(Source, Machine, SearchSettings)
def search(
    data: Data = None,
    *,
    space: str | SearchSpace | None = None,
    method: str | Method | None = None,
    components: Mapping[str, str] | None = None,
    recipe: str | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    listener: Listener | None = None,
    evaluation: Mapping[str, Any] | None = None,
    contenders: Mapping[str, Any] | None = None,
    check_memory: bool = True,
    **options: Any,
) -> SearchResult:
    """Search the cells that suit ``data``; its test split is never touched.

    What is left out comes from the run folder when a run is resumed, else from the recipe, else from the method.

    Args:
        data: "digits" (the default), "cifar10", "cifar100", "hub:NAME", a folder of class folders, a ``DataSet``, a
            torch ``Dataset``, or tensors: ``((pictures, labels), (pictures, labels))``, training and test.
        space: a space or the name of one; by default the recipe's, "darts" in most.
        method: a method or the name of one; by default "sparse".
        components: what to put in place of the method's own components, as text: ``{"weighting": "entmax:2"}``.
        recipe: a name in ``RECIPES``; by default "published", the sizes of the papers.
        out: the run folder; None leaves nothing behind.
        resume: go on with the run in ``out``. What was given as an object then must be given again.
        listener: hears how it goes.
        evaluation: settings for the evaluation that will follow; kept in the run folder until then.
        contenders: what ``run`` notes of the contenders that will be trained beside what is found.
        check_memory: whether to refuse a search that memory is too small for, before it starts.
        options: fields of ``SearchSettings``, and those below: ``epochs=50``, ``seed=1``, ``device="cpu"``, ...

    Raises:
        ValueError: for anything that cannot work, with what would; nothing is touched.

    >>> found = search("digits", space="nas-bench-201", train=100, epochs=1, channels=4, depth=3)
    >>> found.genotype.skeleton
    'nas-bench-201'
    """
    place, listener = _path(out, resume), listener or Silent()
    source, machine, settings = by_record(options)
    request = Request(
        data=data,
        space=space,
        method=method,
        components=components,
        recipe=recipe,
        evaluation=evaluation,
        contenders=contenders,
        source=source,
        machine=machine,
        settings=settings,
    )
    asked = plan_search(request, place if resume else None)
    if check_memory and not resume:
        require_memory(**asked.arguments)
        if evaluation:
            _require_later(asked)
    notes = asked.notes.model_dump()
    with (
        owning(place, listener.warn),
        told(asked.whole, place, listener),
        _advised(partial(what_fits, **asked.arguments)),
    ):
        return run_search(**asked.arguments, out=place, resume=resume, listener=listener, notes=notes)


@takes(Source, Machine, EvaluateSettings, but=("train",))
def evaluate(
    what: Genotype | SearchResult | str | Path | None = None,
    data: Data = None,
    *,
    recipe: str | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    listener: Listener | None = None,
    factories: Mapping[str, OpFactory] | None = None,
    **options: Any,
) -> EvaluateResult:
    """Train the network of a genotype from scratch on all training pictures, and test it once at the end.

    Args:
        what: a genotype, what ``search`` gave, a run folder, a genotype file, a text that holds one, or the name of a
            published cell. May be left out when an evaluation is resumed.
        data: as in ``search``; of a run folder, the data it was searched with unless given.
        recipe: a name in ``RECIPES``; by default the one of the run folder's search, or "published".
        out: where to leave the network; by default ``evaluation`` in the folder of the search, if there is one.
        resume: go on with the evaluation in ``out``.
        listener: hears how it goes.
        factories: the user's own operations of the genotype.
        options: fields of ``EvaluateSettings``, and those below: ``epochs=600``, ``channels=36``, ...

    Raises:
        ValueError: for anything that cannot work, with what would; nothing is touched.
    """
    source, machine, settings = by_record(options, but=("train",))
    searched, listener = run_folder(what), listener or Silent()
    place = _path(out if out is not None or searched is None else searched / EVALUATION, resume)
    genotype, kept, record, layers = _begun(what, searched, place if resume else None, recipe)
    note = note_data(kept.data, data, source)
    whole = left(load_noted(note, data, source), kept)
    if searched and not resume:
        _warn_of_other_pictures(record.get("data"), kept.train, whole, listener)
    notes = kept.but(recipe=recipe).on(machine).model_copy(update={"data": note})
    chosen = settle(EvaluateSettings, *layers, settings)
    with owning(place, listener.warn), told(whole, place, listener):
        return run_evaluation(
            genotype,
            whole,
            settings=chosen,
            out=place,
            resume=resume,
            listener=listener,
            device=notes.device,
            precision=notes.precision,
            notes=notes.model_dump(),
            threads=notes.threads,
            factories=factories,
        )


def _begun(
    what: Genotype | SearchResult | str | Path | None, searched: Path | None, resumed: Path | None, recipe: str | None
) -> tuple[Genotype, Notes, dict[str, Any], list[Mapping[str, Any]]]:
    """What is evaluated; notes and record of the run that goes on, or of the search before it; layers of settings."""
    if resumed:
        kept, record = read_notes(resumed, "evaluate")
        named = what is not None and searched != resumed
        genotype = _genotype(what) if named else from_json(json.dumps(record.get("genotype")))
        return genotype, kept, record, [record["settings"], recipe_named(recipe).evaluate if recipe else {}]
    kept, record = read_notes(searched, "search") if searched else (Notes(), {})
    return _genotype(what), kept, record, [recipe_named(recipe or kept.recipe).evaluate, kept.evaluation]


@takes(Source, Machine)
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
    search_settings: Mapping[str, Any] | None = None,
    evaluate_settings: Mapping[str, Any] | None = None,
    against: str | None = None,
    repeats: int | None = None,
    listener: Listener | None = None,
    check_memory: bool = True,
    **options: Any,
) -> RunResult:
    """Search, evaluate what was found, draw it and report on it.

    Args:
        data, space, method, components, check_memory: as in ``search``.
        recipe: a name in ``RECIPES``; by default "digits" for the digits and "quick" for all other data.
        out: the run folder; None leaves nothing behind.
        resume: go on with the run in ``out``, in whichever phase it was.
        seed: of both phases.
        search_settings, evaluate_settings: settings of the two phases, over those of the recipe.
        against: contenders, such as ``"random:3,resnet,mobilenet"``: networks of the cost of the found one that are
            trained in the very same way beside it. A tenth of the training pictures is then set aside, and the
            network that is best on them is the one that ``predict`` and ``export`` take.
        repeats: how often each contender and the found network are trained, from one seed after the other.
        listener: hears how both go.
        options: those below, and settings of the search.

    Raises:
        ValueError: for anything that cannot work, with what would; nothing is touched.
    """
    recipe = recipe if recipe or resume else recipe_for(data)
    seeded = {} if seed is None else {"seed": seed}
    later = {**seeded, **(evaluate_settings or {})}
    # Checked before the search, which is too long to find a typing error after it.
    settle(EvaluateSettings, later)
    check_names(SearchSettings, search_settings or {})
    notes, source = contest.noted(_path(out, resume), against, repeats, resume=resume), by_record(options)[0]
    with owning(_path(out, resume), (listener or Silent()).warn):
        found = search(
            data,
            space=space,
            method=method,
            components=components,
            recipe=recipe,
            out=out,
            resume=resume,
            listener=listener,
            evaluation=later or None,
            contenders=notes,
            check_memory=check_memory,
            **{**options, **seeded, **(search_settings or {})},
        )
        train: Callable[..., EvaluateResult] = partial(
            evaluate,
            data=data if data is not None or found.folder else "digits",
            recipe=recipe,
            listener=listener,
            factories=space.factories if isinstance(space, SearchSpace) else None,
            **{name: options[name] for name in SHARED if name in options},
        )
        return _trained(found, train, later, data, source, space, listener or Silent())


def _trained(
    found: SearchResult,
    train: Callable[..., EvaluateResult],
    settings: Mapping[str, Any],
    data: Data,
    source: Source,
    space: str | SearchSpace | None,
    listener: Listener,
) -> RunResult:
    """What follows a search: the evaluation, which goes on if it has begun, the contenders, drawings and the report."""
    begun = found.folder is not None and (found.folder / EVALUATION / RECORD).exists()
    try:
        result = train(found, resume=begun, **settings)
        verdict = contest.verdict(found, train, settings, data, source, space, listener)
    except Interrupted as stop:
        # What goes on is the whole run, not its second phase alone.
        raise Interrupted(stop.signal, found.folder) from None
    if found.folder is None:
        return RunResult(search=found, evaluation=result, drawings=(), report=None)
    drawings = draw_into(found.folder, found.genotype)
    page = report_on(found.folder)
    return RunResult(search=found, evaluation=result, drawings=drawings, report=page, verdict=verdict)


def recipe_for(data: Data) -> str:
    """The recipe of a whole run on ``data``, unless one is named."""
    return "digits" if data is None or (isinstance(data, str) and data == "digits") else "quick"


def run_folder(what: object) -> Path | None:
    """The folder of the search that ``what`` stands for, if it stands for one."""
    if isinstance(what, SearchResult):
        return what.folder
    if isinstance(what, str | Path) and os.path.isfile(os.path.join(what, RECORD)):
        return Path(what)
    return None


def evaluation_folder(folder: Path) -> Path:
    """Where the evaluation is when a user names its folder, or that of the search before it."""
    best = handed(folder)
    if best is not None:
        return best
    return folder / EVALUATION if (folder / EVALUATION / RECORD).is_file() else folder


def draw_into(folder: Path, genotype: Genotype) -> tuple[Path, ...]:
    """Draw the cells into a run folder."""
    from diffnas.report.draw import draw

    return tuple(path for name in DRAWINGS for path in draw(genotype, folder / name))


def report_on(folder: Path) -> Path:
    """Write the report of a run into its folder."""
    from diffnas.report.page import write_report

    return write_report(folder)


def _path(out: str | Path | None, resume: bool) -> Path | None:
    if resume and out is None:
        raise ValueError("resume needs the run folder: pass it as out.")
    if out == "":
        raise ValueError("the run folder has no name: out is empty. Name one, such as runs/mine.")
    return None if out is None else Path(out)


def _genotype(what: Genotype | SearchResult | str | Path | None) -> Genotype:
    if what is None:
        raise ValueError("name what to evaluate: a run folder, a genotype file or text, or a published cell.")
    if isinstance(what, SearchResult):
        return what.genotype
    return what if isinstance(what, Genotype) else read(what)


@contextmanager
def _advised(what_fits: Callable[[], tuple[str, ...]]) -> Iterator[None]:
    """Inside, a search that runs out of memory says what would fit, as far as measuring tells."""
    try:
        yield
    except OutOfMemory as full:
        # The frames of the search hold its tensors.
        traceback.clear_frames(full.__traceback__)
        full.__context__ = None
        raise OutOfMemory(full.left, what_fits() or full.advice) from None


def _warn_of_other_pictures(searched: Any, train: int | None, whole: DataSet, listener: Listener) -> None:
    """Say so if a search saw other pictures, those that its record calls ``searched``, than its share of ``whole``."""
    try:
        same = subsample(whole, train, None).fingerprint == searched["fingerprint"]
    except (ValueError, KeyError, TypeError):  # there are not even so many now, or nothing was recorded
        same = False
    if not same:
        listener.warn(
            f"the search saw other pictures than those of {whole.name!r} now: their fingerprints differ. "
            "The cells are evaluated on what is there now."
        )


def _require_later(asked: SearchPlan) -> None:
    """Refuse a search whose evaluation, as it was asked for, can never fit."""
    notes = asked.notes
    settings = settle(EvaluateSettings, recipe_named(notes.recipe).evaluate, notes.evaluation)
    space = laid_out(asked.arguments["space"], asked.arguments["settings"])
    require_later(space, asked.whole, settings=settings, device=notes.device, precision=notes.precision)
