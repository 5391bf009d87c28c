"""Models of the files in a run folder. Reading checks that all numbers are finite, and all lists have their length."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from diffnas import former
from diffnas.genotype.record import NODE_LIMIT
from diffnas.run_files import LOSS
from diffnas.sources import units

M = TypeVar("M", bound=BaseModel)

_MOST_EPOCHS = 1_000_000

Node = Annotated[int, Field(strict=True, ge=0, lt=NODE_LIMIT)]
# Not strict, because JSON has lists and no tuples.
Edge = Annotated[tuple[Node, Node], Field(strict=False)]
Count = Annotated[int, Field(ge=0)]
Cost = Literal["macs", "params", "memory", "latency"]
Amount = Annotated[float, Field(ge=0)]


def checked(model: type[M], read: Mapping[str, Any], where: str | Path) -> M:
    """The content of a file as a model of it; a ValueError that says ``where`` it was read, if it does not fit."""
    try:
        return model.model_validate(read)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part)[:80] for part in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        raise ValueError(f"{where} is damaged or of another version: {f'{place}: ' if place else ''}{said}.") from None


class _Read(BaseModel):
    """A model that ignores other fields of a file."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False)


class CellRecord(_Read):
    """A kind of cell in ``run.json``."""

    edges: Annotated[list[Edge], Field(min_length=1)]
    ops: list[list[str]]
    inputs: Annotated[int, Field(ge=1, le=2)] | None = None
    output: list[Node] | None = None

    @model_validator(mode="after")
    def _check(self) -> CellRecord:
        last = max(target for _, target in self.edges)
        if not all(source < target for source, target in self.edges):
            raise ValueError("an edge does not lead from a lower node to a higher one")
        if len(self.ops) != len(self.edges):
            raise ValueError(f"it has operations for {len(self.ops)} edges, but {len(self.edges)} edges")
        inputs = self.inputs or 0
        if any(target < inputs for _, target in self.edges) or any(not inputs <= n <= last for n in self.output or ()):
            raise ValueError("its inputs, edges and output do not fit each other")
        return self


class SpaceRecord(_Read):
    """A search space in ``run.json``."""

    name: str
    skeleton: str
    ops: Annotated[list[str], Field(min_length=1)]
    in_degree: Annotated[int, Field(ge=1)] | None = None
    cells: Annotated[dict[str, CellRecord], Field(min_length=1)]

    @model_validator(mode="after")
    def _check(self) -> SpaceRecord:
        known = set(self.ops)
        if len(known) < len(self.ops):
            raise ValueError("an operation is in its list twice")
        strange = [op for cell in self.cells.values() for names in cell.ops for op in names if op not in known]
        if strange:
            raise ValueError(f"a cell offers {strange[0][:80]!r}, which is not among the operations")
        return self

    @property
    def shape(self) -> tuple[int, int]:
        """How many edges and operations it has."""
        return sum(len(cell.edges) for cell in self.cells.values()), len(self.ops)


class DataRecord(_Read):
    """The pictures or sequences of a run in ``run.json``."""

    name: str
    train: Count
    test: Count | None = None
    classes: list[str]
    size: list[Count]
    fingerprint: str = ""
    kind: Literal["pictures", "text", "forecast", "labelled"] = "pictures"

    @property
    def units(self) -> tuple[str, str]:
        """The unit of data to which the cost of a network refers, and the name of the samples."""
        return units(self.kind, self.size)


class MetricRecord(_Read):
    """A metric of a task in ``run.json``."""

    better: Literal["higher", "lower"]
    form: Annotated[str, Field(max_length=20)]

    @field_validator("form")
    @classmethod
    def _check(cls, form: str) -> str:
        format(0.5, form)
        return form

    @property
    def is_share(self) -> bool:
        """Whether a value is written as a percentage."""
        return self.form.endswith("%")

    def say(self, value: float) -> str:
        """A value in words."""
        return format(value, self.form)

    def apart(self, first: float, second: float) -> str:
        """In words how far the first value is above or below the second."""
        far = abs(first - second)
        said = f"{100 * far:.1f} points" if self.is_share else self.say(far)
        return f"{said} {'higher' if first >= second else 'lower'}"


class TaskRecord(_Read):
    """What is learned, in ``run.json``."""

    name: str
    metrics: Annotated[dict[str, MetricRecord], Field(min_length=1)]

    @property
    def deciding(self) -> str:
        """The name of the metric that decides."""
        return next(iter(self.metrics))

    @property
    def metric(self) -> MetricRecord:
        """The metric that decides."""
        return self.metrics[self.deciding]

    @property
    def numbers(self) -> tuple[str, ...]:
        """The names of the numbers that are measured of some pictures."""
        return (LOSS, *self.metrics)


class AimRecord(_Read):
    """What a search aims at, in ``run.json``."""

    targets: list[str]
    family: list[str] = []
    width: str = "fit"
    size: dict[str, int | str] = {}
    start: float = 1.0
    tightens: bool = False


class Record(_Read):
    """The ``run.json`` of a search or an evaluation."""

    task: TaskRecord
    settings: dict[str, Any]
    data: DataRecord
    precision: str = "32-true"
    computed: list[str] = []
    made_with: dict[str, Any] = {}
    method: dict[str, str] = {}
    target: AimRecord | None = None
    space: SpaceRecord | None = None
    genotype: dict[str, Any] | None = None

    @field_validator("settings")
    @classmethod
    def _check(cls, settings: dict[str, Any]) -> dict[str, Any]:
        epochs, seed = settings.get("epochs"), settings.get("seed")
        if type(epochs) is not int or not 0 < epochs <= _MOST_EPOCHS:
            raise ValueError("they do not have the planned number of epochs")
        if seed is not None and type(seed) is not int:
            raise ValueError("their seed is not an integer")
        if any(isinstance(value, dict | list) for value in settings.values()):
            raise ValueError("one of them is neither a number nor a text")
        return settings

    @field_validator("made_with")
    @classmethod
    def _check_command(cls, made_with: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(made_with.get("command") or [], list):
            raise ValueError("the command is not a list of words")
        return made_with

    @property
    def epochs(self) -> int:
        """The planned number of epochs."""
        return int(self.settings["epochs"])


def task_of(record: Record | None) -> TaskRecord:
    """What is learned, by the record of a run; classification without one."""
    return TaskRecord.model_validate(former.TASK) if record is None else record.task


class Line(_Read):
    """An epoch of a trace."""

    epoch: Annotated[int, Field(ge=0, le=_MOST_EPOCHS)]
    train: dict[str, float]
    lr: float
    seconds: Amount
    steps: Count | None = None
    peak_memory: Count | None = None


class CostLine(_Read):
    """A cost with a target, in an epoch of a search."""

    target: Amount
    expected: float
    read_off: Amount | None = None
    lo: Amount
    hi: Amount
    multiplier: Amount


class LandingRecord(_Read):
    """Where a search with targets landed."""

    text: str
    met: bool
    costs: dict[Cost, float] = Field(default_factory=dict)
    size: dict[str, int | str] = Field(default_factory=dict)


class StartRecord(_Read):
    """The beginning of a supernet, in an epoch of a search.

    Attributes:
        initial: what the initializer said; None for nothing.
        alpha: where alpha came from; None if it was drawn.
        variances: by kind of cell, the variance of each node before the first step.
    """

    initial: str | None = None
    alpha: str | None = None
    variances: dict[str, list[Amount]] = {}


class SearchLine(Line):
    """An epoch of a search. Other fields of its line are kept, for tables by name."""

    model_config = ConfigDict(extra="allow")

    held_out: dict[str, float] | None = None
    parameters: Count
    found_parameters: Count | None = None
    macs: Count
    indicators: dict[str, float | None]
    genotype: dict[str, Any]
    mix: list[list[float]]
    keep: list[list[bool]]
    cost: dict[Cost, CostLine] = {}
    start: StartRecord | None = None
    pretext: str | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """The numbers of edges and operations in its weights."""
        return len(self.mix), len(self.mix[0])

    @model_validator(mode="after")
    def _check(self) -> SearchLine:
        widths = {len(row) for rows in (self.mix, self.keep) for row in rows}
        if not self.mix or len(self.mix) != len(self.keep) or len(widths) != 1:
            raise ValueError("mix and keep are not tables of the same shape")
        return self


class Result(_Read):
    """The results of an evaluation."""

    test_pictures: Count
    test: dict[str, float]
    parameters: Count
    macs: Count
    seconds: Amount


class Int8(_Read):
    """The measurements of an export in 8 bits. Pairs are of float32 and of 8 bits."""

    pictures: Count
    accuracy: Annotated[tuple[Amount, Amount], Field(strict=False)]
    bytes: Annotated[tuple[Count, Count], Field(strict=False)]
    milliseconds: Annotated[tuple[Amount, Amount], Field(strict=False)]
