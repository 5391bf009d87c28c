"""Options that are made from declarations elsewhere: the fields of records, and the roles of a method."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import typer

from diffnas.cli.options import OUTPUT, SWEEP, place
from diffnas.engine.settings import ALPHA, DATA, MACHINE, SEQUENCES, SIZES, WEIGHTS
from diffnas.roles import ROLES
from diffnas.values import Heading, Help, choices, helps, kinds, plain

F = TypeVar("F", bound=Callable[..., Any])

_PARTS = Heading("Components, in place of the method's own")
# The order in which help shows the headings. Options without a heading come first.
_HEADINGS = (None, SWEEP, *(each.text for each in (DATA, SIZES, WEIGHTS, SEQUENCES, ALPHA, _PARTS, MACHINE)), OUTPUT)

# The options that --help shows.
_COMMON = {"data_dir", "download", "epochs", "batch", "channels", "depth", "seed", "backend", "device"}
_COMMON |= {"weighting", "level", "pruning", "target"}
_ALIASES = {"depth": ("cells",)}

# Flags that neither a recipe nor a run folder holds.
_NEVER_NOTED = {"download"}


def fields(record: type, *, only: Collection[str] = (), but: Collection[str] = ()) -> Iterator[inspect.Parameter]:
    """Options for the fields of a record: for those in ``only``, else for all except those in ``but``."""
    for name, told in helps(record).items():
        if name not in but and (not only or name in only):
            yield _option(name, kinds(record)[name], told)


def roles() -> Iterator[inspect.Parameter]:
    """The options that replace components of the method."""
    for name, text in ROLES.items():
        yield _option(name, str, Help(text=text, heading=_PARTS))


def takes(*options: inspect.Parameter) -> Callable[[F], F]:
    """A decorator that adds options to a command of ``**given``. --help shows the common ones, --help-all shows all."""

    def told(command: F) -> F:
        signature = inspect.signature(command, eval_str=True)
        own = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
        listed = sorted([*options, *own, _HELP_ALL], key=lambda each: _HEADINGS.index(_heading(each)))
        command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in listed]
        )
        return command

    return told


def _option(name: str, kind: Any, told: Help) -> inspect.Parameter:
    """An option of the command line, whose value is None if it is not given."""
    read = plain(kind)
    words = [f"--{each.replace('_', '-')}" for each in (name, *_ALIASES.get(name, ()))]
    # A recipe or the run that is resumed may have turned the flag on, so it can also be turned off.
    if read is bool and name not in _NEVER_NOTED:
        words = [f"{words[0]}/--no-{words[0].removeprefix('--')}"]
    info = typer.Option(
        *words,
        help=told.line,
        rich_help_panel=told.heading.text,
        hidden=name not in _COMMON,
        parser=place if read is Path else None,
        metavar="PATH" if read is Path else "|".join(choices(kind)) or None,
    )
    annotation = Annotated[read | None, info]  # type: ignore[valid-type]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _heading(parameter: inspect.Parameter) -> str | None:
    info = next((each for each in get_args(parameter.annotation) if isinstance(each, typer.models.ParameterInfo)), None)
    return info.rich_help_panel if info is not None else None


def _show_all(context: typer.Context, wanted: bool) -> None:
    """Print the help with all options, also those that are usually hidden."""
    if not wanted:
        return
    for parameter in context.command.params:
        parameter.hidden = False  # type: ignore[attr-defined]
    print(context.get_help())
    raise typer.Exit


_HELP_ALL = inspect.Parameter(
    "help_all",
    inspect.Parameter.KEYWORD_ONLY,
    default=False,
    annotation=Annotated[
        bool, typer.Option("--help-all", is_eager=True, callback=_show_all, help="Show all options and exit.")
    ],
)
