"""The commands ``diffnas run``, ``search`` and ``evaluate``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from diffnas.cli import generated, show
from diffnas.cli import options as o
from diffnas.cli.progress import Display
from diffnas.engine.settings import EvaluateSettings, Machine, SearchSettings, Source, Wanted
from diffnas.run_files import WEIGHTS
from diffnas.run_folder import RunFolder

if TYPE_CHECKING:
    from diffnas.engine.evaluate import EvaluateResult
    from diffnas.engine.search import SearchResult
    from diffnas.report.verdict import Verdict

MISSED = 3
"""The exit code of a run whose network missed its target. Its results are kept."""


@generated.takes(
    *generated.fields(Source),
    *generated.fields(Wanted),
    *generated.fields(SearchSettings, only=("epochs", "flip", "seed")),
    *generated.roles(),
    *generated.fields(Machine),
)
def run(
    data: o.DataArgument = None,
    method: o.MethodName = None,
    space: o.SpaceName = None,
    recipe: o.RecipeName = None,
    evaluate_epochs: o.EvaluateEpochs = None,
    settings: o.PhaseSet = None,
    against: o.Against = None,
    repeats: o.Repeats = None,
    out: o.Out = None,
    resume: o.Resume = None,
    check_memory: o.CheckMemory = True,
    log: o.Log = None,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
    **given: Any,
) -> None:
    """Search, evaluate, draw and report: the whole job. Without DATA, it takes the embedded digits."""
    from diffnas import api

    arguments = run_arguments(
        data=data,
        method=method,
        space=space,
        recipe=recipe,
        evaluate_epochs=evaluate_epochs,
        settings=settings,
        against=against,
        repeats=repeats,
        check_memory=check_memory,
        **given,
    )
    folder = resume or out or o.new_folder(data or "digits", method or "sparse", given.get("seed") or 0)
    with Display(Console(stderr=True), quiet=quiet) as display:
        result = api.run(out=folder, resume=_resuming(resume, out), listener=o.heard(display, log, folder), **arguments)
    outcome = result.search, result.evaluation, result.drawings, result.report, result.verdict
    if api.first():
        _finish(*outcome, as_json=as_json, quiet=quiet)


def run_arguments(
    *,
    data: str | None = None,
    evaluate_epochs: int | None = None,
    settings: Sequence[str] | None = None,
    check_memory: bool = True,
    **given: Any,
) -> dict[str, Any]:
    """The arguments of ``api.run`` from the options of ``diffnas run``, except where it writes and who listens."""
    components, options = o.split_components(given)
    searching, evaluating = o.by_phase(o.pairs(settings))
    return {
        "data": data,
        "components": components,
        "search_settings": {**searching, **o.given(epochs=options.pop("epochs", None))},
        "evaluate_settings": {**evaluating, **o.given(epochs=evaluate_epochs)},
        "check_memory": check_memory,
        **options,
    }


@generated.takes(
    *generated.fields(Source),
    *generated.fields(Wanted),
    *generated.fields(SearchSettings),
    *generated.roles(),
    *generated.fields(Machine),
)
def search(
    data: o.DataArgument = None,
    method: o.MethodName = None,
    space: o.SpaceName = None,
    recipe: o.RecipeName = None,
    settings: o.Set = None,
    out: o.Out = None,
    resume: o.Resume = None,
    dry_run: o.DryRun = False,
    check_memory: o.CheckMemory = True,
    log: o.Log = None,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
    **given: Any,
) -> None:
    """Search cells for DATA (digits by default), at the sizes of the papers."""
    from diffnas import api

    components, options = o.split_components(given)
    names = {"method": method, "space": space, "components": components, "recipe": recipe}
    choices = {**names, **o.settings_of(SearchSettings, settings), **options}
    if dry_run and resume is not None:
        raise ValueError("--dry-run tells the cost of a new search; leave --resume out.")
    with Display(Console(stderr=True), quiet=quiet) as display:
        if dry_run:
            show.cost(Console(), api.cost(data, listener=display, **choices), as_json=as_json)
            return
        folder = resume or out or o.new_folder(data or "digits", method or "sparse", options.get("seed", 0))
        found = api.search(
            data,
            out=folder,
            resume=_resuming(resume, out),
            listener=o.heard(display, log, folder),
            check_memory=check_memory,
            **choices,
        )
    assert found.folder is not None
    if api.first():
        _finish(found, None, api.draw_into(found.folder, found.genotype), as_json=as_json, quiet=quiet)


@generated.takes(
    *generated.fields(Source, but=("train",)),
    *generated.fields(Wanted, only=("target", "runtime")),
    *generated.fields(EvaluateSettings),
    *generated.fields(Machine),
)
def evaluate(
    what: Annotated[
        str | None,
        typer.Argument(metavar="WHAT", help="A run folder, a genotype's file or text, a network by name, or random."),
    ] = None,
    data: o.DataArgument = None,
    recipe: o.RecipeName = None,
    settings: o.Set = None,
    out: o.EvaluationOut = None,
    resume: o.Resume = None,
    log: o.Log = None,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
    **given: Any,
) -> None:
    """Train the network of some cells from scratch, and test it. A run folder needs no DATA."""
    from diffnas import api

    resuming, options = _resuming(resume, out), o.given(**given)
    if out is None and resume is None and api.run_folder(what) is None:
        name = what if what and what.isidentifier() else "evaluation"
        out = o.new_folder(data or "", name, options.get("seed", 0))
    with Display(Console(stderr=True), quiet=quiet) as display:
        result = api.evaluate(
            what,
            data,
            recipe=recipe,
            out=api.evaluation_folder(resume) if resume else out,
            resume=resuming,
            listener=o.heard(display, log, resume or out or Path(what or ".")),
            **{**o.settings_of(EvaluateSettings, settings), **options},
        )
    if api.first():
        _finish(None, result, (), as_json=as_json, quiet=quiet)


def _resuming(resume: Path | None, out: Path | None) -> bool:
    if resume is not None and out is not None:
        raise ValueError(f"--resume {resume} goes on in its own folder; leave --out out.")
    return resume is not None


def _finish(
    found: SearchResult | None,
    result: EvaluateResult | None,
    drawings: tuple[Path, ...],
    report: Path | None = None,
    verdict: Verdict | None = None,
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    """Print the results: as JSON, in one line, or as a summary. Exits with ``MISSED`` if a target was missed.

    Of several processes, only the first one calls this.
    """
    numbers: dict[str, Any] = {}
    files: list[tuple[str, str]] = []
    if found is not None:
        assert found.folder is not None
        numbers |= {"folder": str(found.folder), "search": show.search_numbers(found)}
        genotype = RunFolder(found.folder).genotype_file
        files += [("genotype", str(genotype)), *(("drawing", str(path)) for path in drawings)]
    if result is not None:
        assert result.folder is not None
        from diffnas.api import evaluation_folder

        numbers.setdefault("folder", str(result.folder))
        numbers["evaluation"] = show.evaluation_numbers(result, RunFolder.open(result.folder).record)
        place = result.folder if found is None else evaluation_folder(Path(numbers["folder"]))
        files.append(("network", str(place / WEIGHTS)))
    if verdict is not None:
        numbers["verdict"] = verdict.as_record()
    if report is not None:
        files.append(("report", str(report)))
    numbers["files"] = [path for _, path in files]
    if as_json:
        print(json.dumps(numbers))
    elif quiet:
        print(show.one_line(numbers))
    else:
        show.summary(Console(), found, numbers, files, verdict)
    if found is not None and found.landing is not None and not found.landing.met:
        said = Console(stderr=True)
        said.print(str(found.landing), style="yellow", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(MISSED)
