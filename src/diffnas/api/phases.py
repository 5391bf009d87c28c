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

from diffnas.api.notes import Data, Notes, load_noted, note_data, read_notes, settings_of
from diffnas.api.planning import SearchPlan, plan_search, recipe_named, threads_for
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
from diffnas.engine.settings import EvaluateSettings
from diffnas.genotype import Genotype, from_json, read
from diffnas.method import Method
from diffnas.nets.slot import OpFactory
from diffnas.space import SearchSpace

EVALUATION = "evaluation"
DRAWINGS = ("cell.svg", "cell.png")
SHARED = ("data_dir", "size", "download", "device", "precision", "threads")


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What a whole run gave.

    Attributes:
        search: what was found.
        evaluation: what the found network, trained from scratch, scores.
        drawings: the pictures of the cells; empty without a run folder.
        report: the page that shows all of it; None without a run folder.
    """

    search: SearchResult
    evaluation: EvaluateResult
    drawings: tuple[Path, ...]
    report: Path | None


def search(
    data: Data = None,
    *,
    space: str | SearchSpace | None = None,
    method: str | Method | None = None,
    components: Mapping[str, str] | None = None,
    recipe: str | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    data_dir: str | Path | None = None,
    size: int | None = None,
    train: int | None = None,
    download: bool = False,
    device: str | None = None,
    precision: str | None = None,
    threads: int | None = None,
    listener: Listener | None = None,
    evaluation: Mapping[str, Any] | None = None,
    check_memory: bool = True,
    **settings: Any,
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
        data_dir: where the files of CIFAR are.
        size: height and width to bring pictures to.
        train: how many training pictures the search sees; all by default.
        download: whether the files of CIFAR may be fetched.
        device: "auto", "cpu" or "cuda".
        precision: "32-true", "bf16-mixed" or "64-true".
        threads: how many CPU threads compute; by default the recipe's number, else torch's. A run that is resumed
            keeps its number, because the last digits depend on it.
        listener: hears how it goes.
        evaluation: settings for the evaluation that will follow; kept in the run folder until then.
        check_memory: whether to refuse a search that memory is too small for, before it starts.
        settings: what ``SearchSettings`` has: ``epochs=50``, ``seed=1``, ...

    Raises:
        ValueError: for anything that cannot work, with what would; nothing is touched.

    >>> found = search("digits", space="nas-bench-201", train=100, epochs=1, channels=4, depth=3)
    >>> found.genotype.skeleton
    'nas-bench-201'
    """
    asked = plan_search(
        data,
        space=space,
        method=method,
        components=components,
        recipe=recipe,
        resumed=_path(out, resume) if resume else None,
        data_dir=data_dir,
        size=size,
        train=train,
        download=download,
        device=device,
        precision=precision,
        threads=threads,
        evaluation=evaluation,
        settings=settings,
    )
    if check_memory and not resume:
        require_memory(**asked.arguments)
        if evaluation:
            _require_later(asked)
    place, listener = _path(out, resume), listener or Silent()
    notes = asked.notes.model_dump()
    with (
        owning(place, listener.warn),
        told(asked.whole, place, listener),
        _advised(partial(what_fits, **asked.arguments)),
    ):
        return run_search(**asked.arguments, out=place, resume=resume, listener=listener, notes=notes)


def evaluate(
    what: Genotype | SearchResult | str | Path | None = None,
    data: Data = None,
    *,
    recipe: str | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    data_dir: str | Path | None = None,
    size: int | None = None,
    download: bool = False,
    device: str | None = None,
    precision: str | None = None,
    threads: int | None = None,
    listener: Listener | None = None,
    factories: Mapping[str, OpFactory] | None = None,
    **settings: Any,
) -> EvaluateResult:
    """Train the network of a genotype from scratch on all training pictures, and test it once at the end.

    Args:
        what: a genotype, what ``search`` gave, a run folder, a genotype file, a text that holds one, or the name of a
            published cell. May be left out when an evaluation is resumed.
        data: as in ``search``; of a run folder, the data it was searched with unless given.
        recipe: a name in ``RECIPES``; by default the one of the run folder's search, or "published".
        out: where to leave the network; by default ``evaluation`` in the folder of the search, if there is one.
        resume: go on with the evaluation in ``out``.
        data_dir: where the files of CIFAR are.
        size: height and width to bring pictures to.
        download: whether the files of CIFAR may be fetched.
        device: "auto", "cpu" or "cuda".
        precision: "32-true", "bf16-mixed" or "64-true".
        threads: how many CPU threads compute; by default the recipe's number, else torch's. A run that is resumed
            keeps its number, because the last digits depend on it.
        listener: hears how it goes.
        factories: the user's own operations of the genotype.
        settings: what ``EvaluateSettings`` has: ``epochs=600``, ``channels=36``, ...

    Raises:
        ValueError: for anything that cannot work, with what would; nothing is touched.
    """
    source, listener = run_folder(what), listener or Silent()
    place = _path(out if out is not None or source is None else source / EVALUATION, resume)
    if place and resume:
        kept, record = read_notes(place, "evaluate")
        layers = [record["settings"], recipe_named(recipe).evaluate if recipe else {}]
        named = what is not None and source != place
        genotype = _genotype(what) if named else from_json(json.dumps(record.get("genotype")))
    else:
        kept, record = read_notes(source, "search") if source else (Notes(), {})
        layers = [recipe_named(recipe or kept.recipe).evaluate, kept.evaluation]
        genotype = _genotype(what)
    note = note_data(kept.data, data, data_dir, size)
    whole = load_noted(note, data, size, download)
    if source and not resume:
        _warn_of_other_pictures(record.get("data"), kept.train, whole, listener)
    notes = kept.but(recipe=recipe, device=device, precision=precision).model_copy(update={"data": note})
    notes = notes.but(threads=threads_for(threads, notes))
    chosen = settings_of(EvaluateSettings, *layers, settings)
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


def run(
    data: Data = None,
    *,
    recipe: str | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    seed: int | None = None,
    search_settings: Mapping[str, Any] | None = None,
    evaluate_settings: Mapping[str, Any] | None = None,
    listener: Listener | None = None,
    **choices: Any,
) -> RunResult:
    """Search, evaluate what was found, draw it and report on it.

    Args:
        data: as in ``search``.
        recipe: a name in ``RECIPES``; by default "digits" for the digits and "quick" for all other data.
        out: the run folder; None leaves nothing behind.
        resume: go on with the run in ``out``, in whichever phase it was.
        seed: of both phases.
        search_settings, evaluate_settings: settings of the two phases, over those of the recipe.
        listener: hears how both go.
        choices: other arguments of ``search``: ``method``, ``space``, ``train``, ``data_dir``, ``device``, ...

    Raises:
        ValueError: for anything that cannot work, with what would; nothing is touched.
    """
    recipe = recipe if recipe or resume else recipe_for(data)
    seeded = {} if seed is None else {"seed": seed}
    later = {**seeded, **(evaluate_settings or {})}
    # Checked before the search, which is too long to find a typing error after it.
    settings_of(EvaluateSettings, later)
    with owning(_path(out, resume), (listener or Silent()).warn):
        found = search(
            data,
            recipe=recipe,
            out=out,
            resume=resume,
            listener=listener,
            evaluation=later or None,
            **choices,
            **{**seeded, **(search_settings or {})},
        )
        begun = found.folder is not None and (found.folder / EVALUATION / RECORD).exists()
        shared = {name: choices[name] for name in SHARED if name in choices}
        space = choices.get("space")
        try:
            result = evaluate(
                found,
                data if data is not None or found.folder else "digits",
                recipe=recipe,
                resume=begun,
                listener=listener,
                factories=space.factories if isinstance(space, SearchSpace) else None,
                **shared,
                **later,
            )
        except Interrupted as stop:
            # What goes on is the whole run, not its second phase alone.
            raise Interrupted(stop.signal, found.folder) from None
        if found.folder is None:
            return RunResult(search=found, evaluation=result, drawings=(), report=None)
        drawings = draw_into(found.folder, found.genotype)
        return RunResult(search=found, evaluation=result, drawings=drawings, report=report_on(found.folder))


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
    settings = settings_of(EvaluateSettings, recipe_named(notes.recipe).evaluate, notes.evaluation)
    space = laid_out(asked.arguments["space"], asked.arguments["settings"])
    require_later(space, asked.whole, settings=settings, device=notes.device, precision=notes.precision)
