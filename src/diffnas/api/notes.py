"""The notes of a run folder about the user's arguments: enough to load the data and build the method again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import torch
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from diffnas import former
from diffnas.data import DESCRIPTIONS, DataSet, from_dataset, from_tensors, kind_of, set_aside
from diffnas.data import load as load_data
from diffnas.data.gather import limit_for
from diffnas.engine.launch import here
from diffnas.engine.learned import task_of
from diffnas.engine.settings import Machine, Source
from diffnas.lookup import lookup
from diffnas.names import showable
from diffnas.recipes import RECIPES, Recipe
from diffnas.run_folder import RunFolder
from diffnas.task import TASKS, Task, classification

Phase = Literal["search", "evaluate"]

Data: TypeAlias = Any
"""A name, a folder, a ``DataSet``, a torch ``Dataset``, or tensors: ``((pictures, labels), (pictures, labels))``."""


class DataNote(BaseModel):
    """The arguments that load the data again."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    what: str
    data_dir: str | None = None
    size: int | None = None
    tokens: str | None = None
    encoding: str | None = None
    lower: bool | None = None
    stream: bool | None = None


class Notes(BaseModel):
    """The ``notes`` of ``run.json``. They hold names; an argument that was given as an object is None.

    Attributes:
        data: how to load the data again.
        train: how many training pictures the search sees; None for all.
        recipe, space, method: their names.
        components: the components that replace the method's own, as text.
        evaluation: settings for the evaluation that follows the search.
        against, repeats: the contenders of a whole run, as text, and how often each network is trained.
        aside: the share of the training pictures that is set aside to choose among networks.
        device, precision: as the user gave them.
        threads: how many CPU threads compute; always known once a run has begun.
        devices, nodes: how many processes compute on each machine, and on how many; None for a single one.
        target, targets: the cost that the deployed network should have, or the costs of a family of networks.
        width: whether the width of the network is fitted to the target.
        runtime: the runtime that measures latencies.
        multiplier: how strong the penalty of the target is at first.
        targets_by: how the cells for a family are found.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    data: DataNote | None = None
    train: int | None = None
    recipe: str = "published"
    space: str | None = None
    method: str | None = "sparse"
    components: dict[str, str] = {}
    evaluation: dict[str, Any] = {}
    against: str | None = None
    repeats: int = 1
    aside: float = 0.0
    device: str = "auto"
    precision: str = "32-true"
    threads: int | None = None
    devices: int | None = None
    nodes: int | None = None
    target: str | None = None
    targets: str | None = None
    width: str | None = None
    runtime: str | None = None
    multiplier: str | None = None
    targets_by: str | None = None

    @property
    def computing(self) -> dict[str, Any]:
        """The arguments of the engine that say what computes."""
        return {"device": self.device, "precision": self.precision, "threads": self.threads}

    def but(self, **given: Any) -> Notes:
        """The notes with other values for all fields in ``given`` that are not None."""
        return self.model_copy(update={name: value for name, value in given.items() if value is not None})

    def on(self, machine: Machine) -> Notes:
        """The notes with this device and precision, and known numbers of processes and threads.

        The number of threads is the machine's, if it is given; else that of the run that is resumed; else the
        recipe's; else torch's. The processes of a machine share torch's.
        """
        ranks = here()
        share = max(1, torch.get_num_threads() // ranks.here)
        kept = self.threads if (self.devices or 1) == ranks.here else None
        usual = min(recipe_named(self.recipe).threads or share, share) if ranks.several else None
        threads = machine.threads or kept or usual or recipe_named(self.recipe).threads or share
        processes = (ranks.here, ranks.count // ranks.here) if ranks.several else (None, None)
        notes = self.but(device=machine.device, precision=machine.precision, threads=threads)
        return notes.model_copy(update=dict(zip(("devices", "nodes"), processes, strict=True)))


def recipe_named(name: str) -> Recipe:
    """The recipe of this name; a ValueError with the most similar name if there is none."""
    return lookup("recipe", name, RECIPES)


def read_notes(folder: Path, phase: Phase) -> tuple[Notes, dict[str, Any]]:
    """The notes of a run that has begun, and its whole record.

    Raises:
        ValueError: if the folder has no run or one of another phase, or if its record is damaged.
    """
    opened = RunFolder.open(folder)
    record = opened.record
    if record.get("phase") != phase:
        found = record.get("phase")
        if found not in get_args(Phase):
            raise ValueError(f"{opened.record_file} is damaged: its phase is {str(found)[:80]!r}.")
        way = f"To go on with it: diffnas {found} --resume {folder}"
        raise ValueError(f"{folder} holds a run of the phase {found!r}, not {phase!r}. {way}")
    try:
        notes = Notes.model_validate(record.get("notes"))
        for part in ("settings", "task"):
            TypeAdapter(dict[str, Any]).validate_python(record.get(part), strict=True)
    except ValidationError as error:
        raise ValueError(f"{opened.record_file} is damaged: {first_complaint(error)}.") from None
    return notes, {**record, "settings": former.settings(record["settings"])}


def recipe_on(data: Data, source: Source) -> str | None:
    """The default recipe on sequences; None for pictures."""
    kind = kind_of(data)
    if kind != "text":
        return {"labelled": "sequences-small", "forecast": "forecast-small"}.get(kind)
    whole = data if isinstance(data, DataSet) else None
    if whole is None and source.tokens is None and data not in DESCRIPTIONS:
        whole = load_data(data, encoding=source.encoding)
    words = whole.tokens.kind != "characters" if whole is not None and whole.tokens else source.tokens == "words"
    return "text-words" if words else "text-transformer"


def task_for(given: Task | None, record: Mapping[str, Any], data: DataSet) -> Task:
    """The task of a run: ``given``, or the usual task of the data.

    ``record`` is that of the run that is resumed or evaluated; empty if there is none.

    Raises:
        ValueError: if ``given`` is no task, or if it is None and that run had a task made in Python.
    """
    if not isinstance(given, Task | None):
        made = "from diffnas.task import Metric, Task"
        raise ValueError(f"task must be a Task, not a {type(given).__name__}. Make one: {made}.")
    name = record.get("task", classification.record()).get("name")
    if given is None and name not in TASKS:
        raise ValueError(
            f"the run learns the task {name!r}, which was made in Python. Give it again as task=..., in Python."
        )
    return given or task_of(data)


def note_data(kept: DataNote | None, data: Data, source: Source) -> DataNote | None:
    """How to load the data again; None if the data was given as an object, which only the user can make again.

    Data that is named again on resume may just have moved. So what is noted of it stays, unless it is given.
    """
    if data is not None and not isinstance(data, str | Path):
        return None
    note = kept if data is None else _named_anew(kept or DataNote(what=""), _whereabouts(data))
    place = None if source.data_dir is None else _storable(str(Path(source.data_dir).resolve()))
    told = {name: getattr(source, name) for name in ("size", "stream", "tokens", "encoding", "lower")}
    given = {name: value for name, value in {"data_dir": place, **told}.items() if value is not None}
    return note.model_copy(update=given) if note else None


def _named_anew(kept: DataNote, what: str) -> DataNote:
    own = {"size": None, "stream": None} if what in DESCRIPTIONS else {}  # these are no options of data with a name
    return kept.model_copy(update={"what": what, **own})


def _whereabouts(data: str | Path) -> str:
    """The name of data, or the absolute path of its folder, so that a run can be resumed from any working folder."""
    named = isinstance(data, str) and (data in DESCRIPTIONS or not Path(data).exists())
    return _storable(str(data) if named or data == "" else str(Path(data).resolve()))


def _storable(where: str) -> str:
    """The path, if ``run.json`` can hold it; else a ValueError."""
    try:
        where.encode()
    except UnicodeEncodeError:
        raise ValueError(f"the folder {showable(where)} has a name that is not UTF-8; rename it.") from None
    return where


def load_noted(note: DataNote | None, data: Data, source: Source) -> DataSet:
    """The data set, from its note or from the object that was given.

    Raises:
        ValueError: if there is neither, or if the object cannot be a data set.
        FileNotFoundError: if the noted folder no longer exists.
    """
    if note is not None and data is None and Path(note.what).is_absolute() and not Path(note.what).exists():
        raise FileNotFoundError(
            f"the data are no longer in {note.what}. If they have moved, give the same command with their new "
            "folder as DATA: diffnas run DATA ..., diffnas search DATA ..., or diffnas evaluate RUN DATA ..."
        )
    if note is not None:
        how = note.model_dump(exclude={"what"})
        return load_data(note.what, **how, download=source.download, crew=here())
    if data is None:
        raise ValueError("no data was given, and no run folder notes any. Name some: digits, cifar10, a folder, ...")
    if isinstance(data, DataSet):
        return data
    if not isinstance(data, tuple):
        return from_dataset(data, size=source.size, memory_limit=limit_for(source.stream))
    if len(data) != 2 or not all(isinstance(split, tuple) and len(split) == 2 for split in data):
        raise ValueError("tensors must come as ((pictures, labels), (pictures, labels)): training, then test.")
    return from_tensors(*data)


def left(whole: DataSet, notes: Notes) -> DataSet:
    """The data of a run, without the training pictures that are set aside to choose among contenders.

    Raises:
        ValueError: if the contenders are to predict numbers.
    """
    if notes.aside and whole.forecasts:
        raise ValueError(
            "contenders are compared by what they have right, and a forecast is never just right. Leave against out, "
            "and compare runs by their loss: diffnas compare."
        )
    return set_aside(whole, notes.aside)[0] if notes.aside else whole


def first_complaint(error: ValidationError) -> str:
    """The first complaint of a validation error, in one line."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ").removesuffix(".")
    return f"{place[:200]}: {message}, got {first['input']!r:.200}" if place else message
