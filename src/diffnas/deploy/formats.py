"""The forms that a trained network can be taken away in, and taking it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from diffnas.deploy.check import Agreement, Run, check
from diffnas.deploy.graphs import write_exported, write_onnx
from diffnas.deploy.preprocessing import write_preprocess
from diffnas.deploy.source import write_source
from diffnas.engine.trained import save_trained
from diffnas.lookup import lookup
from diffnas.nets.trained import Trained, load
from diffnas.run_files import NETWORK


class Format(NamedTuple):
    """One of the forms.

    Attributes:
        file: what the file is called.
        write: writes a network, given pictures of its kind, to a path; gives what runs what it wrote.
        about: what it is, in a few words.
        alone: whether it is for use without diffnas, so that it needs what reads its pictures beside it.
    """

    file: str
    write: Callable[[Trained, Tensor, Path], Run]
    about: str
    alone: bool = True


def _write_weights(trained: Trained, pictures: Tensor, path: Path) -> Run:
    """Write the network as ``network.json`` at ``path``, and ``network.safetensors`` beside it."""
    save_trained(path.parent, trained)
    loaded = load(path.parent)
    return lambda batch: loaded.logits(batch)


FORMATS: dict[str, Format] = {
    "onnx": Format("network.onnx", write_onnx, "ONNX, for onnxruntime and others"),
    "exported": Format("network.pt2", write_exported, "a torch.export program"),
    "source": Format("network.py", write_source, "one file of plain PyTorch, with network.safetensors"),
    "torch": Format(NETWORK, _write_weights, "network.safetensors with network.json, for diffnas.load", alone=False),
}
"""The forms by name."""


def export(trained: Trained, folder: Path, formats: Sequence[str], pictures: Tensor) -> tuple[Agreement, ...]:
    """Write a trained network into a folder in several forms, and hold each of them against the network.

    Beside those for use without diffnas comes ``preprocess.py``, which reads pictures as training did.

    Args:
        trained: the network.
        folder: where to; it is made if it is not there.
        formats: names in ``FORMATS``.
        pictures: real ones, which both are shown: uint8, ``(B, channels, H, W)``.

    Raises:
        Disagreement: if a form does not do what the network does; its file is left for study.
        ValueError: for an unknown form, or a network that cannot have it.
        ImportError: for ONNX without the extra ``export``.
    """
    chosen = [lookup("format", name, FORMATS) for name in dict.fromkeys(formats)]
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for form in chosen:
        path = folder / form.file
        if form.alone:
            write_preprocess(folder)
        with torch.no_grad():
            run = form.write(trained, pictures, path)
        found.append(check(path, run, trained, pictures))
    return tuple(found)
