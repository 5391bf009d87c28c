"""A trained network on disk: weights as safetensors, everything else as JSON. Nothing is executed on loading."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from diffnas.data.augment import normalize
from diffnas.data.levels import Levels
from diffnas.files import check
from diffnas.genotype import Genotype, from_json, to_json
from diffnas.names import showable
from diffnas.nets import own
from diffnas.nets.network import Network
from diffnas.space import OpFactory

WEIGHTS, RECORD = "network.safetensors", "network.json"
_SCHEMA, _VERSION = "diffnas/network", 1


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A trained network and what it needs to name what is in a picture.

    Attributes:
        network: in evaluation mode.
        genotype: its cells.
        classes: the name of each logit.
        channels, size: what pictures must be brought to: channels, and height and width.
        mean, std: the normalization of its training pictures.
        levels: what is black and what is white in grey files of more than 8 bits, as its training pictures had it.
        built: ``channels``, ``depth`` and ``stem`` as ``Network`` takes them.
    """

    network: Network
    genotype: Genotype
    classes: tuple[str, ...]
    channels: int
    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    built: Mapping[str, Any]
    levels: Levels | None = None

    @property
    def record(self) -> dict[str, Any]:
        """All but the weights, as JSON holds it."""
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
        }

    @torch.no_grad()
    def predict(self, pictures: Tensor) -> Tensor:
        """Probabilities of the classes, ``(B, classes)``, for uint8 pictures ``(B, channels, H, W)``.

        Raises:
            ValueError: for pictures of another type, number of channels or size.
        """
        return self.logits(pictures).softmax(dim=1)

    @torch.no_grad()
    def logits(self, pictures: Tensor) -> Tensor:
        """The same before the softmax."""
        expected = (self.channels, *self.size)
        if pictures.dtype != torch.uint8 or tuple(pictures.shape[1:]) != expected:
            raise ValueError(f"pictures must be uint8 (B, {expected}), got {pictures.dtype} {tuple(pictures.shape)}.")
        device = next(self.network.parameters()).device
        logits: Tensor = self.network(normalize(pictures.to(device), self.mean, self.std)).logits
        return logits


def load(
    path: str | Path, device: torch.device | str = "cpu", factories: Mapping[str, OpFactory] | None = None
) -> Trained:
    """The trained network in a run folder, or in the folder itself of its files; ``factories`` make own operations.

    Raises:
        ValueError: if there is none, or its files are damaged or of another version.
    """
    folder = Path(path)
    if not (folder / RECORD).exists():
        folder = folder / "evaluation"
    if not (folder / RECORD).exists():
        raise ValueError(f"{path} holds no trained network. Train one with: diffnas evaluate {path}")
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        built = _build(record, load_file(folder / WEIGHTS), device, factories)
    except (SafetensorError, OSError, KeyError, TypeError, RuntimeError, ValueError, AttributeError) as error:
        message = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"the network in {folder} cannot be read ({type(error).__name__}: {message}).") from error
    for name in (RECORD, WEIGHTS):
        check(folder / name)
    return built


def _build(
    record: dict[str, Any],
    weights: dict[str, Tensor],
    device: torch.device | str,
    factories: Mapping[str, OpFactory] | None,
) -> Trained:
    if record["schema"] != _SCHEMA or record["version"] != _VERSION:
        raise ValueError(f"expected a {_SCHEMA} of version {_VERSION}, got {record['schema']} {record['version']}.")
    genotype = from_json(json.dumps(record["genotype"]))
    classes, (height, width) = _texts(record["classes"]), record["size"]
    own.try_in_network(genotype, factories, (record["channels"], height, width), **record["network"])
    network = Network(
        genotype, classes=len(classes), in_channels=record["channels"], factories=factories, **record["network"]
    )
    # Of the dtype that it was trained in: its test was, and predictions are to be the same.
    network.to(next(tensor.dtype for tensor in weights.values() if tensor.is_floating_point()))
    network.load_state_dict(weights)
    return Trained(
        network=network.eval().to(device, memory_format=torch.channels_last),  # type: ignore[call-overload]
        genotype=genotype,
        classes=classes,
        channels=record["channels"],
        size=(height, width),
        mean=tuple(record["mean"]),
        std=tuple(record["std"]),
        built=record["network"],
        # Networks that were written before there were levels have none.
        levels=None if record.get("levels") is None else Levels(*record["levels"]),
    )


def _texts(names: Sequence[object]) -> tuple[str, ...]:
    return tuple(showable(str(name)) for name in names)
