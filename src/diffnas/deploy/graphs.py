"""A trained network as a graph of operations: ONNX, and PyTorch's own exported programs."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffnas.deploy.check import Run
from diffnas.deploy.deployed import Deployed, about
from diffnas.nets.trained import Trained


def write_exported(trained: Trained, pictures: Tensor, path: Path) -> Run:
    """Write the network as a ``torch.export`` program, which needs only torch; return a function that runs it.

    The program takes uint8 pictures in batches of any size, and returns logits and probabilities. Classes,
    normalization and the like are extra files in the archive.
    """
    torch.export.save(_program(trained, pictures), path, extra_files=about(trained))
    loaded = torch.export.load(path).module()

    def run(batch: Tensor) -> Tensor:
        with torch.no_grad():
            logits: Tensor = loaded(batch)[0]
        return logits

    return run


def write_onnx(trained: Trained, pictures: Tensor, path: Path) -> Run:
    """Write the network as ONNX, and return a function that runs it.

    The model's input is ``pictures``, uint8, in batches of any size. Its outputs are ``logits`` and ``probabilities``.
    Classes, normalization and the like are JSON texts in its metadata.

    Raises:
        ImportError: without the extra ``export``.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  (torch needs it to write ONNX)
    except ImportError as error:
        raise ImportError('ONNX needs: pip install ".[export]", in the checkout of diffnas') from error
    program = _program(trained, pictures)
    with _quiet():
        made: Any = torch.onnx.export(
            program,
            (pictures[:2],),
            input_names=["pictures"],
            output_names=["logits", "probabilities"],
            dynamic_shapes={"pictures": {0: "batch"}},
            dynamo=True,
            verbose=False,
        )
    made.model.metadata_props.update(about(trained))
    # The metadata of nodes holds source lines and the paths of this machine's folders, which are of no use elsewhere.
    for node in made.model.graph.all_nodes():
        node.metadata_props.clear()
    made.save(path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda batch: torch.from_numpy(session.run(["logits"], {"pictures": batch.contiguous().numpy()})[0])


def _program(trained: Trained, pictures: Tensor) -> torch.export.ExportedProgram:
    """The graph of a network, for batches of any size."""
    # Two pictures, because torch treats a batch size of one as a constant.
    example = pictures[:2] if len(pictures) > 1 else pictures.repeat(2, 1, 1, 1)
    batch = torch.export.Dim("batch")
    with torch.no_grad(), _quiet():
        program = torch.export.export(
            Deployed(trained), (example.contiguous(),), dynamic_shapes={"pictures": {0: batch}}
        )
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    return program


@contextmanager
def _quiet() -> Iterator[None]:
    """A context without torch's own warnings about deprecated and missing parts of itself."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
