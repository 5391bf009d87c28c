"""The commands. Whatever needs torch is imported inside them, so that ``--help`` is there at once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from diffnas import __version__
from diffnas.cli import options as o
from diffnas.cli import show
from diffnas.cli.compare import compare
from diffnas.cli.export import export
from diffnas.cli.lookup import lookup as lookup_command
from diffnas.cli.methods import methods as methods_command
from diffnas.cli.progress import Display
from diffnas.cli.reporting import report as report_command
from diffnas.cli.reporting import watch as watch_command
from diffnas.names import showable
from diffnas.run_files import GENOTYPE, WEIGHTS

if TYPE_CHECKING:
    from diffnas.engine.evaluate import EvaluateResult
    from diffnas.engine.search import SearchResult

app = typer.Typer(
    name="diffnas",
    help="Differentiable neural architecture search. [bold]diffnas run[/] is the whole job, in two minutes.",
    rich_markup_mode="rich",
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def begin(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    """Say what there is when nothing is asked for."""
    if version:
        print(__version__)
        raise typer.Exit()
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
def run(
    data: o.DataArgument = None,
    method: o.MethodName = None,
    space: o.SpaceName = None,
    recipe: o.RecipeName = None,
    epochs: o.Epochs = None,
    evaluate_epochs: Annotated[int | None, typer.Option(help="The same, in the evaluation.")] = None,
    settings: o.PhaseSet = None,
    data_dir: o.DataDir = None,
    download: o.Download = False,
    size: o.Size = None,
    train: o.Train = None,
    seed: o.Seed = None,
    out: o.Out = None,
    resume: o.Resume = None,
    device: o.Device = None,
    precision: o.Precision = None,
    threads: o.Threads = None,
    check_memory: o.CheckMemory = True,
    log: o.Log = None,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Search, evaluate, draw and report: the whole job. With no DATA: the embedded digits."""
    from diffnas import api

    searching, evaluating = o.apart(o.pairs(settings))
    folder = resume or out or o.new_folder(data or "digits", method or "sparse", seed or 0)
    with Display(_stderr(), quiet=quiet) as display:
        result = api.run(
            data,
            recipe=recipe,
            out=folder,
            resume=_resuming(resume, out),
            seed=seed,
            search_settings={**searching, **o.given(epochs=epochs)},
            evaluate_settings={**evaluating, **o.given(epochs=evaluate_epochs)},
            listener=o.heard(display, log, folder),
            **o.given(
                method=method,
                space=space,
                size=size,
                train=train,
                data_dir=data_dir,
                device=device,
                precision=precision,
                threads=threads,
            ),
            download=download,
            check_memory=check_memory,
        )
    _finish(result.search, result.evaluation, result.drawings, report=result.report, as_json=as_json, quiet=quiet)


@app.command()
def search(
    data: o.DataArgument = None,
    method: o.MethodName = None,
    space: o.SpaceName = None,
    recipe: o.RecipeName = None,
    epochs: o.Epochs = None,
    batch: o.Batch = None,
    lr: o.Rate = None,
    alpha_lr: o.AlphaRate = None,
    alpha_init: o.AlphaInit = None,
    alpha_warmup: o.AlphaWarmup = None,
    prune_warmup: o.PruneWarmup = None,
    channels: o.Channels = None,
    depth: o.Depth = None,
    backend: o.Backend = None,
    recompute: o.Recompute = None,
    settings: o.Set = None,
    weighting: o.Weighting = None,
    level: o.Level = None,
    update: o.Update = None,
    regularizers: o.Regularizers = None,
    edges: o.Edges = None,
    supernet: o.SupernetChanges = None,
    pruning: o.Pruning = None,
    stopping: o.Stopping = None,
    stages: o.Stages = None,
    pick: o.Pick = None,
    family: o.Family = None,
    discretize: o.Discretize = None,
    data_dir: o.DataDir = None,
    download: o.Download = False,
    size: o.Size = None,
    train: o.Train = None,
    seed: o.Seed = None,
    out: o.Out = None,
    resume: o.Resume = None,
    device: o.Device = None,
    precision: o.Precision = None,
    threads: o.Threads = None,
    dry_run: o.DryRun = False,
    check_memory: o.CheckMemory = True,
    log: o.Log = None,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Search the cells that suit DATA (digits by default), at the sizes of the papers unless told otherwise."""
    from diffnas import api

    components = o.given(
        weighting=weighting,
        level=level,
        update=update,
        regularizers=regularizers,
        edges=edges,
        supernet=supernet,
        pruning=pruning,
        stopping=stopping,
        stages=stages,
        pick=pick,
        family=family,
        discretize=discretize,
    )
    sizes = o.given(
        epochs=epochs,
        batch=batch,
        lr=lr,
        alpha_lr=alpha_lr,
        alpha_init=alpha_init,
        alpha_warmup=alpha_warmup,
        prune_warmup=prune_warmup,
        channels=channels,
        depth=depth,
        backend=backend,
        recompute=recompute,
        seed=seed,
    )
    choices: dict[str, Any] = {
        "method": method,
        "space": space,
        "components": components or None,
        "recipe": recipe,
        "data_dir": data_dir,
        "download": download,
        "size": size,
        "train": train,
        "device": device,
        "precision": precision,
        "threads": threads,
        **o.pairs(settings),
        **sizes,
    }
    if dry_run:
        if resume is not None:
            raise ValueError("--dry-run tells the cost of a new search; leave --resume out.")
        with Display(_stderr(), quiet=quiet) as display:
            show.cost(_stdout(), api.cost(data, listener=display, **choices), as_json=as_json)
        return
    folder = resume or out or o.new_folder(data or "digits", method or "sparse", seed or 0)
    with Display(_stderr(), quiet=quiet) as display:
        found = api.search(
            data,
            out=folder,
            resume=_resuming(resume, out),
            listener=o.heard(display, log, folder),
            check_memory=check_memory,
            **choices,
        )
    assert found.folder is not None
    _finish(found, None, api.draw_into(found.folder, found.genotype), as_json=as_json, quiet=quiet)


@app.command()
def evaluate(
    what: Annotated[
        str | None, typer.Argument(metavar="WHAT", help="A run folder, a genotype's file or text, or a published cell.")
    ] = None,
    data: o.DataArgument = None,
    recipe: o.RecipeName = None,
    epochs: o.Epochs = None,
    batch: o.Batch = None,
    lr: o.Rate = None,
    channels: o.Channels = None,
    depth: o.Depth = None,
    recompute: o.Recompute = None,
    settings: o.Set = None,
    data_dir: o.DataDir = None,
    download: o.Download = False,
    size: o.Size = None,
    seed: o.Seed = None,
    out: o.EvaluationOut = None,
    resume: o.Resume = None,
    device: o.Device = None,
    precision: o.Precision = None,
    threads: o.Threads = None,
    log: o.Log = None,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Train a cell's network from scratch and test it. DATA may be left out for a run folder."""
    from diffnas import api

    resuming = _resuming(resume, out)
    if out is None and resume is None and api.run_folder(what) is None:
        out = o.new_folder(data or "", what if what and what.isidentifier() else "evaluation", seed or 0)
    sizes = o.given(epochs=epochs, batch=batch, lr=lr, channels=channels, depth=depth, recompute=recompute, seed=seed)
    with Display(_stderr(), quiet=quiet) as display:
        result = api.evaluate(
            what,
            data,
            recipe=recipe,
            out=api.evaluation_folder(resume) if resume else out,
            resume=resuming,
            data_dir=data_dir,
            download=download,
            size=size,
            device=device,
            precision=precision,
            threads=threads,
            listener=o.heard(display, log, resume or out or Path(what or ".")),
            **{**o.pairs(settings), **sizes},
        )
    _finish(None, result, (), as_json=as_json, quiet=quiet)


@app.command()
def draw(
    genotype: Annotated[str, typer.Argument(help="A file, a run folder, a text, or a published cell's name.")],
    out: Annotated[
        list[Path] | None,
        typer.Option(help="FILE.svg, .png or .pdf; may be repeated. Default: .svg and .png, in the run folder if any."),
    ] = None,
    title: Annotated[str | None, typer.Option(help="A line above the cells.")] = None,
) -> None:
    """Draw the cells of a genotype."""
    from diffnas.genotype import PUBLISHED, read
    from diffnas.report.draw import draw as paint

    cells = read(genotype)
    # A run's drawing belongs to the run, and a published cell's is called like the cell.
    beside = Path(genotype) / "cell" if Path(genotype).is_dir() else Path(genotype if genotype in PUBLISHED else "cell")
    for path in out or [beside.with_name(f"{beside.name}{ending}") for ending in (".svg", ".png")]:
        for written in paint(cells, path, title=title):
            print(showable(str(written)))


@app.command()
def predict(
    trained: Annotated[
        str, typer.Argument(metavar="RUN", help="A run folder with an evaluation, the evaluation, or hub:OWNER/NAME.")
    ],
    pictures: Annotated[list[Path], typer.Argument(metavar="PICTURE...", help="Files or folders of pictures.")],
    top: Annotated[int, typer.Option(help="How many classes to name.")] = 1,
    as_json: o.Json = False,
) -> None:
    """Name what is in pictures, each with its probability."""
    from diffnas.api import load, predict_files

    failed = False
    named: list[dict[str, Any]] = []
    for path, guesses in predict_files(load(trained), pictures, top):
        if isinstance(guesses, str):
            failed = True
            told = f"error: {showable(str(path))}: {showable(guesses)}"
            _stderr().print(told, highlight=False, markup=False, soft_wrap=True)
            continue
        named.append({"picture": str(path), "classes": [{"name": n, "probability": p} for n, p in guesses]})
        if not as_json:
            print(f"{showable(str(path))}: " + ", ".join(f"{name} {probability:.1%}" for name, probability in guesses))
    if as_json:
        print(json.dumps({"predictions": named}))
    if failed:
        raise typer.Exit(2)


app.command()(compare)
app.command()(export)
app.command("lookup")(lookup_command)
app.command("report")(report_command)
app.command("watch")(watch_command)


app.command("methods")(methods_command)


@app.command()
def spaces(name: Annotated[str | None, typer.Argument(help="Show one, whole.")] = None) -> None:
    """List the search spaces, or what one offers."""
    from diffnas.lookup import lookup
    from diffnas.space import SPACES

    if name is None:
        show.listing(_stdout(), [(each, show.space_line(space)) for each, space in SPACES.items()])
        return
    show.lines(_stdout(), show.space_rows(lookup("space", name, SPACES)))


@app.command()
def recipes(name: Annotated[str | None, typer.Argument(help="Show one, whole.")] = None) -> None:
    """List the recipes, or the settings of one."""
    from diffnas.lookup import lookup
    from diffnas.recipes import RECIPES

    if name is None:
        show.listing(_stdout(), [(each, recipe.about) for each, recipe in RECIPES.items()])
        return
    recipe = lookup("recipe", name, RECIPES)
    show.lines(
        _stdout(),
        [
            ("about", recipe.about),
            ("space", recipe.space),
            ("search", _settings(recipe.search)),
            ("evaluate", _settings(recipe.evaluate)),
            ("pictures", "all" if recipe.train is None else f"at most {recipe.train:,} in the search"),
        ],
    )


@app.command("data")
def data_sources() -> None:
    """List what DATA may be."""
    from diffnas.sources import DESCRIPTIONS

    show.listing(_stdout(), list(DESCRIPTIONS.items()))


def _settings(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in settings.items()) or "those of the method or the paper"


def _stdout() -> Console:
    return Console()


def _stderr() -> Console:
    return Console(stderr=True)


def _resuming(resume: Path | None, out: Path | None) -> bool:
    if resume is not None and out is not None:
        raise ValueError(f"--resume {resume} goes on in its own folder; leave --out out.")
    return resume is not None


def _finish(
    found: SearchResult | None,
    result: EvaluateResult | None,
    drawings: tuple[Path, ...],
    *,
    report: Path | None = None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Print what came out: as JSON, in one line, or as a summary."""
    numbers: dict[str, Any] = {}
    files: list[tuple[str, str]] = []
    if found is not None:
        assert found.folder is not None
        numbers |= {"folder": str(found.folder), "search": show.search_numbers(found)}
        files += [("genotype", str(found.folder / GENOTYPE)), *(("drawing", str(path)) for path in drawings)]
    if result is not None:
        assert result.folder is not None
        from diffnas.engine.run import RunFolder

        numbers.setdefault("folder", str(result.folder))
        numbers["evaluation"] = show.evaluation_numbers(result, RunFolder.open(result.folder).record)
        files.append(("network", str(result.folder / WEIGHTS)))
    if report is not None:
        files.append(("report", str(report)))
    numbers["files"] = [path for _, path in files]
    if as_json:
        print(json.dumps(numbers))
    elif quiet:
        print(show.one_line(numbers))
    else:
        show.summary(_stdout(), found, numbers, files)
