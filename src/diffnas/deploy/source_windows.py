"""A transformer of sequences as one readable file of plain PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffnas.deploy import source_transformer
from diffnas.deploy.check import Run
from diffnas.deploy.source import described, helpers, quoted, refuse_operations, rendered, written
from diffnas.nets.trained import Trained


def write_window_source(trained: Trained, window: Tensor, path: Path) -> Run:
    """Write a transformer of sequences as Python at ``path`` and its weights beside it; return a function that runs it.

    Raises:
        ValueError: for a network that labels whole sequences, an operation of the user's own, or graphs of operations.
    """
    network = written(trained, window_source(trained), path)

    @torch.no_grad()
    def run(batch: Tensor) -> Tensor:
        outputs: Tensor = network(batch)
        return outputs

    return run


def window_source(trained: Trained) -> str:
    """The Python source of a transformer of sequences; the errors are those of ``write_window_source``."""
    if trained.kind == "labelled":
        raise ValueError("the source of a network that labels whole sequences is not known here. Export to onnx.")
    refuse_operations(trained)
    tokens, names = trained.tokens, trained.tokens.vocabulary if trained.tokens else trained.classes
    width, rows, count = trained.network.get_parameter("frame.positions.values").shape
    parts: dict[str, Any] = source_transformer.branches(trained, len(trained.network.cells), width, (rows, count))
    return rendered(
        "windows.py.jinja",
        **parts,
        used={"Table", "TokenNorm", *helpers(parts)},
        described=list(described(trained.genotype)),
        tokens=tokens is not None,
        vocabulary=[quoted(name) for name in names],
        kind="tokens" if tokens is None else tokens.kind,
        mean=tuple(trained.mean),
        std=tuple(trained.std),
        inputs=trained.channels,
        width=width,
        window=count,
    )
