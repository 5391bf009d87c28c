"""The formats of an exported network, and ``export``, which writes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from diffnas.deploy import steps, windows
from diffnas.deploy.check import Agreement, Run, check, outputs
from diffnas.deploy.graphs import write_exported, write_onnx
from diffnas.deploy.preprocessing import write_preprocess
from diffnas.deploy.source import write_source
from diffnas.deploy.source_steps import write_step_source
from diffnas.deploy.source_windows import write_window_source
from diffnas.engine.trained import save_trained
from diffnas.lookup import lookup
from diffnas.nets.trained import Trained, load
from diffnas.run_files import NETWORK


class Format(NamedTuple):
    """One format of an exported network.

    Attributes:
        file: the name of the file.
        write: writes a network to a path, given example pictures; returns a function that runs the written file.
        about: what the format is, in a few words.
        alone: whether the file is used without diffnas; then ``preprocess.py``, which reads pictures, comes with it.
    """

    file: str
    write: Callable[[Trained, Tensor, Path], Run]
    about: str
    alone: bool = True


def _write_weights(trained: Trained, pictures: Tensor, path: Path) -> Run:
    """Write ``network.json`` at ``path`` and ``network.safetensors`` beside it; return a function that runs them."""
    save_trained(path.parent, trained)
    loaded = load(path.parent, factories=trained.factories, frame=trained.frame)
    return lambda batch: outputs(loaded, batch)


FORMATS: dict[str, Format] = {
    "onnx": Format("network.onnx", write_onnx, "ONNX, for onnxruntime and others"),
    "exported": Format("network.pt2", write_exported, "a torch.export program"),
    "source": Format("network.py", write_source, "one file of plain PyTorch, with network.safetensors"),
    "torch": Format(NETWORK, _write_weights, "network.safetensors with network.json, for diffnas.load", alone=False),
}
"""The formats by name."""

STEPS: dict[str, Format] = {
    "onnx": Format("network.onnx", steps.write_onnx, "ONNX of one step", alone=False),
    "exported": Format("network.pt2", steps.write_exported, "a torch.export program of one step", alone=False),
    "source": Format("network.py", write_step_source, "one file of plain PyTorch, with its weights", alone=False),
    "torch": FORMATS["torch"],
}
"""The same formats of a recurrent network; the first two take one step, and their caller carries the state."""


WINDOWS: dict[str, Format] = {
    "onnx": Format("network.onnx", windows.write_onnx, "ONNX of a window", alone=False),
    "exported": Format("network.pt2", windows.write_exported, "a torch.export program of a window", alone=False),
    "source": Format("network.py", write_window_source, "one file of plain PyTorch, with its weights", alone=False),
    "torch": FORMATS["torch"],
}
"""The same formats of a network that reads whole windows of a sequence."""


def _known(trained: Trained) -> dict[str, Format]:
    """The formats of a network, by what it reads."""
    if trained.kind == "pictures":
        return FORMATS
    return STEPS if trained.network.frame.window is None else WINDOWS


def export(trained: Trained, folder: Path, formats: Sequence[str], pictures: Tensor) -> tuple[Agreement, ...]:
    """Write a trained network in several formats, and return how far each written file is from the network.

    A format that is used without diffnas comes with ``preprocess.py``, which reads pictures as training did.

    Args:
        trained: the network.
        folder: where the files go; it is made if it does not exist.
        formats: names in ``FORMATS``.
        pictures: real pictures, to compare both networks: uint8, ``(B, channels, H, W)``; or windows of sequences.

    Returns:
        An agreement for each format, in order; a format that is named twice is written once.

    Raises:
        Disagreement: if a written file gives other logits than the network; the file stays for study.
        ValueError: for an unknown format, or a network that cannot be written in it.
        ImportError: for ONNX without the extra ``export``.
    """
    known = _known(trained)
    chosen = [lookup("format", name, known) for name in dict.fromkeys(formats)]
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
