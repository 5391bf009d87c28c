"""The options that several commands share, and reading ``KEY=VALUE``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from diffnas.engine.listen import Listener

_COST, _SIZES, _PARTS, _DATA, _PLACE = (
    "Cost of the network",
    "Sizes and schedule",
    "Components, in place of the method's own",
    "Data",
    "Run",
)


def place(text: str) -> Path:
    """A file or folder that an option names; refused if it names none, which would be the working folder."""
    if not text.strip():
        raise typer.BadParameter("it is empty; name a file or folder, or leave the option out.")
    return Path(text)


DataArgument = Annotated[
    str | None,
    typer.Argument(metavar="DATA", help="digits, cifar10, cifar100, hub:NAME or a folder; see: diffnas data."),
]

# Data.
DataDir = Annotated[
    Path | None, typer.Option(parser=place, metavar="PATH", help="Where the files of CIFAR are.", rich_help_panel=_DATA)
]
Download = Annotated[bool, typer.Option("--download", help="Fetch CIFAR if it is not there.", rich_help_panel=_DATA)]
Size = Annotated[
    int | None, typer.Option(help="Height and width to bring pictures to; folders and the hub.", rich_help_panel=_DATA)
]
Train = Annotated[int | None, typer.Option(help="Training pictures that the search sees.", rich_help_panel=_DATA)]

# What to do.
MethodName = Annotated[str | None, typer.Option("--method", help="See: diffnas methods. Default: sparse.")]
SpaceName = Annotated[str | None, typer.Option("--space", help="See: diffnas spaces. Default: the recipe's.")]
RecipeName = Annotated[str | None, typer.Option("--recipe", help="Settings by name; see: diffnas recipes.")]

# What the network shall cost.
Target = Annotated[
    str | None,
    typer.Option(
        help="What the deployed network shall cost: macs=20M, params<=500k, memory=8MiB, latency=5ms; or several.",
        rich_help_panel=_COST,
    ),
]
Targets = Annotated[
    str | None,
    typer.Option(help="A family: 2M,5M,10M (multiply-adds) or params=100k,200k.", rich_help_panel=_COST),
]
Width = Annotated[
    str | None,
    typer.Option(help="fit moves the width after the search to land on the target; fixed.", rich_help_panel=_COST),
]
Runtime = Annotated[
    str | None,
    typer.Option(help="What latencies are measured by: onnxruntime or torch.", rich_help_panel=_COST),
]

# Sizes.
Epochs = Annotated[int | None, typer.Option(help="Passes over the training pictures.", rich_help_panel=_SIZES)]
Batch = Annotated[int | None, typer.Option(help="Pictures a step.", rich_help_panel=_SIZES)]
Rate = Annotated[float | None, typer.Option("--lr", help="Learning rate of the weights.", rich_help_panel=_SIZES)]
Channels = Annotated[int | None, typer.Option(help="Channels of the first cells.", rich_help_panel=_SIZES)]
Depth = Annotated[int | None, typer.Option("--depth", "--cells", help="Number of cells.", rich_help_panel=_SIZES)]
AlphaRate = Annotated[float | None, typer.Option("--alpha-lr", help="Learning rate of alpha.", rich_help_panel=_SIZES)]
AlphaInit = Annotated[float | None, typer.Option(help="Spread of alpha at the start.", rich_help_panel=_SIZES)]
AlphaWarmup = Annotated[
    float | None, typer.Option(help="Epochs in which alpha stands still; below 1, a share.", rich_help_panel=_SIZES)
]
PruneWarmup = Annotated[int | None, typer.Option(help="Epochs in which nothing is removed.", rich_help_panel=_SIZES)]
Backend = Annotated[
    str | None,
    typer.Option(
        help="auto, plain (PyTorch), cpu or gpu (kernels of our own): same result up to rounding.",
        rich_help_panel=_SIZES,
    ),
]
Recompute = Annotated[
    bool | None,
    typer.Option("--recompute", help="Same result, less memory, more time.", rich_help_panel=_SIZES),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any other setting; may be repeated.", rich_help_panel=_SIZES),
]
PhaseSet = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PHASE.KEY=VALUE",
        help="Any setting, such as search.batch=32 or evaluate.channels=16; may be repeated.",
        rich_help_panel=_SIZES,
    ),
]

# Components.
Weighting = Annotated[str | None, typer.Option(help="Such as entmax:2, softmax or gates.", rich_help_panel=_PARTS)]
Level = Annotated[
    str | None, typer.Option(help="single, bilevel, weights-first, unrolled, mixed:0.5, ...", rich_help_panel=_PARTS)
]
Update = Annotated[str | None, typer.Option(help="adam, sgd or exponentiated.", rich_help_panel=_PARTS)]
Regularizers = Annotated[
    str | None, typer.Option(help="none, or several: groups:0.2:0.1,path:0.1", rich_help_panel=_PARTS)
]
Edges = Annotated[
    str | None, typer.Option(help="Strengths of edges: softmax, simplex, ... or none.", rich_help_panel=_PARTS)
]
SupernetChanges = Annotated[
    str | None,
    typer.Option("--supernet", help="none, or several: partial-channels:4,auxiliary-skip,...", rich_help_panel=_PARTS),
]
Pruning = Annotated[str | None, typer.Option(help="exact-zero, threshold:0.4, ... or none.", rich_help_panel=_PARTS)]
Stopping = Annotated[str | None, typer.Option(help="skip-count:2, size:1e6, ... or none.", rich_help_panel=_PARTS)]
Stages = Annotated[str | None, typer.Option(help="one, progressive:5:3 or perturbation:5.", rich_help_panel=_PARTS)]
Pick = Annotated[str | None, typer.Option(help="Whose cells count: last, best-held-out, ...", rich_help_panel=_PARTS)]
Family = Annotated[
    str | None, typer.Option(help="Which cells on the way are kept too: quiet:3 or none.", rich_help_panel=_PARTS)
]
Discretize = Annotated[str | None, typer.Option(help="winners, strongest-pairs, ...", rich_help_panel=_PARTS)]

# The run.
Seed = Annotated[int | None, typer.Option(help="Decides every random number. Default: 0.", rich_help_panel=_PLACE)]
Out = Annotated[
    Path | None,
    typer.Option(
        parser=place,
        metavar="PATH",
        help="The run folder. Default: runs/DATA-METHOD-seedN.",
        rich_help_panel=_PLACE,
    ),
]
EvaluationOut = Annotated[
    Path | None,
    typer.Option(
        parser=place,
        metavar="PATH",
        help="Where to leave the network. Default: RUN/evaluation.",
        rich_help_panel=_PLACE,
    ),
]
Resume = Annotated[
    Path | None,
    typer.Option(parser=place, metavar="RUN", help="Go on with this run; nothing to repeat.", rich_help_panel=_PLACE),
]
Device = Annotated[str | None, typer.Option(help="auto, cpu or cuda.", rich_help_panel=_PLACE)]
Precision = Annotated[str | None, typer.Option(help="32-true, bf16-mixed or 64-true.", rich_help_panel=_PLACE)]
Threads = Annotated[int | None, typer.Option(help="CPU threads that compute.", rich_help_panel=_PLACE)]
CheckMemory = Annotated[
    bool,
    typer.Option(
        "--check-memory/--no-check-memory", help="Refuse a search that memory is too small for.", rich_help_panel=_PLACE
    ),
]
Log = Annotated[
    str | None,
    typer.Option(metavar="WHERE", help="tensorboard: in the run folder, next to its trace.", rich_help_panel=_PLACE),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what it will cost, and stop.", rich_help_panel=_PLACE)]
Json = Annotated[
    bool, typer.Option("--json", help="Only a JSON object on the standard output.", rich_help_panel=_PLACE)
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress; one line at the end.", rich_help_panel=_PLACE)]


def given(**options: Any) -> dict[str, Any]:
    """The options that were given."""
    return {name: value for name, value in options.items() if value is not None}


def pairs(texts: Sequence[str] | None) -> dict[str, Any]:
    """Settings from ``KEY=VALUE`` texts; ``none`` stands for None, other values keep their text.

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


def apart(settings: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings called ``search.KEY`` and ``evaluate.KEY``, for the two phases of a whole run.

    >>> apart({"search.epochs": "3", "evaluate.epochs": "5"})
    ({'epochs': '3'}, {'epochs': '5'})
    """
    phases: dict[str, dict[str, Any]] = {"search": {}, "evaluate": {}}
    for name, value in settings.items():
        phase, dot, key = name.partition(".")
        if not dot or phase not in phases:
            raise ValueError(f"--set {name}=... needs its phase: --set search.{name}=... or --set evaluate.{name}=...")
        phases[phase][key] = value
    return phases["search"], phases["evaluate"]


def heard(listener: Listener, log: str | None, folder: Path) -> Listener:
    """Who hears of a run: ``listener``, and a log in the run's folder if one is wanted."""
    if log is None:
        return listener
    from diffnas.engine.tensorboard import TensorBoard
    from diffnas.lookup import lookup

    return lookup("log", log, {"tensorboard": TensorBoard})(folder / "tensorboard", listener)


def new_folder(data: str, method: str, seed: int, place: Path = Path("runs")) -> Path:
    """A folder in ``place`` that is not there yet, named after what the run is."""
    words = [re.sub(r"[^\w.-]+", "-", word).strip("-.") for word in (Path(data).name or data, method)]
    name = "-".join([*filter(None, words), f"seed{seed}"])
    count, path = 1, place / name
    while path.exists():
        count += 1
        path = place / f"{name}-{count}"
    return path
