"""The commands. They import all that needs torch inside their functions, so that ``--help`` prints at once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from diffnas.cli import options as o
from diffnas.cli import show
from diffnas.cli.compare import compare
from diffnas.cli.export import export
from diffnas.cli.latency import latency
from diffnas.cli.lookup import lookup as lookup_command
from diffnas.cli.methods import methods as methods_command
from diffnas.cli.phases import evaluate, run, search
from diffnas.cli.reporting import report as report_command
from diffnas.cli.reporting import watch as watch_command
from diffnas.cli.sweep import sweep
from diffnas.cli.vote import vote
from diffnas.names import showable, showable_text
from diffnas.version import VERSION

if TYPE_CHECKING:
    from diffnas.nets.trained import Trained

app = typer.Typer(
    name="diffnas",
    help="Differentiable neural architecture search. [bold]diffnas run[/] does the whole job, in two minutes.",
    rich_markup_mode="rich",
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def begin(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    """Print the version, or the help if no command is given."""
    if version:
        print(VERSION)
        raise typer.Exit()
    if context.invoked_subcommand is None:
        print(context.get_help())


app.command()(run)
app.command()(search)
app.command()(evaluate)
app.command()(sweep)


@app.command()
def draw(
    genotype: Annotated[str, typer.Argument(help="A file, a run folder, a text, or a published cell's name.")],
    out: Annotated[
        list[Path] | None,
        typer.Option(help="FILE.svg, .png or .pdf; may be repeated. Default: .svg and .png, in the run folder if any."),
    ] = None,
    title: Annotated[str | None, typer.Option(help="Text above the cells.")] = None,
) -> None:
    """Draw the cells of a genotype."""
    from diffnas.genotype import PUBLISHED, read
    from diffnas.report.draw import draw as paint

    cells = read(genotype)
    # The drawing of a run goes into its folder. The drawing of a published cell is named after the cell.
    beside = Path(genotype) / "cell" if Path(genotype).is_dir() else Path(genotype if genotype in PUBLISHED else "cell")
    for path in out or [beside.with_name(f"{beside.name}{ending}") for ending in (".svg", ".png")]:
        for written in paint(cells, path, title=title):
            print(showable(str(written)))


@app.command()
def predict(
    trained: Annotated[
        str, typer.Argument(metavar="RUN", help="A run folder with an evaluation, the evaluation, or hub:OWNER/NAME.")
    ],
    pictures: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FILE...", help="Files or folders of pictures; CSV files for a network of sequences."),
    ] = None,
    top: Annotated[int, typer.Option(help="How many classes to name.")] = 1,
    prompt: Annotated[str | None, typer.Option(help="For a network of a text: how the text begins.")] = None,
    length: Annotated[int, typer.Option(help="How many tokens follow the prompt.")] = 400,
    temperature: Annotated[float, typer.Option(help="Below 1, likelier tokens are drawn more often.")] = 0.8,
    seed: Annotated[int, typer.Option(help="What decides the drawn tokens.")] = 0,
    as_json: o.Json = False,
) -> None:
    """Name the class of each picture, with its probability; or continue a text."""
    from diffnas.api import load, predict_files, predict_sequences

    network = load(trained)
    if network.kind == "text" or prompt is not None:
        _continue(network, prompt, pictures, as_json=as_json, length=length, temperature=temperature, seed=seed)
        return
    if not pictures:
        raise ValueError("name what to judge: diffnas predict RUN FILE..., such as a picture or a folder of pictures.")
    if network.kind == "forecast":
        _forecast(network, pictures, as_json=as_json)
        return
    predict_each = predict_sequences if network.kind == "labelled" else predict_files
    if _named(predict_each(network, pictures, top), as_json=as_json):
        raise typer.Exit(2)


def _named(found: Iterable[tuple[Path, Any]], *, as_json: bool) -> bool:
    """Whether some files could not be read, after the classes of each file were printed."""
    failed = False
    named: list[dict[str, Any]] = []
    for path, guesses in found:
        if isinstance(guesses, str):
            failed = True
            told = f"error: {showable(str(path))}: {showable(guesses)}"
            Console(stderr=True).print(told, highlight=False, markup=False, soft_wrap=True)
            continue
        named.append({"picture": str(path), "classes": [{"name": n, "probability": p} for n, p in guesses]})
        if not as_json:
            print(f"{showable(str(path))}: " + ", ".join(f"{name} {probability:.1%}" for name, probability in guesses))
    if as_json:
        print(json.dumps({"predictions": named}))
    return failed


def _continue(network: Trained, prompt: str | None, files: list[Path] | None, *, as_json: bool, **how: Any) -> None:
    """Print how a text goes on after a prompt."""
    from diffnas.api import continue_text

    if files:
        raise ValueError("a network of a text takes a prompt and no files: diffnas predict RUN --prompt TEXT.")
    found = continue_text(network, prompt or "", **how)
    print(json.dumps({"prompt": prompt or "", "text": found}) if as_json else showable_text((prompt or "") + found))


def _forecast(network: Trained, files: list[Path], *, as_json: bool) -> None:
    """Print the row that follows each table."""
    from diffnas.api import judge_table

    rows = {str(path): dict(zip(network.classes, judge_table(network, path), strict=True)) for path in files}
    if as_json:
        print(json.dumps({"predictions": [{"file": path, "next": row} for path, row in rows.items()]}))
        return
    for path, row in rows.items():
        print(f"{showable(path)}: " + ", ".join(f"{name} {value:.6g}" for name, value in row.items()))


app.command()(compare)
app.command()(vote)
app.command()(export)
app.command()(latency)
app.command("lookup")(lookup_command)
app.command("report")(report_command)
app.command("watch")(watch_command)


app.command("methods")(methods_command)


@app.command()
def spaces(name: Annotated[str | None, typer.Argument(help="Show all of one space.")] = None) -> None:
    """List the search spaces, or show what one of them offers."""
    from diffnas.lookup import lookup
    from diffnas.space import SPACES

    if name is None:
        show.listing(Console(), [(each, show.space_line(space)) for each, space in SPACES.items()])
        return
    show.lines(Console(), show.space_rows(lookup("space", name, SPACES)))


@app.command()
def recipes(name: Annotated[str | None, typer.Argument(help="Show all of one recipe.")] = None) -> None:
    """List the recipes, or show the settings of one of them."""
    from diffnas.lookup import lookup
    from diffnas.recipes import RECIPES

    if name is None:
        show.listing(Console(), [(each, recipe.about) for each, recipe in RECIPES.items()])
        return
    recipe = lookup("recipe", name, RECIPES)
    show.lines(
        Console(),
        [
            ("about", recipe.about),
            ("space", recipe.space if recipe.aimed is None else f"{recipe.space}; with a target {recipe.aimed}"),
            ("search", _settings(recipe.search)),
            ("evaluate", _settings(recipe.evaluate)),
            ("pictures", "all" if recipe.train is None else f"at most {recipe.train:,} in the search"),
        ],
    )


@app.command("data")
def data_sources() -> None:
    """List what DATA may be."""
    from diffnas.sources import DESCRIPTIONS

    show.listing(Console(), list(DESCRIPTIONS.items()))


def _settings(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in settings.items()) or "those of the method or the paper"
