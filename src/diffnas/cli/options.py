"""The options that several commands share, and the reader of ``KEY=VALUE``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diffnas.engine.settings import SIZES, Training, check_names
from diffnas.roles import ROLES

if TYPE_CHECKING:
    from diffnas.engine.listen import Listener

OUTPUT = "Output"
SWEEP = "The sweep"


def place(text: str) -> Path:
    """The file or folder that an option names. An empty text is refused, because it would mean the working folder."""
    if not text.strip():
        raise typer.BadParameter("it is empty; name a file or folder, or leave the option out.")
    return Path(text)


_said = partial(typer.Option, rich_help_panel=OUTPUT)
_path = partial(_said, parser=place, metavar="PATH")

# What a command does.
DataArgument = Annotated[
    str | None, typer.Argument(metavar="DATA", help="digits, cifar10, hub:NAME, a folder; see: diffnas data.")
]
MethodName = Annotated[str | None, typer.Option("--method", help="See: diffnas methods. Default: sparse.")]
SpaceName = Annotated[str | None, typer.Option("--space", help="See: diffnas spaces. Default: the recipe's.")]
RecipeName = Annotated[str | None, typer.Option("--recipe", help="Settings by name; see: diffnas recipes.")]
EvaluateEpochs = Annotated[int | None, typer.Option(help="Epochs of the evaluation.", rich_help_panel=SIZES.text)]
Runtime = Annotated[str | None, typer.Option(help="The runtime that measures: onnxruntime or torch.")]
Against = Annotated[str | None, typer.Option(help="Contenders of equal cost, trained as well: random:3,DARTS_V2,...")]
Repeats = Annotated[int | None, typer.Option(help="How often each network of a contest is trained.", hidden=True)]
_settings = partial(typer.Option, "--set")
Set = Annotated[list[str] | None, _settings(metavar="KEY=VALUE", help="Any setting by name; may be repeated.")]
PhaseSet = Annotated[
    list[str] | None, _settings(metavar="PHASE.KEY=VALUE", help="Such as search.batch=32; may be repeated.")
]

# What a run writes and prints.
Out = Annotated[Path | None, _path(help="The run folder. Default: runs/DATA-METHOD-seedN.")]
EvaluationOut = Annotated[Path | None, _path(help="The folder for the network. Default: RUN/evaluation.")]
Resume = Annotated[
    Path | None, _said(parser=place, metavar="RUN", help="Go on with this run; no option need be repeated.")
]
CheckMemory = Annotated[bool, _said(help="Refuse a search that needs more memory than is free.", hidden=True)]
Log = Annotated[
    str | None, _said(metavar="WHERE", help="tensorboard: a log in the run folder, next to its trace.", hidden=True)
]
DryRun = Annotated[bool, _said("--dry-run", help="Tell what the search will cost, and stop.")]
Json = Annotated[bool, _said("--json", help="Only a JSON object on the standard output.")]
Quiet = Annotated[bool, _said("--quiet", help="No progress; one line at the end.")]


def given(**options: Any) -> dict[str, Any]:
    """The options that were given, which are those that are not None."""
    return {name: value for name, value in options.items() if value is not None}


def settings_of(kind: type[Training], texts: Sequence[str] | None) -> dict[str, Any]:
    """The settings of ``kind`` that ``--set`` gives; a ValueError for a name that is not such a setting."""
    found = pairs(texts)
    check_names(kind, found)
    return found


def pairs(texts: Sequence[str] | None) -> dict[str, Any]:
    """Settings from ``KEY=VALUE`` texts. ``none`` becomes None; other values stay text.

    >>> pairs(["clip=0", "alpha-lr=none"])
    {'clip': '0', 'alpha_lr': None}
    """
    read: dict[str, Any] = {}
    for text in texts or ():
        key, equals, value = text.partition("=")
        if not equals or not key.strip() or not value.strip():
            raise ValueError(f"--set {text!r} cannot be read; write KEY=VALUE, such as --set clip=1.")
        read[key.strip().replace("-", "_")] = None if value.strip().lower() == "none" else value.strip()
    return read


def by_phase(settings: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings of the search and of the evaluation, from the names ``search.KEY`` and ``evaluate.KEY``.

    >>> by_phase({"search.epochs": "3", "evaluate.epochs": "5"})
    ({'epochs': '3'}, {'epochs': '5'})
    """
    phases: dict[str, dict[str, Any]] = {"search": {}, "evaluate": {}}
    for name, value in settings.items():
        phase, dot, key = name.partition(".")
        if not dot or phase not in phases:
            raise ValueError(f"--set {name}=... needs its phase: --set search.{name}=... or --set evaluate.{name}=...")
        phases[phase][key] = value
    return phases["search"], phases["evaluate"]


def split_components(options: Mapping[str, Any]) -> tuple[dict[str, str] | None, dict[str, Any]]:
    """The components that were given (None if there are none), and all other options that were given.

    >>> split_components({"weighting": "entmax:2", "level": None, "epochs": 3, "lr": None})
    ({'weighting': 'entmax:2'}, {'epochs': 3})
    """
    components = given(**{name: text for name, text in options.items() if name in ROLES})
    return components or None, given(**{name: value for name, value in options.items() if name not in ROLES})


def heard(listener: Listener, log: str | None, folder: Path) -> Listener:
    """A listener that passes all to ``listener``, and to a log in the run's folder if one is wanted."""
    if log is None:
        return listener
    from diffnas.engine.tensorboard import TensorBoard
    from diffnas.lookup import lookup

    return lookup("log", log, {"tensorboard": TensorBoard})(folder / "tensorboard", listener)


def new_folder(data: str, method: str, seed: int, place: Path = Path("runs")) -> Path:
    """The path of a new folder in ``place``, named after the run's data, method and seed."""
    words = [re.sub(r"[^\w.-]+", "-", word).strip("-.") for word in (Path(data).name or data, method)]
    return unused(place / "-".join([*filter(None, words), f"seed{seed}"]))


def unused(path: Path) -> Path:
    """The path, with a number if there is something already."""
    count, free = 1, path
    while free.exists():
        count += 1
        free = path.with_name(f"{path.name}-{count}")
    return free
