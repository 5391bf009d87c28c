"""The command ``diffnas sweep``: every cell of a grid is a run."""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer
from rich.console import Console

from diffnas.cli import generated, phases
from diffnas.cli import options as o
from diffnas.cli.compare import show_grids
from diffnas.cli.progress import Display
from diffnas.cli.sweep_board import Board, show_runs
from diffnas.cli.vote import numbers_of, show_vote
from diffnas.values import plain

if TYPE_CHECKING:
    from diffnas.sweeps.planning import Cell
    from diffnas.sweeps.sweep import SweepResult

FAILED = 1
"""The exit code of a sweep in which a run failed. The others are kept."""

_NOT_SWEPT = ("out", "resume", "log", "as_json", "quiet", "help_all")
_PLURALS = {"method": "methods", "seed": "seeds", "space": "spaces"}

# Options of which one value can have commas. Several values are given by repeating the option.
_WITH_COMMAS = ("against", "data_dir", "regularizers", "stopping", "supernet", "target", "targets")

_said = partial(typer.Option, rich_help_panel=o.SWEEP)
_path = partial(_said, parser=o.place)


def _swept() -> Iterator[inspect.Parameter]:
    """The options of ``diffnas run``. Each takes a list, except flags."""
    for name, parameter in inspect.signature(phases.run).parameters.items():
        kind, info = get_args(parameter.annotation)[:2]
        if name in _NOT_SWEPT or isinstance(info, typer.models.ArgumentInfo):
            continue
        if plain(kind) is bool:
            yield parameter.replace(annotation=Annotated[bool | None, info], default=None)
        else:
            many = info if name == "settings" else _many(name, info)
            yield parameter.replace(annotation=Annotated[list[str] | None, many], default=None)


def _many(name: str, info: typer.models.OptionInfo) -> typer.models.OptionInfo:
    """The option, so that it takes a list."""
    many = copy.copy(info)
    # In an Annotated type, typer takes the first name of an option for its default.
    first = (info.default,) if isinstance(info.default, str) else ()
    words = (*first, *(info.param_decls or ())) or (f"--{name.replace('_', '-')}",)
    many.default, many.param_decls = ..., (f"--{_PLURALS[name]}", *words) if name in _PLURALS else words
    many.parser, many.metavar = None, "VALUE" if name in _WITH_COMMAS else "VALUE,..."
    return many


@generated.takes(*_swept())
def sweep(
    context: typer.Context,
    data: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="DATA|FILE.toml", help="As for diffnas run, or several; or a file of the options below."
        ),
    ] = None,
    out: Annotated[Path | None, _path(metavar="PATH", help="Its folder. Default: runs/sweep.")] = None,
    resume: Annotated[Path | None, _path(metavar="SWEEP", help="Go on with this sweep, failed runs included.")] = None,
    only: Annotated[str | None, _said(metavar="RUN", help="Do one run here, by its name or number from 0.")] = None,
    plan: Annotated[bool, _said("--plan", help="Check the grid, write the folder, and begin no run.")] = False,
    vote: Annotated[bool, _said("--vote", help="Read a cell off the mean of all seeds of a method.")] = False,
    at_once: Annotated[int | None, _said(help="The most runs at once. Default: as many as fit.")] = None,
    retries: Annotated[int | None, _said(help="How often a lost run is tried again. Default: 2.")] = None,
    address: Annotated[str | None, _said(help="A Ray cluster: auto, HOST:PORT, or local to start one.")] = None,
    cpus_per_run: Annotated[float | None, _said(help="CPUs of a run on the cluster.")] = None,
    gpus_per_run: Annotated[float | None, _said(help="GPUs of a run on the cluster, such as 0.5.")] = None,
    copy_to: Annotated[str | None, _said(metavar="URL", help="Copy each run there once it has ended: s3://..")] = None,
    tied: Annotated[bool, _said("--tied", hidden=True, help="End when the standard input ends.")] = False,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
    **given: Any,
) -> None:
    """Do many runs: each method, seed and space, and each value of other options. A,B is a list, 0:5 a range."""
    options = dict(context.params)
    if data and data[0].endswith(".toml"):
        options = _with_file(context, Path(data[0]), data[1:])
    _sweep(context, **{name: value for name, value in options.items() if name != "help_all"})


def _sweep(
    context: typer.Context,
    *,
    data: Sequence[str] | None,
    out: Path | None,
    resume: Path | None,
    only: str | None,
    plan: bool,
    vote: bool,
    tied: bool,
    as_json: bool,
    quiet: bool,
    **given: Any,
) -> None:
    """The command, once the options of a file are known."""
    from diffnas.sweeps import sweep as sweeps

    means, rest = sweeps.Means.taken(o.given(**given))
    axes = _axes(data, rest)
    if resume is not None and (axes or out is not None or vote):
        raise ValueError(
            f"the sweep in {resume} goes on with its own grid, in its own folder; leave other options out."
        )
    folder = resume or out or o.unused(Path("runs/sweep"))
    if resume is None:
        sweeps.plan(_cells(context, axes), folder, means, vote=vote)
    if only is not None:
        _one(folder, only, tied=tied, quiet=quiet)
        return
    if plan:
        count = len(sweeps.states(folder))
        print(f"{count} runs are planned. To do the first one: diffnas sweep --resume {folder} --only 0")
        return
    with Board(Console(stderr=True), quiet=quiet) as board:
        result = sweeps.go_on(folder, means, board.show)
    _finish(result, as_json=as_json, quiet=quiet)
    if result.failed:
        raise typer.Exit(FAILED)


def _one(folder: Path, which: str, *, tied: bool, quiet: bool) -> None:
    """Do one run of a sweep in this process."""
    from diffnas.sweeps import one

    with one.tied() if tied else nullcontext(), Display(Console(stderr=True), quiet=quiet) as display:
        one.run_one(folder, which, display)


def _with_file(context: typer.Context, path: Path, more: Sequence[str]) -> dict[str, Any]:
    """The options in a TOML file, which are read as if they were typed. Those that were typed replace them."""
    from diffnas.cli.sweep_file import read_words

    if more:
        raise ValueError(
            f"{path} has all words of a sweep, so {more[0]!r} beside it is too much. Put it into the file."
        )
    read = context.command.make_context("sweep", read_words(path), parent=context.parent)
    typed = [name for name in read.params if context.get_parameter_source(name).name == "COMMANDLINE"]  # type: ignore[union-attr]
    return {**read.params, **{name: context.params[name] for name in typed if name != "data"}}


def _axes(data: Sequence[str] | None, given: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The axes of the grid: lists of texts or flags, by option. Each setting of ``--set`` is an axis."""
    from diffnas.sweeps.grid import texts

    kinds = {name: get_args(each.annotation)[0] for name, each in inspect.signature(phases.run).parameters.items()}
    axes: dict[str, list[Any]] = {"data": list(data)} if data else {}
    for name, value in given.items():
        if isinstance(value, bool):
            axes[name] = [value]
        elif name != "settings" and value:
            word = name.replace("_", "-")
            read = partial(texts, word, whole_numbers=plain(kinds[name]) is int, commas=name not in _WITH_COMMAS)
            axes[name] = [each for text in value for each in read(text)]
    for key, text in o.pairs(given.get("settings")).items():
        axes[key] = ["none"] if text is None else texts("set", text, whole_numbers=False, commas=True)
    return axes


def _cells(context: typer.Context, axes: Mapping[str, Sequence[Any]]) -> dict[str, Cell]:
    """The cells of the grid, each of which is read as a ``diffnas run`` with these options."""
    from diffnas.sweeps.grid import cells
    from diffnas.sweeps.planning import Cell

    group: Any = context.parent.command if context.parent else None
    run = group.get_command(context, "run")
    found = {}
    for name, cell in cells(axes).items():
        words = [word for each in cell.items() for word in _words(*each)]
        params = run.make_context("sweep", words, parent=context.parent).params
        options = {key: value for key, value in params.items() if key not in _NOT_SWEPT}
        found[name] = Cell(values=cell, options=phases.run_arguments(**options))
    return found


def _words(name: str, value: Any) -> list[str]:
    """The words of ``diffnas run`` for a value of an axis."""
    if name == "data":
        return [value]
    if "." in name:
        return ["--set", f"{name}={value}"]
    word = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{word}" if value else f"--no-{word}"]
    return [f"--{word}", value]


def _finish(result: SweepResult, *, as_json: bool, quiet: bool) -> None:
    """Print what a sweep found: its runs, how the methods compare, and the votes."""
    from diffnas.api.compare import compared
    from diffnas.report.compare import differences_grid, group_grid

    done = [result.folder / run.name for run in result.runs if run.state == "done"]
    groups = compared(done) if done else []
    grids = [group_grid(groups), differences_grid(groups)] if groups else []
    if as_json:
        print(json.dumps(_numbers(result, grids)))
        return
    if quiet:
        print(f"{len(done)} of {len(result.runs)} runs are done, in {result.folder}")
        return
    console = Console()
    show_runs(console, result.runs)
    show_grids(console, grids)
    for vote in result.votes:
        show_vote(console, vote)
    for line in result.unvoted:
        console.print(line, style="yellow", highlight=False, markup=False)
    console.print(f"diffnas compare {result.folder}   shows more", style="dim", highlight=False, markup=False)


def _numbers(result: SweepResult, grids: Sequence[Any]) -> dict[str, Any]:
    """The result of a sweep as plain data."""
    from dataclasses import asdict

    return {
        "folder": str(result.folder),
        "runs": [asdict(run) for run in result.runs],
        "tables": [asdict(grid) for grid in grids],
        "votes": [numbers_of(vote) for vote in result.votes],
        "unvoted": list(result.unvoted),
    }
