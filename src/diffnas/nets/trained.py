"""A trained network on disk: weights as safetensors, everything else as JSON. Loading it executes nothing of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from diffnas.data.augment import normalize
from diffnas.data.data_set import DataKind
from diffnas.data.levels import Levels
from diffnas.data.tokens import Tokens
from diffnas.files import check
from diffnas.genotype import Genotype, to_json
from diffnas.genotype.json_form import from_record
from diffnas.names import showable
from diffnas.nets import own
from diffnas.nets.frames import FrameFactory, Reading
from diffnas.nets.network import Network
from diffnas.nets.sites import chosen
from diffnas.nets.sizes import sizes_of_genotype
from diffnas.nets.slot import OpFactory
from diffnas.run_files import NETWORK, WEIGHTS
from diffnas.skeleton import StemKind
from diffnas.task import probabilities
from diffnas.untrusted import json_text

_SCHEMA, _VERSION = "diffnas/network", 1
_MOST_CHANNELS, _MOST_CELLS, _MOST_OPERATIONS, _LARGEST_SIDE = 100_000, 1000, 5000, 2048


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A trained network, and what is needed to classify pictures by it.

    Attributes:
        network: the network, in evaluation mode.
        genotype: its cells.
        classes: the name of each class, in the order of the logits.
        channels, size: the channels, and the height and width, that pictures must have.
        mean, std: the normalization of its training pictures.
        levels: the values that become black and white in grey files of more than 8 bits, as in training.
        several: whether a picture can be in several classes.
        kind: what the network reads.
        tokens: how a text becomes numbers; None for a network of other data.
        built: the arguments ``channels``, ``depth`` and ``stem`` of ``Network``.
        factories, frame: the same arguments of ``Network``: what builds the user's own operations and frame.
    """

    network: Network
    genotype: Genotype
    classes: tuple[str, ...]
    channels: int
    size: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    built: Mapping[str, Any]
    levels: Levels | None = None
    several: bool = False
    kind: DataKind = "pictures"
    tokens: Tokens | None = None
    factories: Mapping[str, OpFactory] | None = None
    frame: FrameFactory | None = None

    @property
    def record(self) -> dict[str, Any]:
        """Everything but the weights, as plain data for JSON."""
        return {
            "schema": _SCHEMA,
            "version": _VERSION,
            "genotype": json.loads(to_json(self.genotype)),
            "network": dict(self.built),
            "classes": list(self.classes),
            "channels": self.channels,
            "size": list(self.size),
            "mean": list(self.mean),
            "std": list(self.std),
            "levels": None if self.levels is None else list(self.levels),
            "several": self.several,
            **({} if self.kind == "pictures" else {"kind": self.kind}),
            **({} if self.tokens is None else {"tokens": _tokens_record(self.tokens)}),
        }

    @torch.no_grad()
    def predict(self, pictures: Tensor) -> Tensor:
        """Probabilities of the classes, ``(B, classes)``, for uint8 pictures ``(B, channels, H, W)``.

        Those of a picture sum to 1, unless it can be in several classes.

        Raises:
            ValueError: for pictures of another type, number of channels or size.
        """
        return probabilities(self.logits(pictures), several=self.several)

    @torch.no_grad()
    def logits(self, pictures: Tensor) -> Tensor:
        """Logits, ``(B, classes)``, before the softmax or the sigmoid, for uint8 pictures ``(B, channels, H, W)``.

        Raises:
            ValueError: for pictures of another type, number of channels or size.
        """
        if self.kind != "pictures":
            raise ValueError(
                f"this network reads a {self.kind}, not pictures. Call its network: trained.network(steps)."
            )
        expected = (self.channels, *self.size)
        if pictures.dtype != torch.uint8 or tuple(pictures.shape[1:]) != expected:
            raise ValueError(f"pictures must be uint8 (B, {expected}), got {pictures.dtype} {tuple(pictures.shape)}.")
        device = next(self.network.parameters()).device
        logits: Tensor = self.network(normalize(pictures.to(device), self.mean, self.std)).logits
        return logits


class _Built(BaseModel):
    """The sizes of a network: arguments of ``Network``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    channels: Annotated[int, Field(ge=1, le=_MOST_CHANNELS)] | None
    depth: Annotated[int, Field(ge=1, le=_MOST_CELLS)] | None
    stem: StemKind


class _Tokens(BaseModel):
    """How a text becomes numbers. The vocabulary has the tokens as they are; as names of classes they are printable."""

    model_config = ConfigDict(extra="forbid", strict=True)

    kind: Literal["characters", "words", "split"]
    lower: bool
    vocabulary: Annotated[list[str], Field(min_length=2, max_length=_MOST_CHANNELS)]


def _tokens_record(tokens: Tokens) -> dict[str, Any]:
    return {"kind": tokens.kind, "lower": tokens.lower, "vocabulary": list(tokens.vocabulary)}


class _Record(BaseModel):
    """The content of ``network.json``. All of it is checked here, because it becomes sizes and source code."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    schema_: Literal["diffnas/network"] = Field(alias="schema")
    version: Literal[1]
    genotype: dict[str, Any]
    network: _Built
    classes: Annotated[list[str], Field(min_length=1)]
    channels: Annotated[int, Field(ge=1, le=_MOST_CHANNELS)]
    size: Annotated[list[Annotated[int, Field(ge=1, le=_LARGEST_SIDE)]], Field(min_length=1, max_length=2)]
    mean: list[float]
    std: list[Annotated[float, Field(gt=0)]]
    levels: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None
    several: bool = False
    kind: DataKind = "pictures"
    tokens: _Tokens | None = None

    @model_validator(mode="after")
    def _check(self) -> _Record:
        if (self.tokens is not None) != (self.kind == "text") or len(self.size) != 1 + (self.kind == "pictures"):
            raise ValueError(f"the size {self.size} and the tokens do not fit the kind {self.kind!r}")
        if self.tokens is not None and not len(self.tokens.vocabulary) == len(self.classes) == self.channels:
            raise ValueError(f"{len(self.tokens.vocabulary)} tokens for {self.channels} channels")
        if not len(self.mean) == len(self.std) == (0 if self.tokens else self.channels):
            raise ValueError(f"{len(self.mean)} means and {len(self.std)} deviations for {self.channels} channels")
        if self.levels is not None and not self.levels[0] < self.levels[1]:
            raise ValueError(f"levels must rise, from black to white, got {self.levels}")
        return self


def load(
    path: str | Path,
    device: torch.device | str = "cpu",
    factories: Mapping[str, OpFactory] | None = None,
    frame: FrameFactory | None = None,
) -> Trained:
    """The trained network in a folder.

    Args:
        path: a run folder, or the folder that has the network's files.
        device: the device of the network.
        factories: the factories of the user's own operations in the genotype, by name.
        frame: what builds the user's own frame of the genotype.

    Raises:
        ValueError: if there is no network, or if its files are damaged, of another version, or do not fit each other.
    """
    folder = Path(path)
    if not (folder / NETWORK).exists():
        folder = folder / "evaluation"
    if not (folder / NETWORK).exists():
        raise ValueError(f"{path} holds no trained network. Train one with: diffnas evaluate {path}")
    record = _read(folder / NETWORK)
    try:
        built = _build(record, folder / WEIGHTS, device, factories, frame)
    except (SafetensorError, OSError, KeyError, TypeError, RuntimeError, ValueError, AttributeError) as error:
        message = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        raise ValueError(f"the network in {folder} cannot be read ({type(error).__name__}: {message}).") from error
    for name in (NETWORK, WEIGHTS):
        check(folder / name)
    return built


def _read(path: Path) -> _Record:
    try:
        return _Record.model_validate(json_text.read_object(path))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part)[:80] for part in first["loc"])
        raise ValueError(f"{path} cannot be read: {place}: {first['msg'].removeprefix('Value error, ')}.") from None


def _build(
    record: _Record,
    path: Path,
    device: torch.device | str,
    factories: Mapping[str, OpFactory] | None,
    frame: FrameFactory | None,
) -> Trained:
    genotype, built = from_record(record.genotype), record.network.model_dump()
    counts = [len(cell.connections) for cell in genotype.cells.values()]
    operations = sum(counts) if genotype.depth else max(counts, default=0) * (record.network.depth or 1)
    if operations > _MOST_OPERATIONS:
        raise ValueError(f"{operations:,} operations are more than any network has")
    built, kept = {**built, **_input_of(record)}, built
    sizes = sizes_of_genotype(genotype, len(record.classes), record.channels, **built, frame=frame)
    own.try_parts(sizes, chosen(genotype), factories, _shape_of(record))
    parts: dict[str, Any] = {"factories": factories, "frame": frame}
    made = partial(Network, genotype, classes=len(record.classes), in_channels=record.channels, **parts, **built)
    with torch.device("meta"):  # which takes no memory, however large the network would be
        _check_backed(made(), path)
    network, weights = made(), renamed(load_file(path))
    # In the dtype of the training, so that predictions are those of the test.
    network.to(next(tensor.dtype for tensor in weights.values() if tensor.is_floating_point()))
    network.load_state_dict(weights, strict=False)  # ``_check_backed`` has compared the names; shared ones come once
    return Trained(
        network=network.eval().to(device, memory_format=torch.channels_last),  # type: ignore[call-overload]
        genotype=genotype,
        classes=tuple(map(showable, record.classes)),
        channels=record.channels,
        size=tuple(record.size),
        mean=tuple(record.mean),
        std=tuple(record.std),
        built=kept,
        # Records from before there were levels have none.
        levels=None if record.levels is None else Levels(*record.levels),
        several=record.several,
        kind=record.kind,
        tokens=_tokens_of(record.tokens),
        factories=factories,
        frame=frame,
    )


def _input_of(record: _Record) -> dict[str, Any]:
    """How the network of a record reads its input: what ``Network`` takes."""
    return {"picture": tuple(record.size), **Reading(tokens=record.kind == "text", forecast=record.kind == "forecast")}


def _shape_of(record: _Record) -> tuple[int, ...]:
    """The shape of one input of the network of a record."""
    if record.kind == "pictures":
        return record.channels, *record.size
    return (*record.size,) if record.kind == "text" else (*record.size, record.channels)


def _tokens_of(record: _Tokens | None) -> Tokens | None:
    if record is None:
        return None
    return Tokens(kind=record.kind, lower=record.lower, vocabulary=tuple(record.vocabulary))


# Patterns of names in a net, and the names in files, which exported source code reads too (``deploy.source``).
_INSIDE = (
    (r"^(frame\.cells\.\d+)\.inputs\.", r"\1.preprocess."),
    (r"^(frame\.cells\.\d+)\.edges\.(\d+)\.op\.", r"\1.ops.\2."),
)
_OUTSIDE = (r"^(cells\.\d+)\.preprocess\.", r"\1.inputs."), (r"^(cells\.\d+)\.ops\.(\d+)\.", r"\1.edges.\2.op.")


def stored(network: nn.Module) -> dict[str, Tensor]:
    """The weights of a network, by their names in files. A weight that several modules share has the first name.

    >>> from diffnas.genotype import published
    >>> net = Network(published("DARTS_V2"), classes=2, channels=2, depth=3)
    >>> names = list(stored(net))
    >>> names[0], [name for name in names if name.startswith("cells.0.ops.0")][0], names[-1]
    ('stem.first.0.weight', 'cells.0.ops.0.0.depthwise.conv.weight', 'head.2.bias')
    """
    whole = network.state_dict(keep_vars=True)
    first = {tensor: name for name, tensor in reversed(whole.items())}
    return {
        _rename(name, _INSIDE).removeprefix("frame."): tensor.detach()
        for name, tensor in whole.items()
        if first[tensor] == name
    }


def renamed(named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights in a file, by their names in a net. They may come from a checkpoint from before there were frames.

    >>> list(renamed({"cells.0.ops.3.norm.weight": torch.ones(1), "frame.head.2.bias": torch.ones(1)}))
    ['frame.cells.0.edges.3.op.norm.weight', 'frame.head.2.bias']
    """
    return {
        name if name.startswith("frame.") else f"frame.{_rename(name, _OUTSIDE)}": tensor
        for name, tensor in named.items()
    }


def _rename(name: str, rows: Sequence[tuple[str, str]]) -> str:
    for before, after in rows:
        name = re.sub(before, after, name)
    return name


def _check_backed(network: Network, path: Path) -> None:
    """Check that a file has exactly the weights of a network, each with its shape."""
    wanted = {name: tuple(tensor.shape) for name, tensor in stored(network).items()}
    with safe_open(path, "pt") as file:
        found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    for name in {**wanted, **found}:
        if wanted.get(name) != found.get(name):
            shape, needed = found.get(name, "not in it"), wanted.get(name, "not wanted")
            raise ValueError(
                f"{path.name} does not fit {NETWORK}: {name[:80]} is {shape} in the one, {needed} in the other"
            )
