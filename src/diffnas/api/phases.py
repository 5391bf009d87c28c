"""Search and evaluate, which accept names where the engine needs objects."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from diffnas.api.contest import RANDOM, randoms
from diffnas.api.notes import Data, Notes, left, load_noted, note_data, read_notes, recipe_named, recipe_on, task_for
from diffnas.api.options import by_record, takes, wanted_of
from diffnas.api.planning import Request, SearchPlan, plan_search
from diffnas.api.processes import Call, in_processes
from diffnas.api.targets import landed, scaled
from diffnas.api.telling import told
from diffnas.data import DataSet, subsample
from diffnas.engine.checks import with_cells_per_place
from diffnas.engine.cost import Prospect, require_memory, what_fits
from diffnas.engine.evaluate import EvaluateResult, require_later
from diffnas.engine.evaluate import evaluate as run_evaluation
from diffnas.engine.landing import Landing, read_landing
from diffnas.engine.listen import Listener, OutOfMemory
from diffnas.engine.lock import owning
from diffnas.engine.search import SearchResult
from diffnas.engine.search import search as run_search
from diffnas.engine.settings import EvaluateSettings, Machine, SearchSettings, Source, Wanted, merge_settings
from diffnas.genotype import Genotype, from_json, read
from diffnas.lookup import lookup
from diffnas.method import Method
from diffnas.nets.frames import FrameFactory
from diffnas.nets.slot import OpFactory
from diffnas.recipes import Recipe, for_sequences, recipe_of_skeleton
from diffnas.report.contest import handed
from diffnas.run_files import EVALUATION
from diffnas.run_folder import RunFolder
from diffnas.space import SPACES, SearchSpace
from diffnas.task import Task


@takes(Source, Wanted, Machine, SearchSettings)
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
    task: Task | None = None,
    evaluation: Mapping[str, Any] | None = None,
    contenders: Mapping[str, Any] | None = None,
    check_memory: bool = True,
    **options: Any,
) -> SearchResult:
    """Search cells for ``data``, whose test split is never used.

    Options that are not given come from the run folder if a run is resumed; else from the recipe; else from the method.

    Args:
        data: "digits" (the default), "cifar10", "cifar100", "hub:NAME", a folder of class folders, a ``DataSet``, a
            torch ``Dataset``, or tensors: ``((pictures, labels), (pictures, labels))``, training and test.
        space: a space or the name of one; by default the recipe's, which is "darts" for most recipes. With a target,
            and if neither a method nor a depth is named, the recipes "quick" and "digits" search "chain".
        method: a method or the name of one; by default "sparse".
        components: components that replace the method's own, as text: ``{"weighting": "entmax:2"}``.
        recipe: a name in ``RECIPES``; by default that of the space, if it has one, else "published".
        out: the run folder; None writes no files.
        resume: whether to resume the run in ``out``. Arguments that were objects must then be given again.
        listener: hears how the search goes.
        task: what is learned from the labels; by default ``classification``, by cross-entropy and accuracy.
        evaluation: settings for the evaluation that will follow; the run folder keeps them.
        contenders: the notes of ``run`` about contenders, which will be trained after the search.
        check_memory: whether to refuse, before it starts, a search that needs more memory than is free.
        options: the options below, such as ``epochs=50``, ``seed=1``, ``device="cpu"``.

    Raises:
        ValueError: if an argument cannot work; the error says what would work, and no file is changed.

    >>> found = search("digits", space="nas-bench-201", train=100, epochs=1, channels=4, depth=3)
    >>> found.genotype.skeleton
    'nas-bench-201'
    """
    place = run_path(out, resume)
    named = {"space": space, "method": method, "components": components, "recipe": recipe}
    request = Request.of(options, data=data, evaluation=evaluation, contenders=contenders, **named)
    with in_processes(request.machine, place, listener, place if resume else None) as call:
        asked = plan_search(replace(request, listener=call.listener), call.place if resume else None)
        learned = task_for(task, read_notes(call.place, "search")[1] if call.place and resume else {}, asked.whole)
        if check_memory and not resume and call.ranks.first:
            _require_memory(asked, call)
        return _searched(asked, call, learned, resume=resume)


def _require_memory(asked: SearchPlan, call: Call) -> None:
    """Raise an error if a search, or the evaluation that will follow it, needs more memory than there is."""
    require_memory(_prospect(asked, call))
    if asked.notes.evaluation:
        _require_later(asked)


def _searched(asked: SearchPlan, call: Call, task: Task, *, resume: bool) -> SearchResult:
    """The result of a planned search."""
    notes, flip = asked.notes, asked.arguments["settings"].flip
    with (
        owning(call.own, call.listener.warn),
        told(asked.whole, call.own, call.listener, note=notes.data, flip=flip),
        _advised(_prospect(asked, call)),
    ):
        found = run_search(
            **asked.arguments,
            out=call.own,
            resume=resume,
            listener=call.listener,
            notes=notes.model_dump(),
            aim=asked.aim,
            task=task,
        )
    return replace(found, folder=call.place)


def _prospect(asked: SearchPlan, call: Call) -> Prospect:
    """The search with the part of each batch that this machine computes, for an estimate of its memory."""
    settings = asked.arguments["settings"]
    part = replace(settings, batch=call.ranks.batch_on(settings.batch, asked.notes.device))
    return Prospect(**{**asked.arguments, "settings": part})


_SEARCHED = ("train", "targets", "width", "multiplier", "targets_by")
"""Options of searches alone."""


@takes(Source, Wanted, Machine, EvaluateSettings, but=_SEARCHED)
def evaluate(
    what: Genotype | SearchResult | str | Path | None = None,
    data: Data = None,
    *,
    recipe: str | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    listener: Listener | None = None,
    factories: Mapping[str, OpFactory] | None = None,
    frame: FrameFactory | None = None,
    task: Task | None = None,
    **options: Any,
) -> EvaluateResult:
    """Train the network of a genotype from scratch on all training pictures, and test it once at the end.

    Args:
        what: a genotype, a result of ``search``, a run folder, a genotype file, a genotype as text, the name of a
            published cell or of a hand-made network, or "random" for a network that follows from the seed, of the
            space that the recipe searches (for a ``target``, if there is one). It may be left out if an evaluation is
            resumed.
        data: as in ``search``; for a run folder, the data of its search by default.
        recipe: a name in ``RECIPES``; by default that of the run folder's search, or of the network's space,
            or "published".
        out: the folder for the network; by default ``evaluation`` in the folder of the search, if there is one.
        resume: whether to resume the evaluation in ``out``.
        listener: hears how the evaluation goes.
        factories: factories of the user's operations in the genotype, by name.
        frame: the user's own frame of the genotype, if its space has one.
        task: what is learned, as in ``search``.
        options: the options below, such as ``epochs=600``, ``channels=36``. A ``target`` takes the place of
            ``channels``: the network gets the width at which it costs that. Its depth and its stem stay.

    Raises:
        ValueError: if an argument cannot work; the error says what would work, and no file is changed.
    """
    said, rest = wanted_of(options, but=_SEARCHED)
    source, machine, settings = by_record(rest, but=_SEARCHED)
    own: dict[str, Any] = {"factories": factories, "frame": frame}
    searched = run_folder(what)
    if recipe is None and searched is None and not resume:
        recipe = recipe_on(data, source)
        if recipe is not None and what not in (None, RANDOM):
            recipe = recipe_of_skeleton(_genotype(what, recipe).skeleton, recipe)
    place = run_path(out if out is not None or searched is None else searched / EVALUATION, resume)
    with in_processes(machine, place, listener, place if resume else searched) as call:
        genotype, kept, record, layers = _begun(what, searched, call.place if resume else None, recipe, settings, said)
        note = note_data(kept.data, data, source)
        whole = left(load_noted(note, data, source), kept)
        if searched and not resume:
            _warn_of_other_pictures(record.get("data"), kept.train, whole, call.listener)
        notes = kept.but(recipe=recipe, **said).on(machine).model_copy(update={"data": note})
        chosen = merge_settings(EvaluateSettings, *layers, settings)
        if _scales(said, settings, kept if resume else None):
            # That of the first process, because a clock may measure the network.
            chosen = call.ranks.broadcast(scaled(Wanted(**said), chosen, genotype, whole, own, call.listener))
        with owning(call.own, call.listener.warn), told(whole, call.own, call.listener, note=note, flip=chosen.flip):
            own |= {"out": call.own, "resume": resume, "listener": call.listener, "notes": notes.model_dump()}
            learned = task_for(task, record, whole)
            result = run_evaluation(genotype, whole, settings=chosen, task=learned, **notes.computing, **own)
        return replace(result, folder=call.place)


def _begun(
    what: Genotype | SearchResult | str | Path | None,
    searched: Path | None,
    resumed: Path | None,
    recipe: str | None,
    settings: Mapping[str, Any],
    wanted: Mapping[str, str],
) -> tuple[Genotype, Notes, dict[str, Any], list[Mapping[str, Any]]]:
    """The genotype, the notes, the record and the layers of settings of an evaluation.

    Notes and record are those of the evaluation that is resumed, else those of the search, else empty.
    """
    if resumed:
        kept, record = read_notes(resumed, "evaluate")
        named = what not in (None, RANDOM) and searched != resumed
        genotype = _genotype(what, recipe) if named else from_json(json.dumps(record.get("genotype")))
        return genotype, kept, record, [record["settings"], recipe_named(recipe).evaluate if recipe else {}]
    kept, record = read_notes(searched, "search") if searched else (_unsearched(what, recipe), {})
    named_recipe = recipe_named(recipe or kept.recipe)
    genotype = _random(named_recipe, settings, wanted) if what == RANDOM else _genotype(what, recipe)
    sizes = named_recipe.without_depth(genotype.depth).evaluate
    return genotype, kept, record, [sizes, kept.evaluation, landed(_landing(what, searched))]


def _unsearched(what: Genotype | SearchResult | str | Path | None, recipe: str | None) -> Notes:
    """The notes of an evaluation without a run folder. Its recipe is that of the network's skeleton, if it has one."""
    own = None if what == RANDOM else recipe_of_skeleton(_genotype(what, recipe).skeleton)
    return Notes().but(recipe=own)


def _random(recipe: Recipe, settings: Mapping[str, Any], wanted: Mapping[str, str]) -> Genotype:
    """A network of the space that the recipe searches, the first that contenders of the same seed have."""
    seed = merge_settings(EvaluateSettings, recipe.evaluate, settings).seed
    space = lookup("space", recipe.searched(settings, target="target" in wanted), SPACES)
    searched = merge_settings(SearchSettings, recipe.without_depth(space.own_depth).search)
    return next(randoms(with_cells_per_place(space, searched), seed))


def _scales(said: Mapping[str, str], settings: Mapping[str, Any], begun: Notes | None) -> bool:
    """Whether the width of the network is to be scaled to a target; an evaluation that has ``begun`` keeps its own.

    Raises:
        ValueError: for a target beside channels, for another one than was begun with, or for a runtime without any.
    """
    if begun is not None:
        if said.get("target") not in (None, begun.target):
            with_target = f"--target {begun.target}" if begun.target else "no target"
            raise ValueError(
                f"the evaluation was begun with {with_target}. Go on with it as it was begun, or start anew with "
                "another --out."
            )
    elif "target" in said and settings.get("channels") is not None:
        raise ValueError("a target decides the channels of the network: leave --channels out, or --target.")
    elif "runtime" in said and "latency" not in said.get("target", ""):
        raise ValueError(
            "--runtime says what measures a latency, and there is none to meet. Add --target latency=5ms, say."
        )
    return "target" in said and begun is None


def _landing(what: object, searched: Path | None) -> Landing | None:
    """The landing of the search whose network is evaluated; None without a search or a target."""
    if isinstance(what, SearchResult):
        return what.landing
    return read_landing(RunFolder.open(searched)) if searched else None


def run_folder(what: object) -> Path | None:
    """The run folder of a result, or at a path; None for all else."""
    if isinstance(what, SearchResult):
        return what.folder
    if isinstance(what, str | Path) and RunFolder(Path(what)).begun:
        return Path(what)
    return None


def evaluation_folder(folder: Path) -> Path:
    """The folder of the evaluation, if a user names that folder or the folder of its search.

    After a contest, it is the folder of the trained network that the user is handed.
    """
    best = handed(folder)
    if best is not None:
        return best
    inner = RunFolder(folder).evaluation
    return inner.path if inner.begun else folder


def run_path(out: str | Path | None, resume: bool) -> Path | None:
    """The run folder; None if the run should write no files.

    Raises:
        ValueError: if the name is empty, or if a run without a folder should be resumed.
    """
    if resume and out is None:
        raise ValueError("resume needs the run folder: pass it as out.")
    if out == "":
        raise ValueError("the run folder has no name: out is empty. Name one, such as runs/mine.")
    return None if out is None else Path(out)


def _genotype(what: Genotype | SearchResult | str | Path | None, recipe: str | None) -> Genotype:
    """The genotype that is evaluated; with a recipe for sequences, a published name is that of a recurrent cell."""
    if what is None:
        raise ValueError("name what to evaluate: a run folder, a genotype file or text, or a published cell.")
    if isinstance(what, SearchResult):
        return what.genotype
    if isinstance(what, Genotype):
        return what
    return read(what, sequences=for_sequences(recipe))


@contextmanager
def _advised(wanted: Prospect) -> Iterator[None]:
    """A context in which a search that runs out of memory says what would fit, as far as can be measured."""
    try:
        yield
    except OutOfMemory as full:
        # The frames of the search hold tensors, whose memory the measurement needs.
        traceback.clear_frames(full.__traceback__)
        full.__context__ = None
        raise OutOfMemory(full.left, what_fits(wanted) or full.advice) from None


def _warn_of_other_pictures(searched: Any, train: int | None, whole: DataSet, listener: Listener) -> None:
    """Warn if the search saw other pictures than its part of ``whole``; ``searched`` is the data in its record."""
    try:
        same = subsample(whole, train, None).fingerprint == searched["fingerprint"]
    except (ValueError, KeyError, TypeError):  # there are fewer pictures now, or the record has no fingerprint
        same = False
    if not same:
        listener.warn(
            f"the search saw other pictures than {whole.name!r} has now: their fingerprints differ. "
            "The cells are evaluated on the present pictures."
        )


def _require_later(asked: SearchPlan) -> None:
    """Raise an error if the evaluation that will follow a search can never fit into memory."""
    notes = asked.notes
    named = recipe_named(notes.recipe).without_depth(asked.arguments["space"].own_depth)
    settings = merge_settings(EvaluateSettings, named.evaluate, notes.evaluation)
    space = with_cells_per_place(asked.arguments["space"], asked.arguments["settings"])
    require_later(space, asked.whole, settings=settings, device=notes.device, precision=notes.precision)
